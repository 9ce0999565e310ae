"""What is known of a user across threads: facts and wishes with their source and time, and runs that worked, as examples.

They lie in a collection of their own per user, in the same catalog and Milvus as documents: found by meaning, durable,
never another user's. A fact about something that is known already takes the old one's place; the old one is kept as
history until it is forgotten.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agents.tooling import Tool, tool
from agents.types import AgentResult
from rag.errors import UsageError
from rag.text import words
from rag.types import Document

RECALLED = 5
MAX_FACT = 500  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """about: what it is about, in a few words. since: Unix time. source: where it was said. current: not replaced."""

    fact_id: str
    about: str
    text: str
    source: str
    since: float
    current: bool = True


class LongTermMemory:
    """One user's memory in the home of a knowledge base. Threads may share it.

    kb: opened on the home; its collection is not touched. user: any name; two users never see each other's facts.
    Raises: UsageError for an empty user.
    """

    def __init__(self, kb: Any, user: str) -> None:
        if not user.strip():
            raise UsageError("A memory belongs to a user. Name one.")
        from rag.knowledge_base import KnowledgeBase

        self.user = user
        key = hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()[:24]
        self._kb = KnowledgeBase(kb.home, kb.settings, f"memory-{key}")
        # One catalog, store and embedder for both: the embedded engine and the model are opened once.
        self._kb._catalog, self._kb._store, self._kb._embedder = kb.catalog, kb.store, kb.embedder

    # ------------------------------------------------------------ facts

    def remember(self, about: str, text: str, *, source: str = "conversation") -> Fact:
        """Keep a fact. One about the same thing is replaced, and stays as history. Raises UsageError for empty or long ones."""
        about, text = " ".join(about.split()), " ".join(text.split())
        if not about or not text or len(text) > MAX_FACT:
            raise UsageError(f"A fact needs what it is about, and a text of 1 to {MAX_FACT} characters.")
        fact_id = f"fact-{_key(about)}"
        now = time.time()
        before = self._fact(fact_id)
        if before is not None and before.text != text:
            self._put(Fact(fact_id=f"past-{_key(about)}-{int(before.since * 1000)}", about=about, text=before.text,
                           source=before.source, since=before.since, current=False), "past")  # fmt: skip
        fact = Fact(fact_id=fact_id, about=about, text=text, source=source, since=now)
        self._put(fact, "fact")
        return fact

    def recall(self, query: str, n: int = RECALLED) -> list[str]:
        """The current facts nearest to a query, each as one line with its source and day."""
        found = self._search(query, "fact", n)
        return [f"{hit.text} ({hit.metadata['said_in']}, {_day(hit.metadata['since'])})" for hit in found]

    def facts(self, *, history: bool = False) -> list[Fact]:
        """All current facts; with `history` those that were replaced, too."""
        return [one for one in map(self._from, self._kb.documents()) if one is not None and (one.current or history)]

    def forget(self, about: str = "") -> int:
        """Delete what is known about something, its history included; without `about` everything. Returns how many."""
        key = _key(about) if about.strip() else ""
        ids = [info.doc_id for info in self._kb.documents() if not key or info.doc_id.split("-")[1:2] == [key]]
        return self._kb.delete(*ids) if ids else 0

    # ------------------------------------------------------------ what worked

    def keep_episode(self, task: str, result: AgentResult) -> None:
        """Keep a run that answered as an example of how such tasks are done."""
        if result.stopped != "answered" or not result.steps:
            return
        way = " → ".join(step.tool for step in result.steps if step.ok and step.tool)
        now = str(time.time())
        self._kb.ingest(
            Document(task[:2000], doc_id=f"episode-{_key(task)}", title="episode", type="episode",
                     metadata={"kind": "episode", "way": way, "since": now, "said_in": "run", "about": task[:200]})
        )  # fmt: skip

    def episodes(self, task: str, n: int = 2) -> list[str]:
        """How the most similar tasks were done."""
        return [
            f"A similar task, {hit.text!r}, was done by: {hit.metadata['way']}"
            for hit in self._search(task, "episode", n)
        ]

    # ------------------------------------------------------------ as tools

    def tools(self) -> list[Tool]:
        """remember and forget, as an agent calls them. After text from outside was read they need approval."""

        @tool(name="remember", effect="write", untrusted=False)
        def remember(about: str, fact: str) -> str:
            """Keep something the user said for later conversations.

            about: what it is about, in a few words, such as favourite tea
            fact: the fact, in one sentence
            """
            return f"Kept: {self.remember(about, fact).text}"

        @tool(name="forget", effect="write", untrusted=False)
        def forget(about: str) -> str:
            """Delete what is kept about something, when the user asks for it.

            about: what it is about
            """
            return f"{self.forget(about)} facts deleted." if about.strip() else "Say what to forget."

        return [remember, forget]

    def _search(self, query: str, kind: str, n: int) -> Sequence[Any]:
        if not query.strip() or self._kb.catalog.collection(self._kb.collection) is None:
            return []
        return list(self._kb.search(query, top_k=n, mode="hybrid", filter=f"kind == '{kind}'", rerank=False))

    def _put(self, fact: Fact, kind: str) -> None:
        metadata = {"kind": kind, "about": fact.about, "said_in": fact.source, "since": str(fact.since)}
        report = self._kb.ingest(
            Document(fact.text, doc_id=fact.fact_id, title=fact.about, type="fact", metadata=metadata)
        )
        if report.failures:
            raise UsageError(f"The fact was not kept: {report.failures[0].message}")

    def _fact(self, fact_id: str) -> Fact | None:
        return next((one for one in map(self._from, self._kb.documents(fact_id)) if one is not None), None)

    def _from(self, info: Any) -> Fact | None:
        kind = info.metadata.get("kind")
        if kind not in ("fact", "past"):
            return None
        return Fact(fact_id=info.doc_id, about=info.metadata["about"], text=self._kb.text(info.doc_id),
                    source=info.metadata["said_in"], since=float(info.metadata["since"]), current=kind == "fact")  # fmt: skip


def _key(about: str) -> str:
    """Two ways to say the same thing, with other small words, in other order, have one key."""
    terms = sorted(set(words(about))) or [about.casefold()]
    return hashlib.sha256(" ".join(terms).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _day(since: str) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(float(since)))
