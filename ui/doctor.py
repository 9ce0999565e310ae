"""Doctor: what works on this machine, and what to do about the rest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rag.errors import RagstoneError
from rag.knowledge_base import KnowledgeBase
from rag.settings import Settings

MIN_FREE_GB = 1.0
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
    """One thing that was tried. `fix` is what to do when it failed, or what would make it better."""

    name: str
    ok: bool
    message: str
    fix: str = ""


def checks(home: str | None, load: Callable[[], Settings]) -> Iterator[Check]:
    """Try everything a question needs, one part after the other; a failing part does not stop the next."""
    yield Check(
        name="python",
        ok=sys.version_info >= (3, 11),
        message=platform.python_version(),
        fix="" if sys.version_info >= (3, 11) else "Install Python 3.11 or newer.",
    )
    yield _packages()
    try:
        settings = load()
        yield Check(name="settings", ok=True, message="all keys and values are valid")
        kb = KnowledgeBase.open(home, settings=settings)
    except RagstoneError as error:
        yield Check(name="settings", ok=False, message=str(error), fix="`ragstone config show` lists every key.")
        return
    with kb:
        yield _disk(kb)
        yield _try("catalog", lambda: _catalog(kb), "Restore it from a backup, or import into a new --home.")
        yield _try(
            "milvus",
            lambda: _milvus(kb),
            "Start the server, correct milvus.uri, or leave it empty for the embedded one.",
        )
        yield _try("embedding", lambda: _embedding(kb), f"ragstone models pull {settings.embedding.model}")
        yield _chat(kb)


def _packages() -> Check:
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


def _chat(kb: KnowledgeBase) -> Check:
    """No chat model is no failure: answers are then quotations."""
    try:
        chat: Any = kb.chat
        if chat is not None and kb.settings.llm.base_url:
            chat.check()
    except RagstoneError as error:
        return Check(
            name="chat", ok=False, message=str(error), fix="Start the endpoint, or correct llm.base_url and llm.model."
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
        return Check(name=name, ok=False, message=str(error), fix=fix)
