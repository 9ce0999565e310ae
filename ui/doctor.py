"""Doctor: what works on this machine, and what to do about the rest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from filelock import FileLock, Timeout

from agents.sandbox import remote
from agents.sandbox.runner import Limits
from rag.errors import RagstoneError, StoreError, UsageError
from rag.jobs import Jobs
from rag.knowledge_base import CLOCK_SLACK_S, CLOCK_WARNING, KnowledgeBase, check_open_files
from rag.settings import Settings

MIN_FREE_GB = 1.0
PROBE_S = 5.0  # a program may take in the sandbox service
PACKAGES = (
    "pymilvus",
    "sentence-transformers",
    "openvino",
    "torch",
    "openai",
    "streamlit",
    "langgraph",
    "networkx",
    "rank-bm25",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was tried. `fix` is what to do when it failed, or what would make it better. code: of the failure."""

    name: str
    ok: bool
    message: str
    fix: str = ""
    code: str = ""


def checks(home: str | None, load: Callable[[], Settings]) -> Iterator[Check]:
    """Try everything a question needs, one part after the other; a failing part does not stop the next."""
    yield Check(
        name="python",
        ok=sys.version_info >= (3, 11),
        message=platform.python_version(),
        fix="" if sys.version_info >= (3, 11) else "Install Python 3.11 or newer.",
    )
    yield packages()
    try:
        settings = load()
        yield Check(name="settings", ok=True, message="all keys and values are valid")
        kb = KnowledgeBase.open(home, settings=settings)
    except RagstoneError as error:
        yield Check(name="settings", ok=False, message=str(error), fix="`ragstone config show` lists every key.")
        return
    with kb:
        yield from of_home(kb)


def of_home(kb: KnowledgeBase, *, writer: bool = True) -> Iterator[Check]:
    """The parts of an open home. writer: false leaves out what waits for imports, and makes them wait."""
    yield _disk(kb)
    yield _try("catalog", lambda: _catalog(kb), "Restore it from a backup, or import into a new --home.")
    yield _try(
        "milvus", lambda: _milvus(kb), "Start the server, correct milvus.uri, or leave it empty for the embedded one."
    )
    yield _try("embedding", lambda: _embedding(kb), f"ragstone models pull {kb.settings.embedding.model}")
    if writer:
        yield _try(
            "collection",
            lambda: _agrees(kb),
            "`ragstone verify --repair` makes the index agree; `ragstone reindex` fits another model.",
        )
        yield _try("writing", lambda: _writing(kb), "Wait for the other import to end, or end that process.")
    yield _try("jobs", lambda: _jobs(kb), "Start `ragstone worker`, or `ragstone serve` with api.worker = true.")
    yield _try("files", _files, "Raise the limit, such as with `ulimit -n 1024`.")
    if kb.settings.rerank.model:
        yield _try("reranker", lambda: _reranker(kb), "Correct rerank.model and rerank.base_url, or leave them empty.")
    if kb.settings.agent.sandbox_url and kb.settings.agent.sandbox != "off":
        yield _try(
            "sandbox", lambda: _sandbox(kb), "Start `ragstone agent sandbox` there, or correct agent.sandbox_url and agent.sandbox_key."
        )  # fmt: skip
    yield _chat(kb)


def packages() -> Check:
    missing = [name for name in PACKAGES if not _version(name)]
    found = ", ".join(f"{name} {_version(name)}" for name in PACKAGES if _version(name))
    return Check(
        name="packages", ok=not missing, message=found, fix=f"pip install {' '.join(missing)}" if missing else ""
    )


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _disk(kb: KnowledgeBase) -> Check:
    free_gb = shutil.disk_usage(kb.home).free / 1e9
    fix = "" if free_gb >= MIN_FREE_GB else "Free some space, or choose another --home."
    return Check(name="disk", ok=free_gb >= MIN_FREE_GB, message=f"{free_gb:.0f} GB free at {kb.home}", fix=fix)


def _catalog(kb: KnowledgeBase) -> str:
    n_documents, n_chunks = kb.catalog.counts(kb.collection)
    return f"{n_documents} documents, {n_chunks} chunks in collection {kb.collection}"


def _milvus(kb: KnowledgeBase) -> str:
    n_indexes = len(kb.store.indexes(kb.settings.milvus.prefix))
    return f"{kb.settings.milvus.uri or 'embedded'}, {n_indexes} indexes"


def _embedding(kb: KnowledgeBase) -> str:
    embedder: Any = kb.embedder
    embedder.embed_queries(["ragstone"])
    return f"{embedder.name}, {embedder.dim} dimensions, {embedder.max_tokens} tokens, back end {getattr(embedder, 'backend', 'unknown')}"


def _agrees(kb: KnowledgeBase) -> str:
    """Whether the index holds what the catalog says, and the embedding model is the one it was built with."""
    collection = kb.catalog.collection(kb.collection)
    if collection is None:
        return f"{kb.collection} is empty"
    if collection.fingerprint != kb.embedder.fingerprint:
        raise StoreError(
            f"Collection {kb.collection} was built with {collection.model} as it was then; the settings' model does not fit it."
        )
    found = kb.verify()
    if not found.ok:
        raise StoreError(f"{len(found.problems)} problems, such as: {found.problems[0].message}.")
    if time.time() < collection.written - CLOCK_SLACK_S and not kb.settings.milvus.uri:
        raise StoreError(CLOCK_WARNING)
    return f"{found.n_chunks} chunks, in the index as in the catalog"


def _writing(kb: KnowledgeBase) -> str:
    with kb.writing():
        return "nothing else writes to this home"


def _jobs(kb: KnowledgeBase) -> str:
    """Jobs that wait while nobody works on them."""
    counts = Jobs(kb.catalog.engine).counts()
    waiting = counts.get("queued", 0) + counts.get("running", 0)
    lock = FileLock(kb.home / "worker.lock")
    try:
        with lock.acquire(timeout=0):
            idle = True
    except Timeout:
        idle = False
    if waiting and idle:
        raise StoreError(f"{waiting} accepted jobs wait, and no worker is running.")
    return f"{waiting} waiting, {counts.get('failed', 0)} failed"


def _files() -> str:
    check_open_files()
    return "enough files may be opened"


def _reranker(kb: KnowledgeBase) -> str:
    reranker = kb.reranker
    assert reranker is not None
    reranker.scores("ragstone", ["a passage"])
    return reranker.name


def _sandbox(kb: KnowledgeBase) -> str:
    """A program of one line, run by the sandbox service as an agent's would be."""
    settings = kb.settings.agent
    limits = Limits(seconds=min(PROBE_S, settings.sandbox_s), memory_mb=settings.sandbox_memory_mb)
    done = remote.run("print(6 * 7)", settings=settings, limits=limits)
    if done.stdout.strip() != "42":
        raise UsageError(f"The sandbox service ran a program that printed {done.stdout.strip()[:80]!r} and not '42': {done.stderr.strip()[-200:] or done.stopped or 'no reason given'}.")  # fmt: skip
    return f"{settings.sandbox_url} runs programs ({done.backend})"


def _chat(kb: KnowledgeBase) -> Check:
    """No chat model is no failure: answers are then quotations."""
    try:
        chat: Any = kb.chat
        if chat is not None and kb.settings.llm.base_url:
            chat.check()
    except RagstoneError as error:
        return Check(
            name="chat",
            ok=False,
            message=str(error),
            fix="Start the endpoint, or correct llm.base_url and llm.model.",
            code=error.code,
        )
    if chat is None:
        runtime = "" if importlib.util.find_spec("xllamacpp") else "pip install 'ragstone[local]' && "
        fix = f"For written answers: {runtime}ragstone models pull qwen2.5-coder-1.5b, or set llm.base_url."
        return Check(name="chat", ok=True, message="none: answers quote the best sentences", fix=fix)
    return Check(name="chat", ok=True, message=f"{chat.name} ({kb.settings.llm.base_url or 'local'})")


def _try(name: str, action: Callable[[], str], fix: str) -> Check:
    try:
        return Check(name=name, ok=True, message=action())
    except RagstoneError as error:
        return Check(name=name, ok=False, message=str(error), fix=fix, code=error.code)
