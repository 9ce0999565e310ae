"""The models and servers that answers need, and a button for each that really calls it once."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from rag.chat import complete
from rag.errors import RagstoneError
from rag.knowledge_base import KnowledgeBase
from rag.settings import Settings
from rag.types import Message
from ui.web.failures import said
from ui.web.markup import plain
from ui.web.tasks import Task
from ui.web.view import View

KIND = "settings-test"
REFRESH_S = 0.5
REPLY_CHARS = 200

_SECRET_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s'\"]+(?=@)")
_SECRET_IN_QUERY = re.compile(r"(?i)(?<=[?&])([\w-]*(?:password|passwd|token|key|secret|sig)[\w-]*=)[^&\s'\"]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part that can be tested. model: empty for none. address: empty where it runs on this machine."""

    name: str
    model: str
    address: str = ""
    used: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What came back: a key of the words, and what is filled in."""

    key: str
    values: Mapping[str, object] = field(default_factory=dict)


def parts(settings: Settings) -> list[Part]:
    """What the settings name."""
    llm, embedding, rerank, milvus = settings.llm, settings.embedding, settings.rerank, settings.milvus
    asks_chat = rerank.model == "chat"
    return [
        Part(name="chat", model=llm.model, address=llm.base_url, used=llm.model != "none"),
        Part(name="embedding", model=embedding.model),
        Part(name="reranker", model=rerank.model, address=llm.base_url if asks_chat else rerank.base_url, used=bool(rerank.model)),
        Part(name="milvus", model="", address=milvus.uri),
    ]  # fmt: skip


def tried(kb: KnowledgeBase, name: str) -> Said:
    """Call a part once and say what came back; no cache answers. Raises: RagstoneError when it does not work."""
    return _TRIES[name](kb)


def _chat(kb: KnowledgeBase) -> Said:
    chat = kb.chat
    if chat is None:
        return Said(key="said_no_chat")
    asked = Message(role="user", content="Reply with one word: ready")
    reply = complete(chat, [asked], max_tokens=16).strip()
    if not reply:
        return Said(key="said_nothing", values={"model": chat.name})
    return Said(key="said_chat", values={"model": chat.name, "reply": " ".join(reply.split())[:REPLY_CHARS]})


def _embedding(kb: KnowledgeBase) -> Said:
    (vector,) = kb.embedder.embed_queries([f"How long is tea steeped? {secrets.token_hex(4)}"])
    if not all(math.isfinite(float(one)) for one in vector):
        raise RagstoneError(
            f"The embedding model {kb.embedder.name} gave numbers that are none. Choose another in embedding.model."
        )
    return Said(key="said_embedding", values={"model": kb.embedder.name, "n": len(vector)})


def _reranker(kb: KnowledgeBase) -> Said:
    reranker = kb.reranker
    if reranker is None:
        return Said(key="said_no_reranker")
    question = f"How long is green tea steeped? ({secrets.token_hex(4)})"  # a new one: no reply is in the cache
    right, wrong = reranker.scores(question, ["Green tea is steeped for two minutes.", "The museum of clocks opens at nine."])  # fmt: skip
    key = "said_reranker" if right > wrong else "said_reranker_wrong"
    return Said(key=key, values={"model": reranker.name, "right": f"{right:.2f}", "wrong": f"{wrong:.2f}"})


def _milvus(kb: KnowledgeBase) -> Said:
    return Said(key="said_milvus", values={"n": len(kb.store.indexes(kb.settings.milvus.prefix))})


_TRIES: Mapping[str, Callable[[KnowledgeBase], Said]] = {
    "chat": _chat, "embedding": _embedding, "reranker": _reranker, "milvus": _milvus,
}  # fmt: skip


def without_secrets(text: str) -> str:
    """Text, such as an address, without the passwords and keys that it holds."""
    return _SECRET_IN_QUERY.sub(r"\1****", _SECRET_IN_ADDRESS.sub("****", text))


def models(view: View) -> None:
    """A card for each part."""
    st.caption(view.word("settings.models_intro"))
    for part in parts(view.home.kb.settings):
        with st.container(border=True, key=f"part-{part.name}"):
            _card(view, part)


def _card(view: View, part: Part) -> None:
    word = view.word
    with st.container(horizontal=True, vertical_alignment="center"):
        where = without_secrets(part.address) or word("settings.here")
        lines = [f"**{word(f'settings.name_{part.name}')}**", f":gray[{word(f'settings.for_{part.name}')}]"]
        if part.used:
            lines.append(" · ".join(plain(one) for one in (part.model, where) if one))
        else:
            lines.append(word("settings.not_used"))
        st.markdown("  \n".join(lines), width="stretch")
        task = _task(view, part.name)
        if part.used and st.button(
            word("settings.test"), key=f"test-{part.name}", disabled=task is not None and task.running
        ):
            kb, name = view.home.kb, part.name
            view.home.tasks.start(view.user.name, KIND, name, lambda _: tried(kb, name), about=name)
            st.rerun()
    if task is not None:
        view.part(_outcome, view, task, task.running, run_every=REFRESH_S if task.running else None)


def _task(view: View, name: str) -> Task | None:
    return view.home.tasks.on(view.user.name, KIND, name)


def _outcome(view: View, task: Task, was_running: bool) -> None:
    if task.running:
        st.caption(f":material/hourglass_top: {view.word('settings.testing')}")
        return
    if was_running:
        st.rerun()
    seconds = f"{(task.ended or task.started) - task.started:.1f}"
    if task.state == "done":
        result: Said = task.result
        filled: dict[str, Any] = {key: plain(str(value)) for key, value in result.values.items()}
        st.success(
            view.word("settings.said_after", seconds=seconds, what=view.word(f"settings.{result.key}", **filled))
        )
    else:
        why = said(view.language, without_secrets(task.error), task.code)
        st.error(view.word("settings.failed_after", seconds=seconds, what=why))
