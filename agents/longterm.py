"""What is known of a user across threads: facts and wishes with their source and time, and runs that worked, as examples.

They lie in a collection of their own per user, in the same catalog and Milvus as documents: found by meaning, durable,
never another user's. A fact about something that is known already takes the old one's place; the old one is kept as
history until it is forgotten.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from agents.tooling import Tool, tool
from agents.types import AgentResult
from rag.answering import content_terms, estimate_tokens
from rag.errors import UsageError
from rag.text import words
from rag.types import Document

RECALLED = 5
MAX_FACT = 500  # characters
MAX_TASK = 200  # characters of a task that is an example
MAX_EPISODES = 200  # of a user
EPISODE_TOKENS = 120  # of the examples that a prompt takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """about: what it is about, in a few words. since: Unix time. source: where it was said. current: not replaced."""

    fact_id: str
    about: str
    text: str
    source: str
    since: float
    current: bool = True


def did_well(result: AgentResult) -> bool:
    """Whether a run is an example to follow: it answered, no step failed, and what it read it cites, every sentence of it."""
    read = any(step.tainted for step in result.steps)
    return (
        result.stopped == "answered"
        and bool(result.steps)
        and all(step.ok and step.tool for step in result.steps)
        and not result.unsupported
        and (bool(result.citations) or not read)
    )


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
        self._of = kb.collection  # examples of one collection are none for another
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

    def keep_episode(self, task: str, result: AgentResult) -> bool:
        """Keep a run as an example of how such tasks are done, if it did well; returns whether it was kept.

        Of the run only the names of its tools are kept, beside the user's own task: nothing that a document, a page or a
        tool said can come back as advice. The oldest examples go beyond MAX_EPISODES.
        """
        if not did_well(result):
            return False
        way = " → ".join(step.tool for step in result.steps)[:MAX_FACT]
        about = " ".join(task.split())[:MAX_TASK]
        metadata = {"kind": "episode", "of": self._of, "way": way, "since": str(time.time()), "said_in": "run", "about": about}  # fmt: skip
        doc_id = f"episode-{_key(f'{self._of} {about}')}"
        report = self._kb.ingest(Document(about, doc_id=doc_id, title="episode", type="episode", metadata=metadata))
        kept = [info for info in self._kb.documents() if info.metadata.get("kind") == "episode"]
        old = sorted(kept, key=lambda info: float(info.metadata["since"]))[: max(0, len(kept) - MAX_EPISODES)]
        if old:
            self._kb.delete(*(info.doc_id for info in old))
        return not report.failures

    def episodes(self, task: str, n: int = 2, *, tools: Collection[str] = ()) -> list[str]:
        """How the most similar tasks over the same collection were done, nearest first, within EPISODE_TOKENS.

        tools: those that there are; an example that needs another one is left out.
        """
        asked, room = content_terms(task), float(EPISODE_TOKENS)
        lines: list[str] = []
        for hit in self._search(task, "episode", 4 * n, f" and of == '{self._of}'"):
            way = hit.metadata["way"]
            if tools and not set(way.split(" → ")) <= set(tools) or not content_terms(hit.text) & asked:
                continue
            line = f"{hit.text} ⇒ {way}"
            room -= estimate_tokens(line)
            if room < 0 or len(lines) == n:
                break
            lines.append(line)
        return lines

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

    def _search(self, query: str, kind: str, n: int, more: str = "") -> Sequence[Any]:
        if not query.strip() or self._kb.catalog.collection(self._kb.collection) is None:
            return []
        return list(self._kb.search(query, top_k=n, mode="hybrid", filter=f"kind == '{kind}'{more}", rerank=False))

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
