"""`ragstone graph …`: one function each, from parsed arguments to an Outcome, and what people see of it."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from graph import KnowledgeGraph
from graph.knowledge_graph import hits_of
from graph.types import RETRY
from rag.errors import UsageError
from ui import printing
from ui.commands import FAILED, _open
from ui.options import as_json as _json
from ui.outcome import Outcome


def build(options: argparse.Namespace) -> Outcome:
    with _open(options) as kb:
        if options.method == "chat":
            from graph.chat_extraction import ChatOptions, estimate

            chat = ChatOptions(ontology=options.ontology, max_calls=options.max_calls)
            price = estimate(kb, chat, fresh=options.fresh)
            if options.dry_run:
                return Outcome(data={"estimate": asdict(price)}, show=_show_price)
            if not options.yes and sys.stdin.isatty() and not _json(options) and price.n_calls:
                _show_price({"estimate": asdict(price)})
                if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
                    raise UsageError("Nothing was asked. Add --yes to build without this question.")
        elif options.ontology or options.dry_run or options.max_calls is not None:
            raise UsageError("--ontology, --max-calls and --dry-run belong to --method chat: the others cost nothing.")
        else:
            chat = None
        with printing.counter(quiet=_json(options)) as progress:
            graph = KnowledgeGraph.build(
                kb, method=options.method, triples=options.triples, fresh=options.fresh, chat=chat,
                progress=(lambda done, total: progress(done, total, "documents")) if progress else None,
            )  # fmt: skip
        report = asdict(graph.report)
        data = {"method": graph.method, **graph.counts(), "communities": len(graph.index.communities), **report}
    failed = any(graph.report.problems.get(kind) for kind in RETRY)
    return Outcome(data=data, show=_show_build, code=FAILED if failed else 0)


def search(options: argparse.Namespace) -> Outcome:
    with _open(options) as kb:
        graph = kb.graph
        hits = graph.search(options.query, method=options.method, top_k=options.top_k, filter=options.filter)
        facts = hits_of(graph, hits)
        data = {
            "query": options.query, "method": options.method,
            "hits": [{**asdict(hit), "facts": one["facts"]} for hit, one in zip(hits, facts, strict=True)],
            "trace": [asdict(step) for step in hits.trace],
        }  # fmt: skip
    return Outcome(data=data, show=_show_hits)


def ask(options: argparse.Namespace) -> Outcome:
    with _open(options) as kb:
        answer = kb.graph.ask(options.question, filter=options.filter, chat=options.chat)
        points = [{"text": text, "score": score, "chunks": list(chunks)} for text, score, chunks in answer.points]
        data = {"question": options.question, "answer": answer.text, "by_model": answer.by_model, "points": points}
    return Outcome(data=data, show=_show_answer)


def show(options: argparse.Namespace) -> Outcome:
    with _open(options) as kb:
        graph = kb.graph
        if options.entity is None:
            return Outcome(data={"method": graph.method, **graph.counts()}, show=_show_counts)
        return Outcome(data=graph.show(options.entity), show=_show_entity)


def merges(options: argparse.Namespace) -> Outcome:
    with _open(options) as kb:
        graph = kb.graph
        if options.apart:
            graph = graph.keep_apart(*options.apart)
        if options.together:
            graph = graph.put_together(*options.together)
        data = {"merges": [asdict(one) for one in graph.merges()]}
    return Outcome(data=data, show=_show_merges)


def communities(options: argparse.Namespace) -> Outcome:
    with _open(options) as kb:
        graph = kb.graph
        found = graph.communities(level=options.level, filter=options.filter, most=options.n, chat=options.chat)
        data = {"communities": found, "n_communities": len(graph.index.communities)}
    return Outcome(data=data, show=_show_communities)


def export(options: argparse.Namespace) -> Outcome:
    with _open(options) as kb:
        data = kb.graph.export(options.file, options.format or "")
    return Outcome(data=data, show=lambda done: printing.out.print(f"{done['file']}: {done['nodes']} nodes, {done['edges']} edges", markup=False))  # fmt: skip


# ---------------------------------------------------------------- for people


def _show_build(data: dict[str, Any]) -> None:
    printing.out.print(
        f"{data['entities']:,} entities, {data['relations']:,} relations, {data['communities']:,} communities from "
        f"{data['documents']:,} documents ({data['n_extracted']:,} read anew, {data['n_removed']:,} gone) in {data['seconds']:.1f} s"
    )
    for kind, n in data["problems"].items():
        first = ", ".join(data["examples"].get(kind, ())[:3])
        printing.out.print(f"  {kind}: {n} ({first}{', …' if n > 3 else ''})", markup=False)


def _show_price(data: dict[str, Any]) -> None:
    price = data["estimate"]
    printing.out.print(
        f"The chat model would be asked {price['n_calls']:,} times ({price['n_cached']:,} replies are known), about "
        f"{price['n_tokens']:,} tokens, {price['cost_usd']:.2f} USD."
    )


def _show_counts(data: dict[str, Any]) -> None:
    for name, value in data.items():
        printing.out.print(f"{name:>10}  {value if isinstance(value, str) else format(value, ',')}", markup=False)


def _show_hits(data: dict[str, Any]) -> None:
    for hit in data["hits"]:
        printing.out.print(f"[bold]{hit['rank']}. {escape(hit['title'] or hit['source'])}[/bold]  {hit['score']:.2f}  {escape(hit['chunk_id'])}")  # fmt: skip
        printing.out.print(f"   {hit['text'][: printing.QUOTE_WIDTH]}".replace("\n", " "), markup=False)
        for subject, label, object_ in hit["facts"][:3]:
            printing.out.print(f"   · {subject} — {label or '…'} → {object_}", markup=False)


def _show_answer(data: dict[str, Any]) -> None:
    printing.out.print(data["answer"] or "The graph's communities say nothing to this question.", markup=False)
    for point in data["points"]:
        printing.out.print(f"  {point['score']:>3}  {', '.join(point['chunks'][:3])}", markup=False)


def _show_entity(data: dict[str, Any]) -> None:
    kind = f" ({data['type']})" if data["type"] else ""
    printing.out.print(f"[bold]{escape(data['entity'])}[/bold]{escape(kind)}: {data['n_facts']} facts in {data['n_chunks']} chunks")  # fmt: skip
    for what in data["descriptions"]:
        printing.out.print(f"  {what}", markup=False)
    for fact in data["facts"][: printing.MOST_ROWS]:
        when = f" ({fact['valid']})" if fact["valid"] else ""
        printing.out.print(f"  {fact['subject']} — {fact['relation'] or '…'} → {fact['object']}{when}", markup=False)
        printing.out.print(f"      {fact['sentence'][: printing.QUOTE_WIDTH]}  [{fact['chunk_id']}]".replace("\n", " "), markup=False)  # fmt: skip
    for merge in data["merges"]:
        printing.out.print(f"  {' = '.join(merge['names'])} ({merge['reason']})", markup=False)


def _show_merges(data: dict[str, Any]) -> None:
    table = Table(box=None)
    for name in ("names", "why", "applied", "chunks"):
        table.add_column(name)
    for one in data["merges"][: printing.MOST_ROWS]:
        table.add_row(escape(" = ".join(one["names"])), one["reason"], "yes" if one["applied"] else "no", str(len(one["chunk_ids"])))  # fmt: skip
    printing.out.print(table)
    printing.out.print(f"{len(data['merges'])} merges; --json shows all", markup=False)


def _show_communities(data: dict[str, Any]) -> None:
    for one in data["communities"]:
        printing.out.print(f"[bold]{escape(one['title'])}[/bold]  level {one['level']}, {one['n_entities']} entities, {one['n_chunks']} chunks")  # fmt: skip
        if one.get("written"):
            printing.out.print(f"   {one['written']}", markup=False)
            continue
        for said in one["summary"]:
            printing.out.print(f"   {said['sentence'][: printing.QUOTE_WIDTH]}".replace("\n", " "), markup=False)
    printing.out.print(f"{data['n_communities']} communities in all", markup=False)
