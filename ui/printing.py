"""What people see in the terminal: tables, bars, streamed answers. Messages and progress go to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from rag.errors import RagstoneError
from rag.types import Answer, Event

if TYPE_CHECKING:
    from rag.ingest import Progress as IngestProgress

PIPE_WIDTH = 4000  # in a file or a pipe nothing is cut
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_WIDTH)
err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else PIPE_WIDTH)
QUOTE_WIDTH = 160
MOST_ROWS = 30  # failures and members shown; --json shows all


# ---------------------------------------------------------------- progress


@contextmanager
def ingest_progress(*, quiet: bool) -> Iterator[Callable[[IngestProgress], None] | None]:
    """A bar with files, chunks per second and the time left."""
    if quiet or not err.is_terminal:
        yield None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("reading", total=None, rate="")

        def update(now: IngestProgress) -> None:
            name = escape(now.source.rsplit("/", 1)[-1][:40])
            bar.update(
                task,
                description=name,
                completed=now.n_done,
                total=now.n_total,
                rate=f"{now.chunks_per_s:.0f} chunks/s",
            )

        yield update


@contextmanager
def counter(*, quiet: bool) -> Iterator[Callable[[int, int, str], None] | None]:
    """A bar for anything that counts: (done, total, what)."""
    if quiet or not err.is_terminal:
        yield None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, what: bar.update(task, description=escape(what[:60]), completed=done, total=total)


# ---------------------------------------------------------------- documents


def report(data: Mapping[str, Any]) -> None:
    counts = data["documents"]
    verb = "Would import" if data["dry_run"] else "Imported"
    out.print(
        f"{verb} {counts['added'] + counts['updated']} documents ({counts['added']} new, {counts['updated']} changed) as {data['chunks']} chunks "
        f"in {data['seconds']:.1f} s; {counts['unchanged']} unchanged, {counts['deleted']} deleted, {counts['failed']} failed."
    )
    if data["duplicates"]:
        out.print(f"{data['duplicates']} of them say the same as another document and share its chunks.")
    if data["stopped"]:
        out.print("Stopped. Nothing is lost; run the same command to go on.")
    if data["estimate"]:
        out.print(estimate(data["estimate"]))
    if data["types"]:
        out.print(_by_type(data["types"]))
    if data["failures"]:
        out.print(_failures(data["failures"][:MOST_ROWS]))
    if len(data["failures"]) > MOST_ROWS:
        out.print(f"{len(data['failures']) - MOST_ROWS} more failed: ragstone docs list --state failed")
    for warning in data["warnings"][:20]:
        err.print(f"note: {escape(warning)}")
    if len(data["warnings"]) > 20:
        err.print(f"note: {len(data['warnings']) - 20} more notes; --json shows all of them.")


def estimate(found: Mapping[str, Any]) -> str:
    """What a dry run says the import will take."""
    minutes, seconds = divmod(round(found["seconds"]), 60)
    took = f"{minutes} min {seconds} s" if minutes else f"{found['seconds']:.1f} s"
    text = f"The import would take about {took}: {found['n_to_embed']} chunks to embed, {found['n_tokens']:,} tokens."
    if found["n_model_calls"]:
        text += f" Enrichment: {found['n_model_calls']:,} calls of the chat model, {found['n_model_tokens']:,} tokens"
        text += f", {found['cost_usd']:.2f} USD" if found["cost_usd"] else ""
        text += "; how long they take is not known and not counted." if found["model_seconds"] is None else "."
    return text


def _by_type(types: list[Mapping[str, Any]]) -> Table:
    columns = ("documents", "pages", "tables", "chunks", "notes")
    table = Table("type", *(Column(name, justify="right") for name in columns), box=None, pad_edge=False)
    for row in types:
        numbers = (row[f"n_{name}"] for name in ("documents", "pages", "tables", "chunks", "warnings"))
        table.add_row(escape(row["type"]), *(str(number or "–") for number in numbers))
    return table


def _failures(failures: list[Mapping[str, Any]]) -> Table:
    table = Table(Column("failed", overflow="fold"), Column("code", no_wrap=True), "why", box=None, pad_edge=False)
    for failure in failures:
        table.add_row(escape(failure["source"]), failure["code"], escape(failure["message"]))
    return table


def documents(data: Mapping[str, Any], *, filtered: bool = False) -> None:
    if not data["documents"]:
        empty = f"Collection {data['collection']} is empty. Import something: ragstone ingest PATH"
        out.print("No document fits." if filtered else empty)
        return
    names = ("version", "chunks", "size")
    table = Table(Column("document", no_wrap=True), "state", "type", *(Column(name, justify="right") for name in names),
                  "updated", Column("source", overflow="fold"), box=None, pad_edge=False)  # fmt: skip
    for row in data["documents"]:
        state = row["state"] if not row["code"] else f"{row['state']} ({row['code']})"
        also = f" (and {len(row['aliases'])} more)" if row["aliases"] else ""
        table.add_row(
            escape(row["doc_id"]), state, row["type"], str(row["version"]), str(row["chunks"]), n_bytes(row["size"]),
            row["updated_at"][:16], escape(row["source"] + also),
        )  # fmt: skip
    out.print(table)


def document(data: Mapping[str, Any], *, report: bool = False, chunks: bool = False) -> None:
    """What a document is, then its text; with `report` what was found in it, with `chunks` how it was cut."""
    out.print(f"[bold]{escape(data['title'] or data['source'])}[/bold]")
    out.print(_facts(data))
    for warning in data["warnings"]:
        out.print(f"note: {escape(warning)}")
    if data["code"]:
        out.print(f"{data['code']}: {escape(data['message'])}")
    if report:
        _outline(data)
    if chunks:
        _chunks(data["chunk_list"])
    if not report and not chunks and data["text"]:
        out.print()
        out.print(escape(data["text"]))


def _facts(data: Mapping[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    facts = {
        "document": data["doc_id"],
        "source": data["source"],
        "also": "\n".join(data["aliases"]),
        "inside": data["container"],
        "state": f"{data['state']}, version {data['version']}, {data['updated_at'][:16].replace('T', ' ')} UTC",
        "type": f"{data['type'] or 'unknown'}, {n_bytes(data['size'])}",
        "holds": ", ".join(_counted(data)),
        "metadata": "\n".join(f"{key}: {value}" for key, value in data["metadata"].items()),
        "members": "\n".join(f"{one['source']} ({one['state']})" for one in data["members"][:MOST_ROWS]),
    }
    for name, value in facts.items():
        if value:
            table.add_row(name, escape(value))
    return table


def _counted(data: Mapping[str, Any]) -> list[str]:
    counts = (
        ("character", data["n_chars"]),
        ("page", data["n_pages"]),
        ("heading", len(data["headings"])),
        ("table", len(data["tables"])),
        ("chunk", data["chunks"]),
        ("member", len(data["members"])),
    )
    return [f"{n} {word}{'' if n == 1 else 's'}" for word, n in counts if n]


def _outline(data: Mapping[str, Any]) -> None:
    for heading in data["headings"]:
        page = f" [dim]page {heading['page']}[/dim]" if heading["page"] else ""
        out.print(f"{'  ' * heading['level']}{escape(heading['text'])}{page}")
    for at, table in enumerate(data["tables"], start=1):
        page = f", page {table['page']}" if table["page"] else ""
        out.print(f"table {at}{page}: {escape(shorten(data['text'][table['start'] : table['end']], QUOTE_WIDTH))}")


def _chunks(chunks: list[Mapping[str, Any]]) -> None:
    for chunk in chunks:
        page = f" · page {chunk['page']}" if chunk["page"] else ""
        summary = f" · summary, level {chunk['level']}" if chunk["level"] else ""
        out.print()
        out.print(f"[bold]{escape(chunk['chunk_id'])}[/bold] [dim]{chunk['n_tokens']} tokens{page}{summary}[/dim]")
        if chunk["context"]:
            out.print(f"[dim]{escape(chunk['context'])}[/dim]")
        out.print(escape(chunk["text"]))
        if chunk["extra"]:
            out.print(f"[dim]{escape(chunk['extra'])}[/dim]")


def duplicates(data: Mapping[str, Any]) -> None:
    groups = data["groups"]
    if not groups:
        out.print(f"No two documents share {data['threshold']:.0%} of what they say.")
        return
    for at, group in enumerate(groups, start=1):
        likeness = [pair["similarity"] for pair in group["pairs"]]
        shown = (
            f"{min(likeness):.0%}" if min(likeness) == max(likeness) else f"{min(likeness):.0%} to {max(likeness):.0%}"
        )
        out.print(f"[bold]{at}.[/bold] {len(group['documents'])} documents, {shown} alike")
        for one in group["documents"]:
            out.print(f"   {escape(one['doc_id'])}  {escape(one['source'])} [dim]{one['n_chars']} characters[/dim]")
    out.print("Remove those you do not need: ragstone docs delete DOC …")


def n_bytes(n: int) -> str:
    """A size for people: 812 B, 3.4 kB, 12 MB."""
    size, unit = float(n), "B"
    for larger in ("kB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{n} B" if unit == "B" else f"{size:.1f} {unit}" if size < 10 else f"{size:.0f} {unit}"


def verification(data: Mapping[str, Any]) -> None:
    out.print(f"{data['documents']} documents, {data['chunks']} chunks.")
    for problem in data["problems"]:
        out.print(f"{problem['kind']}: {escape(problem['doc_id'] or 'collection')}: {escape(problem['message'])}")
    if data["ok"]:
        out.print("Everything agrees." if not data["problems"] else f"Repaired {data['repaired']} problems.")
    else:
        out.print("Run `ragstone verify --repair`.")


# ---------------------------------------------------------------- questions


def reindexed(data: Mapping[str, Any]) -> None:
    if not data["changed"]:
        filled = f"the token vectors of {data['embedded']} chunks were added" if data["embedded"] else "nothing to do"
        out.print(f"The collection is built for {data['model']} already; {filled}.", markup=False)
        return
    kept = f" {data['kept']} were done by an earlier run." if data["kept"] else ""
    out.print(
        f"Built {data['documents']} documents again for {data['model']}: {data['chunks']} chunks, {data['embedded']} embedded, "
        f"in {data['seconds']:.1f} s.{kept}", markup=False,
    )  # fmt: skip


def snapshot(data: Mapping[str, Any], *, verb: str) -> None:
    way = "to" if verb == "Exported" else "from"
    out.print(
        f"{verb} collection {data['collection']} {way} {data['path']}: {data['documents']} documents, {data['chunks']} chunks, "
        f"{data['vectors']} vectors, {data['bytes'] / 1e6:.1f} MB, in {data['seconds']:.1f} s.", markup=False,
    )  # fmt: skip


def backup(data: Mapping[str, Any], *, verb: str) -> None:
    way = "to" if verb == "Saved" else "from"
    held = (
        f", {data['documents']} documents in {data['collections']} collections, nothing embedded"
        if "documents" in data
        else ""
    )
    out.print(
        f"{verb} {data['files']} files {way} {data['path']}, {data['bytes'] / 1e6:.1f} MB, in {data['seconds']:.1f} s{held}.", markup=False,
    )  # fmt: skip
    if not data.get("ok", True):
        err.print("The index could not be written whole: ragstone verify names what is missing.")


def hits(data: Mapping[str, Any], *, explain: bool = False) -> None:
    for warning in data["warnings"]:
        err.print(escape(warning))
    if not data["hits"] and not data["warnings"]:
        out.print("Nothing was found.")
    for hit in data["hits"]:
        page = f", page {hit['page']}" if hit["page"] else ""
        out.print(
            f"[bold]{hit['rank']}.[/bold] {escape(hit['title'])} [dim]{escape(hit['source'])}{page} · {hit['score']:.3f}[/dim]"
        )
        shown = [hit["text"][start:end] for start, end in hit["highlights"]]
        for text in shown or [hit["text"]]:
            out.print("   " + escape(shorten(text, QUOTE_WIDTH * 2)), style="bold" if shown else None)
    if explain:
        steps(data["trace"])


def explanation(data: Mapping[str, Any]) -> None:
    """Why a passage was found or missed."""
    where = f"rank {data['rank']}" if data["rank"] else f"lost at: {data['lost_at']}"
    out.print(f"[bold]{escape(data['chunk_id'])}[/bold] {where}. {escape(data['reason'])}")
    for one in data["advice"]:
        out.print(f"   → {escape(one)}")
    if not data["standings"]:  # nobody searched
        return
    table = Table("after", "rank", "of", "score", "", box=None, pad_edge=False)
    for one in data["standings"]:
        score = "" if one["score"] is None else f"{one['score']:.3f}"
        table.add_row(one["step"], str(one["rank"] or "–"), str(one["n"]), score, one["note"])
    out.print(table)
    out.print(
        f"Words in it: {escape(', '.join(data['shared_words']) or 'none')}. Not in it: {escape(', '.join(data['missing_words']) or 'none')}."
    )
    if data["dropped_words"]:
        out.print(f"Left out by keyword search: {escape(', '.join(data['dropped_words']))}.")


def steps(trace: list[dict[str, Any]]) -> None:
    table = Table("step", "ms", "in", "out", "detail", box=None, pad_edge=False)
    for step in trace:
        detail = dict(step["detail"])
        candidates = detail.pop("candidates", [])
        shown = "; ".join(f"{one['chunk_id']} {one['score']:.3f}" for one in candidates[:5])
        extra = " ".join(f"{key}={value}" for key, value in detail.items())
        row = ["" if step[key] is None else str(step[key]) for key in ("n_in", "n_out")]
        table.add_row(
            step["name"], f"{step['ms']:.1f}", *row, escape(" ".join(part for part in (extra, shown) if part))
        )
    err.print(table)


def stream_answer(events: Iterator[Event], *, quiet: bool) -> Answer:
    """Show the answer as it comes, then print it as it was checked; return it whole."""
    answer: Answer | None = None
    text = ""
    live = Live(console=out, transient=True, auto_refresh=False) if out.is_terminal and not quiet else nullcontext()
    with live as screen:
        for event in events:
            if event.kind == "text" and screen is not None:
                text += event.text
                screen.update(Text(text), refresh=True)
            answer = event.answer or answer
    if answer is None:
        raise RagstoneError("The answer did not arrive. Please report this.")
    if not quiet:
        out.print(Text(answer.text))
    return answer


def structured(answer: Answer, *, quiet: bool) -> None:
    """An answer in a caller's shape: the JSON value, and which passage bears out which part of it."""
    if quiet:
        return
    if answer.data is not None:
        out.print(Text(json.dumps(answer.data, ensure_ascii=False, indent=2)))
        out.print()
    out.print(Text(answer.text))


def conflict(found: Mapping[str, Any]) -> Table:
    """What each document says, side by side."""
    table = Table("date", "says", Column("document", overflow="fold"), "sentence", box=None, pad_edge=False)
    for side in found["sides"]:
        place = f"{side['title']} ({side['source']})" if side["title"] else side["source"]
        says = ", ".join(side["values"]) or "–"
        table.add_row(
            side["date"] or "no date", escape(says), escape(place), escape(shorten(side["quote"], QUOTE_WIDTH))
        )
    return table


def after_answer(data: Mapping[str, Any], *, explain: bool = False) -> None:
    """What follows a printed answer: sources, warnings, times."""
    if data["citations"]:
        out.print()
    for one in data["citations"]:
        page = f", page {one['page']}" if one["page"] else ""
        mark = "" if one["supported"] else " [yellow](not borne out by the passage)[/yellow]"
        out.print(
            f"\\[{one['marker']}] [bold]{escape(one['title'])}[/bold] [dim]{escape(one['source'])}{page}[/dim]{mark}"
        )
        out.print(f"    “{escape(shorten(one['quote'], QUOTE_WIDTH))}”")
    for one in data["conflicts"]:
        out.print("\n[yellow]Documents say different things here:[/yellow]")
        out.print(conflict(one))
    for sentence in data["unsupported"]:
        out.print(f"[yellow]unsupported:[/yellow] {escape(sentence)}")
    for warning in data["warnings"]:
        err.print(f"note: {escape(warning)}")
    times = " · ".join(f"{step['name']} {step['ms'] / 1000:.2f} s" for step in data["trace"] if step["ms"] >= 5)
    if times:
        err.print(f"[dim]{times}[/dim]")
    if explain:
        steps(data["trace"])


def questions() -> Iterator[str]:
    """Lines typed at a prompt, until an empty one, `exit`, or the end of input."""
    err.print("Ask a question; an empty line ends the conversation.")
    while True:
        try:
            line = input("\n> ").strip()
        except EOFError:
            return
        if line in ("", "exit", "quit"):
            return
        yield line


def shorten(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


# ---------------------------------------------------------------- evaluation, models, health


def trained(data: Mapping[str, Any]) -> None:
    """What the training of a reranker came to."""
    low, high = data["ci"]
    out.print(
        f"{data['n_questions']} questions, {data['n_steps']} steps in {data['seconds']:.0f} s. On {data['n_tried']} questions of documents that it did "
        f"not see, the right passage's mean reciprocal rank goes from {data['before']:.3f} to {data['after']:.3f} ({low:+.3f} to {high:+.3f})."
    )
    if data["kept"]:
        err.print(f'To use it: [rerank] model = "{escape(data["folder"])}", weight = {data["weight"]}')
    else:
        err.print("That is no certain gain, so it was not kept. More documents or more --minutes may help.")


def evaluation(data: Mapping[str, Any]) -> None:
    _systems(data["systems"])
    for name, one in data.get("failures", {}).items():
        if one["n"]:
            codes = ", ".join(f"{code} {n}" for code, n in one["codes"].items())
            out.print(f"[red]{escape(name)}: {one['n']} searches failed ({codes})[/red]")
    _compared(data.get("comparisons", []))
    _noted(data)


def answer_evaluation(data: Mapping[str, Any]) -> None:
    _systems(data["systems"])
    for name, one in data["systems"].items():
        found = one["abstention"]
        out.print(
            f"{escape(name)}: abstained rightly {found['right']}, wrongly {found['wrong']}, not although it should "
            f"{found['missed']}; failed {one['failures']['n']}; broken citations {one['broken_citations']}"
        )
    for name, one in (data.get("perplexity") or {}).items():
        if isinstance(one, Mapping):
            out.print(f"{escape(name)}: perplexity of {one['n']} references {one['perplexity']:.2f}")
    for name, one in ((data.get("judge") or {}).get("grades") or {}).items():
        out.print(f"{escape(name)}: judge {one['mean']:.3f} of {one['n_judged']}, failed {one['n_failed']}")
    _compared(data.get("comparisons", []))
    _noted(data)


def _systems(systems: Mapping[str, Mapping[str, Any]]) -> None:
    """Metrics as rows, so that many of them fit on a terminal."""
    first: Mapping[str, Any] = next(iter(systems.values()), {})
    table = Table("metric", *map(escape, systems), box=None, pad_edge=False)
    for name in (name for name, value in first.items() if isinstance(value, int | float)):
        table.add_row(name, *(f"{values[name]:.4f}" for values in systems.values()))
    out.print(table)


def _compared(comparisons: Sequence[Mapping[str, Any]]) -> None:
    for one in comparisons:
        out.print(
            f"{escape(one['a'])} − {escape(one['b'])}, {one['metric']}: {one['difference']:+.4f} "
            f"\\[{one['ci'][0]:+.4f}, {one['ci'][1]:+.4f}], p = {one['p_holm']:.3f}"
            f"{'' if one['differs'] else ' (no difference shown)'}"
        )


def _noted(data: Mapping[str, Any]) -> None:
    for problem in data.get("problems", []):
        err.print(f"note: {escape(problem['message'])}")
    for gate in data.get("gates", []):
        if not gate["passed"]:
            err.print(
                f"missed: {gate.get('system', '')} {gate['metric']} {gate['value']:.4f} is below {gate['minimum']}"
            )
    if data.get("out"):
        out.print(f"Written to {escape(str(data['out']))}")


def tuned(data: Mapping[str, Any]) -> None:
    held = data["holdout"]
    best = ", ".join(f"{key} = {value}" for key, value in data["best"].items()) or "the settings as they are"
    out.print(f"Best of {len(data['rungs'][0]['candidates'])}: {escape(best)}")
    out.print(
        f"{data['metric']} on {held['n_queries']} questions kept apart: {held['current']:.4f} now, {held['best']:.4f} with it, "
        f"gain {held['gain']:+.4f} \\[{held['ci'][0]:+.4f}, {held['ci'][1]:+.4f}]"
    )
    out.print(
        "Recommended." if data["recommended"] else "Keep the settings as they are: no gain beyond chance is shown."
    )
    _noted(data)


def behaviour(data: Mapping[str, Any]) -> None:
    table = Table("test", "value", "cases", "abstained", "failed", box=None, pad_edge=False)
    for name, one in data["tests"].items():
        failed = str(sum(one["failures"].values()))
        table.add_row(name, f"{one['value']:.3f}", str(one["n"]), str(one["abstained"]), failed)
    out.print(table)
    out.print(f"Model: {escape(data['model'])}")
    _noted(data)


def agent_bench(data: Mapping[str, Any]) -> None:
    table = Table("group", "success", "tasks", "schema faults", "failed", box=None, pad_edge=False)
    for name, one in [*data["groups"].items(), ("all", data)]:
        failed = str(sum(one["failures"].values()))
        table.add_row(name, f"{one['success']:.3f}", str(one["n"]), str(one["schema_faults"]), failed)
    out.print(table)
    out.print(f"{escape(data['bench'])}, {escape(data['model'])}")
    _noted(data)


def history(data: Mapping[str, Any]) -> None:
    table = Table("at", "revision", "data", "system", data["metric"], "change", "settings", box=None, pad_edge=False)
    for row in data["runs"]:
        change = "–" if row["change"] is None else f"{row['change']:+.4f}"
        changed = escape(", ".join(row["settings_changed"]))
        version = escape(row["revision"] or row["version"])
        table.add_row(
            row["at"], version, escape(row["dataset"]), escape(row["system"]), f"{row['value']:.4f}", change, changed
        )
    out.print(table)


def generated(data: Mapping[str, Any]) -> None:
    counts = ", ".join(f"{n} {kind}" for kind, n in data["kinds"].items()) or "none"
    out.print(f"{data['n']} questions ({counts}) written to {escape(data['out'])}. Write yes or no under keep.")
    if data["rejected"]:
        reasons = ", ".join(f"{n} {reason}" for reason, n in data["rejected"].items())
        err.print(f"Replies that were not usable: {escape(reasons)}.")


def metrics(data: Mapping[str, Any]) -> None:
    for name, value in data["metrics"].items():
        out.print(f"{name:16} {value:.4f}" if isinstance(value, float) else f"{name:16} {value}")


def models(data: Mapping[str, Any]) -> None:
    table = Table("alias", "role", "installed", "MB", "licence", "what it is", box=None, pad_edge=False)
    for row in data["models"]:
        table.add_row(
            row["alias"],
            row["role"],
            "yes" if row["installed"] else "–",
            str(row["size_mb"]),
            row["licence"],
            escape(row["description"]),
        )
    out.print(table)
    out.print(f"Folder: {escape(data['dir'])}. Install one: ragstone models pull ALIAS")


def checks(data: Mapping[str, Any]) -> None:
    for row in data["checks"]:
        sign = "[green]ok  [/green]" if row["ok"] else "[red]fix [/red]"
        out.print(f"{sign} {row['name']:16} {escape(row['message'])}")
        if row["fix"]:
            out.print(f"     {'':16} → {escape(row['fix'])}")


def settings(data: Mapping[str, Any]) -> None:
    table = Table("setting", "value", "from", box=None, pad_edge=False)
    for key, row in data.items():
        table.add_row(key, escape(repr(row["value"])), escape(row["origin"]))
    out.print(table)
