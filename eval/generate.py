"""Test questions from the user's own documents, written by a chat model and checked by rules before anybody reviews them."""

from __future__ import annotations

import csv
import io
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Protocol, get_args

from eval.answer_metrics import by_word, holds, normalised
from eval.evaluation import Progress
from eval.prompts import QUESTION_SCHEMA, QUESTION_TOKENS, Kind, question_messages, question_of
from rag.answering import short_answer
from rag.chat import complete
from rag.errors import ChatError, UsageError
from rag.names import names
from rag.settings import AnswerSettings
from rag.text import language
from rag.types import Answer, ChatModel, Chunk, DocumentInfo, Hit

KINDS: tuple[Kind, ...] = get_args(Kind)
COLUMNS = ("id", "question", "answer", "source", "kind", "language", "keep", "chunk")
MOST_COPIED = 4  # words in a row that a question may share with its text, names aside
MOST_ANSWER_WORDS = 15
MIN_WORDS = 30  # of a chunk that is worth a question
MOST_CHUNKS = 5_000  # looked at, of a large collection
TRIES = 2  # for each chunk; the second is told what was wrong with the first
DEADLINE_S = 120.0

_ABOUT_THE_TEXT = re.compile(
    r"\b(?:the|this|these|both|first|second|given) (?:text|passage|document|article|excerpt|paragraph)s?\b|\baccording to the (?:text|passage|document)"
    r"|资料|文中|本文|上文|这段|该段|文章|文本",
    re.IGNORECASE,
)


class Documents(Protocol):
    """The part of rag.knowledge_base.KnowledgeBase that is needed."""

    def documents(self) -> list[DocumentInfo]: ...
    def chunks(self, doc_id: str) -> list[Chunk]: ...
    def ask(self, question: str, **options: Any) -> Answer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TestQuestion:
    """A question with its answer and the chunks that hold it; an unanswerable one has the chunk it was made from."""

    __test__ = False  # not a test case, whatever its name begins with

    question: str
    answer: str
    kind: Kind
    language: str
    sources: tuple[str, ...]
    chunk_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """rejected: reason -> how many replies were not usable."""

    questions: tuple[TestQuestion, ...]
    rejected: dict[str, int]
    n_calls: int


def generate(
    kb: Documents,
    *,
    chat: ChatModel,
    n: int,
    kinds: Sequence[Kind] = KINDS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Generated:
    """Up to `n` questions, the kinds taking turns, each about other chunks.

    Kept is only what passes the rules: in the text's language, not copied from it, not about "the text", without its own
    answer, with a short answer that stands in the text and that the model finds again when it is shown the text, for two
    hops when it is shown both and neither alone; of the unanswerable ones those that the knowledge base does not answer. What does not pass is counted by reason.
    Raises: UsageError when the collection holds no chunk that is worth a question.
    """
    chunks = _chunks(kb, random.Random(seed))  # noqa: S311  a choice of chunks, no secret
    if not chunks:
        raise UsageError(
            f"There is no passage of {MIN_WORDS} words or more to ask about. Import documents first: ragstone ingest PATH"
        )
    writer = _Writer(kb, chat)
    found: list[TestQuestion] = []
    wanted = {kind: n // len(kinds) + (at < n % len(kinds)) for at, kind in enumerate(kinds)}
    for kind, group in _turns(chunks, kinds):
        if len(found) == n:
            break
        if wanted[kind] and (one := writer.write(kind, group, {other.question for other in found})) is not None:
            found.append(one)
            wanted[kind] -= 1
            if progress is not None:
                progress("questions", len(found), n)
    return Generated(questions=tuple(found), rejected=dict(sorted(writer.rejected.items())), n_calls=writer.n_calls)


def fault(question: str, answer: str, texts: Sequence[str], kind: Kind) -> str:
    """What is wrong with a question about texts, as a reason to count; "" when nothing is."""
    text = "\n".join(texts)
    if not 3 <= len(by_word(question)) <= 60:
        return "length"
    if language(question) != language(text):
        return "language"
    if _ABOUT_THE_TEXT.search(question):
        return "about-the-text"
    if longest_copy(question, text) > MOST_COPIED:
        return "copied"
    if kind == "unanswerable":
        return "answered" if len(normalised(answer)) > 1 and holds(text, [answer]) else ""
    if len(by_word(answer)) > MOST_ANSWER_WORDS:
        return "answer-long"
    if not normalised(answer) or not holds(text, [answer]):
        return "answer-not-in-text"
    return "answer-in-question" if holds(question, [answer]) else ""


def longest_copy(question: str, text: str) -> int:
    """The most words in a row that a question shares with a text. Names do not count: things must be called something."""
    called = {word for name in names(question) for word in by_word(name)}
    places: dict[str, list[int]] = defaultdict(list)
    for at, word in enumerate(by_word(text)):
        places[word].append(at)
    longest = 0
    ending: dict[int, int] = {}  # place in the text -> words of the common run that ends there
    for word in by_word(question):
        ending = {at: ending.get(at - 1, 0) + (word not in called) for at in places.get(word, ())}
        longest = max(longest, *ending.values(), 0)
    return longest


def to_csv(questions: Sequence[TestQuestion]) -> str:
    """The questions as the table that `load_dataset` reads. `keep` is empty: people write yes or no there."""
    out = io.StringIO(newline="")
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    for number, one in enumerate(questions, start=1):
        for source, chunk in zip(one.sources, one.chunk_ids, strict=True):
            rows.writerow((f"q{number}", one.question, one.answer, source, one.kind, one.language, "", chunk))
    return out.getvalue()


# ---------------------------------------------------------------- inside


@dataclass(frozen=True, slots=True)
class _Source:
    chunk: Chunk
    source: str


class _Writer:
    """Writes questions until one passes; counts the rest."""

    def __init__(self, kb: Documents, chat: ChatModel) -> None:
        self._kb, self._chat = kb, chat
        self.rejected: Counter[str] = Counter()
        self.n_calls = 0

    def write(self, kind: Kind, group: Sequence[_Source], known: set[str]) -> TestQuestion | None:
        texts = [one.chunk.text for one in group]
        reason = ""
        for _ in range(TRIES):
            reply = self._ask(kind, texts, _EXPLAINED.get(reason, reason))
            if reply is None:
                return None
            written = question_of(reply)
            reason = "unreadable" if written is None else self._fault(*written, group, kind, known)
            if written is not None and not reason:
                question, answer = written
                return TestQuestion(
                    question=question,
                    answer="" if kind == "unanswerable" else answer,
                    kind=kind,
                    language=language(question),
                    sources=tuple(one.source for one in group),
                    chunk_ids=tuple(one.chunk.chunk_id for one in group),
                )
            self.rejected[reason] += 1
        return None

    def _ask(self, kind: Kind, texts: list[str], avoid: str) -> str | None:
        messages = question_messages(texts, kind, language("\n".join(texts)), avoid)
        self.n_calls += 1
        try:
            return complete(
                self._chat, messages, max_tokens=QUESTION_TOKENS, json_schema=QUESTION_SCHEMA, deadline_s=DEADLINE_S
            )
        except ChatError as error:
            self.rejected[error.code] += 1
            return None

    def _fault(self, question: str, answer: str, group: Sequence[_Source], kind: Kind, known: set[str]) -> str:
        if question in known:
            return "asked-already"
        if reason := fault(question, answer, [one.chunk.text for one in group], kind):
            return reason
        if kind == "unanswerable":
            self.n_calls += 1
            return "" if self._kb.ask(question).abstained else "answered"
        if not self._found_again(question, answer, group):
            return "not-found-again"
        alone = kind == "multi-hop" and any(self._found_again(question, answer, [one]) for one in group)
        return "one-text-is-enough" if alone else ""

    def _found_again(self, question: str, answer: str, group: Sequence[_Source]) -> bool:
        """Whether the model, shown the texts, gives the answer."""
        hits = [_hit(rank, one) for rank, one in enumerate(group, start=1)]
        self.n_calls += 1
        settings = AnswerSettings(passage_tokens=1024)
        said = short_answer(question, hits, chat=self._chat, settings=settings, deadline_s=DEADLINE_S)
        return bool(holds(said, [answer]) or (said and holds(answer, [said])))


_EXPLAINED = {
    "copied": "the question repeats a phrase of the text. / 问题照抄了原文语句。",
    "about-the-text": "the question mentions the text. / 问题提到了资料本身。",
    "answer-in-question": "the question holds its own answer. / 问题里含有答案。",
    "answer-not-in-text": "the answer is not written in the text like that. / 答案不是原文中的字句。",
    "language": "the question is in another language than the text. / 问题与资料语言不同。",
    "answer-long": "the answer is too long; a few words are wanted. / 答案太长，只要几个字。",
    "one-text-is-enough": "one of the texts alone answers it; both must be needed. / 只看一段资料就能回答，必须同时用到两段。",
    "not-found-again": "the question cannot be answered from the text. / 根据资料答不出这个问题。",
    "answered": "the documents answer the question. / 资料中已有答案。",
}


def _hit(rank: int, one: _Source) -> Hit:
    chunk = one.chunk
    return Hit(rank=rank, chunk_id=chunk.chunk_id, doc_id=chunk.doc_id, source=one.source, title="", score=1.0 / rank,
               text=chunk.text, start=chunk.start, end=chunk.end, context=chunk.context)  # fmt: skip


def _chunks(kb: Documents, rng: random.Random) -> list[_Source]:
    """The chunks that are worth a question, one of each document first, in an order that the seed decides."""
    documents = sorted((one for one in kb.documents() if one.state == "live"), key=lambda one: one.doc_id)
    rng.shuffle(documents)
    by_document: list[list[_Source]] = []
    for info in documents[:MOST_CHUNKS]:
        own = [
            _Source(chunk, info.source)
            for chunk in kb.chunks(info.doc_id)
            if not chunk.level and len(by_word(chunk.text)) >= MIN_WORDS
        ]
        rng.shuffle(own)
        by_document.append(own)
    return [one for layer in zip_longest(*by_document) for one in layer if one is not None][:MOST_CHUNKS]


def _turns(chunks: Sequence[_Source], kinds: Sequence[Kind]) -> Iterator[tuple[Kind, tuple[_Source, ...]]]:
    """Groups of chunks for each kind in turn, until all kinds have seen all of theirs."""
    streams = [_groups(kind, at * len(chunks) // len(kinds), chunks) for at, kind in enumerate(kinds)]
    for layer in zip_longest(*streams):
        yield from (turn for turn in layer if turn is not None)


def _groups(kind: Kind, shift: int, chunks: Sequence[_Source]) -> Iterator[tuple[Kind, tuple[_Source, ...]]]:
    """shift: each kind starts elsewhere, so that they ask about different chunks."""
    if kind == "multi-hop":
        yield from ((kind, pair) for pair in _linked(chunks))
    else:
        yield from ((kind, (one,)) for one in [*chunks[shift:], *chunks[:shift]])


def _linked(chunks: Sequence[_Source]) -> Iterator[tuple[_Source, _Source]]:
    """Pairs of chunks of different documents that share a rare name; each chunk once."""
    holders: dict[str, list[_Source]] = defaultdict(list)
    for one in chunks:
        for name in sorted(_name_keys(one.chunk.text)):
            holders[name].append(one)
    used: set[str] = set()
    for name in sorted(holders, key=lambda key: (len(holders[key]), key)):
        free = [one for one in holders[name] if one.chunk.chunk_id not in used]
        others = [one for one in free[1:] if one.chunk.doc_id != free[0].chunk.doc_id]
        if others and len(holders[name]) <= max(5, len(chunks) // 20):
            used |= {free[0].chunk.chunk_id, others[0].chunk.chunk_id}
            yield free[0], others[0]


def _name_keys(text: str) -> set[str]:
    if language(text) == "en":
        return names(text)
    return names(text) | {
        word for word in by_word(text) if len(word) >= 3
    }  # a long Chinese word is mostly a name or a term
