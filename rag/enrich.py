"""Enrichment: what is added to chunks so that they are found. Placing sentences, questions, keywords, summaries, a summary tree.

Everything is off by default. What asks the chat model is remembered, counted and has a price that is known before;
a chunk that the model failed on goes in without. Nothing here changes a chunk's own text, which is what gets quoted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from math import log
from typing import Any, Protocol

from rag import prompts
from rag.errors import ChatError
from rag.prompts import Task
from rag.reply_cache import CachedChat, ReplyCache, complete_as
from rag.settings import EnrichSettings, Settings
from rag.text import grapheme_cut, language, sentences, terms, words
from rag.types import ChatModel, Chunk, Embedder, Enricher, ParsedDocument

DEFAULT_SIZE = 512  # as in an import: tokens per chunk at most, when the settings leave it open
MAX_FAILURES = 3  # in a row; then the model is not asked any more in this import
HEAD_CHARS, NEAR_CHARS = 800, 600  # of the document's start and of what stands around a chunk, as the model sees them
MAX_PROMPT_CHARS = 6000  # of a text to be summarised
SUMMARY_TOKENS = 160
EXTRACT_SENTENCES = 4
MAX_EXTRACTED = 400  # sentences that are compared for one summary; of more the first are
ROOTS = 3  # nodes at the top of a tree, at most
MAX_LEVELS = 8


# ---------------------------------------------------------------- what it takes


def is_on(settings: EnrichSettings) -> bool:
    return bool(needs_chat(settings) or settings.keywords or settings.summaries != "none")


def needs_chat(settings: EnrichSettings) -> bool:
    summaries = settings.summaries != "none" and settings.summarise == "chat"
    return bool(settings.context or settings.questions or summaries)


def reserve(settings: EnrichSettings) -> int:
    """Tokens of each chunk that stay free for what is added to it."""
    return settings.room_tokens if settings.context or settings.questions or settings.keywords else 0


def recipe(settings: EnrichSettings) -> str:
    """Names what decides the stored chunks; "" when nothing is added."""
    if not is_on(settings):
        return ""
    names = ("context", "questions", "keywords", "summaries", "summarise", "group", "cluster", "room_tokens")
    return "".join(f" {name}={getattr(settings, name)}" for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What the chat model will be asked, about; what it was asked before is not in it. rehearsal.py finds out."""

    n_calls: int = 0
    n_prompt_tokens: int = 0
    n_answer_tokens: int = 0
    usd: float = 0.0
    seconds: float | None = 0.0  # None: not known


# ---------------------------------------------------------------- the enrichers


def enrichers(
    settings: Settings,
    chat: ChatModel | None,
    embedder: Embedder,
    *,
    cache: ReplyCache | None = None,
    warn: Callable[[str], None] = lambda _sentence: None,
) -> list[Enricher]:
    """What the settings ask for, in order; the last one cuts what was added to the room there is.

    warn: receives one sentence for each thing that is left out.
    """
    writer = _Writer(chat, settings.enrich, cache, warn)
    return steps(settings, embedder, writer, embed=embedder.embed_passages) if is_on(settings.enrich) else []


class Writer(Protocol):
    """What writes for the enrichers."""

    def write(self, task: Task, text: str, lang: str, *, n: int = 1) -> list[str]: ...


def steps(
    settings: Settings, embedder: Embedder, writer: Writer, *, embed: Callable[[Sequence[str]], Any] | None
) -> list[Enricher]:
    """The enrichers around a writer. embed: groups what is near for a tree; None groups neighbours."""
    wanted, found = settings.enrich, list[Enricher]()
    size = min(settings.chunk.size or DEFAULT_SIZE, embedder.max_tokens) - embedder.passage_overhead()
    if wanted.context:
        found.append(lambda parsed, chunks: placed(parsed, chunks, writer))
    if wanted.questions:
        found.append(lambda parsed, chunks: asked(parsed, chunks, writer, wanted.questions))
    if wanted.keywords:
        found.append(lambda parsed, chunks: with_keywords(parsed, chunks, wanted.keywords))
    if wanted.summaries != "none":
        summarise = partial(summary, writer) if wanted.summarise == "chat" else extract
        shorten = _Shortener(embedder.token_offsets, size)
        if wanted.summaries == "sections":
            found.append(lambda parsed, chunks: with_sections(parsed, chunks, summarise, shorten))
        else:
            near = embed if wanted.cluster == "similar" else None
            found.append(lambda parsed, chunks: with_tree(parsed, chunks, summarise, shorten, wanted.group, near))
    found.append(
        lambda _parsed, chunks: [fitted(one, at, embedder.token_offsets, size) for at, one in enumerate(chunks)]
    )
    return found


def fitted(chunk: Chunk, ordinal: int, tokens: Callable[[str], Any], room: int) -> Chunk:
    """The chunk with as much of `extra` as its room holds, its last lines and words given up first, and counted anew."""
    lines = chunk.extra.split("\n") if chunk.extra else []
    while True:
        chunk = replace(chunk, extra="\n".join(lines), ordinal=ordinal)
        n_tokens = len(tokens(chunk.indexed_text))
        if n_tokens <= room or not lines:
            return replace(chunk, n_tokens=n_tokens)
        shorter = lines[-1].rpartition(", ")[0]  # a list of keywords loses its last one
        lines = [*lines[:-1], *([shorter] if shorter else [])]


class _Writer:
    """The chat model behind the enrichment of one import: remembers, counts, and stops asking when it must."""

    def __init__(
        self, chat: ChatModel | None, settings: EnrichSettings, cache: ReplyCache | None, warn: Callable[[str], None]
    ) -> None:
        self._chat = CachedChat(chat, cache) if chat and cache else chat
        self._left, self._deadline_s, self._warn = settings.max_calls, settings.deadline_s, warn
        self._n_failed_in_row = 0
        self._said: set[str] = set()

    def write(self, task: Task, text: str, lang: str, *, n: int = 1) -> list[str]:
        """What the model made of the text; empty when it did not."""
        if self._chat is None:
            return self._without(
                "no-model", "Enrichment needs a chat model and there is none; chunks go in without it."
            )
        messages = prompts.task_messages(task, text, lang, n=n)
        known = isinstance(self._chat, CachedChat) and self._chat.knows(messages, task.max_tokens, task.schema)
        if not known and self._n_failed_in_row >= MAX_FAILURES:
            return []
        if not known and self._left <= 0:
            return self._without("budget", "Enrichment stopped at enrich.max_calls; the chunks after it go in without.")
        self._left -= not known
        try:
            found = complete_as(
                self._chat, messages, partial(prompts.task_reply, task),
                max_tokens=task.max_tokens, json_schema=task.schema, deadline_s=self._deadline_s,
            )  # fmt: skip
        except ChatError as error:
            self._n_failed_in_row += 1
            if self._n_failed_in_row == MAX_FAILURES:
                return self._without(
                    "down",
                    f"The chat model failed {MAX_FAILURES} times in a row ({error.code}); enrichment stopped there.",
                )
            return self._without(error.code, f"Enrichment left chunks out because the chat model failed. {error}")
        self._n_failed_in_row = 0
        return found

    def _without(self, kind: str, sentence: str) -> list[str]:
        if kind not in self._said:
            self._said.add(kind)
            self._warn(sentence)
        return []


def _plus(chunk: Chunk, lines: Sequence[str]) -> Chunk:
    flat = [" ".join(line.split()) for line in lines if line.strip()]
    return replace(chunk, extra="\n".join([*([chunk.extra] if chunk.extra else []), *flat]))


def placed(parsed: ParsedDocument, chunks: Sequence[Chunk], writer: Writer) -> list[Chunk]:
    """Each chunk with a sentence that says where in its document it stands. A document of one chunk needs none."""
    own = [chunk for chunk in chunks if not chunk.level]
    if len(own) < 2:
        return list(chunks)
    lang = language(parsed.text)
    head = parsed.text[: grapheme_cut(parsed.text, HEAD_CHARS)]

    def with_place(chunk: Chunk) -> Chunk:
        before = parsed.text[max(0, chunk.start - NEAR_CHARS) : chunk.start]
        return _plus(
            chunk, writer.write(prompts.PLACE, prompts.place(parsed.title, head, before, chunk.text, lang), lang)[:1]
        )

    return [with_place(chunk) if not chunk.level else chunk for chunk in chunks]


def asked(parsed: ParsedDocument, chunks: Sequence[Chunk], writer: Writer, n: int) -> list[Chunk]:
    """Each chunk with questions that it answers. Source: Nogueira et al. 2019, arXiv:1904.08375 (doc2query)."""
    lang = language(parsed.text)

    def with_questions(chunk: Chunk) -> Chunk:
        text = prompts.neutral(f"{chunk.context}\n{chunk.text}".strip())
        return _plus(chunk, writer.write(prompts.QUESTIONS, text, lang, n=n)[:n])

    return [with_questions(chunk) if not chunk.level else chunk for chunk in chunks]


# ---------------------------------------------------------------- keywords


def with_keywords(parsed: ParsedDocument, chunks: Sequence[Chunk], n: int) -> list[Chunk]:
    """Each chunk with the keywords that tell it apart from the rest of its document, as its last line of `extra`."""
    own = [chunk for chunk in chunks if not chunk.level]
    found = keywords([chunk.text for chunk in own], n)
    by_ordinal = {chunk.ordinal: listed for chunk, listed in zip(own, found, strict=True)}
    return [_plus(one, [", ".join(by_ordinal[one.ordinal])]) if not one.level else one for one in chunks]


def keywords(texts: Sequence[str], n: int) -> list[list[str]]:
    """For each text its n best terms by TF-IDF over these texts, best first; a single text's by frequency."""
    counts = [Counter(_words(text)) for text in texts]
    holding = Counter(term for one in counts for term in one)

    def weight(term: str, times: int) -> float:
        return (1 + log(times)) * (log((1 + len(texts)) / (1 + holding[term])) + 1)

    return [[term for term, _ in sorted(one.items(), key=lambda pair: (-weight(*pair), pair[0]))[:n]] for one in counts]


def words_of(chunks: Sequence[Chunk], settings: EnrichSettings) -> Mapping[str, Any]:
    """The document's keywords as metadata that filters can test."""
    if not settings.keywords:
        return {}
    text = "\n".join(chunk.text for chunk in chunks if not chunk.level)
    return {"keywords": keywords([text], settings.keywords)[0]}


def _words(text: str) -> list[str]:
    """Words as people write them, lower-cased: what a reader of the keyword table sees. Short and common ones are left out."""
    found: list[str] = []
    for run in _RUN.findall(text.lower()):
        terms_of_run = words(run)  # none for a stop word
        found += [run] if run.isascii() and terms_of_run else terms_of_run
    return [
        word for word in found if 1 < len(word) <= 40 and (len(word) > 2 or not word.isascii()) and not word.isdigit()
    ]


_RUN = re.compile(r"[a-z0-9][a-z0-9'’+#-]*|[^\W_]+")


# ---------------------------------------------------------------- summaries

Summarise = Callable[[str, str], str]
"""(text, language) → a summary."""


def summary(writer: Writer, text: str, lang: str) -> str:
    """A summary by the model; where it writes none, sentences of the text."""
    cut = text[: grapheme_cut(text, MAX_PROMPT_CHARS)]
    return next(iter(writer.write(prompts.SUMMARY, prompts.neutral(cut), lang)), "") or extract(text, lang)


class _Shortener:
    """Cuts a summary to the tokens that a chunk may have beside its context."""

    def __init__(self, tokens: Callable[[str], Any], room: int) -> None:
        self._tokens, self._room = tokens, room

    def __call__(self, text: str, context: str) -> str:
        left = self._room - (len(self._tokens(context)) if context else 0) - 1
        spans = self._tokens(text)
        if len(spans) <= left:
            return text
        end = int(spans[max(left, 1) - 1][1])
        whole = [b for _, b in sentences(text) if b <= end]
        return text[: whole[-1] if whole else grapheme_cut(text, end)].strip()


def extract(text: str, lang: str, n: int = EXTRACT_SENTENCES) -> str:
    """The n sentences that hold most of the text's recurring words, in their order. Linear in the text's length.

    Source: Nenkova and Vanderwende 2005 (SumBasic): after each choice the words that it holds count less.
    """
    spans = [(a, b) for a, b in sentences(text) if not text[a:b].startswith(("#", "|", "```"))][:MAX_EXTRACTED]
    if len(spans) <= n:
        return " ".join(text[a:b] for a, b in spans) or text[: grapheme_cut(text, 500)]
    held = [terms(text[a:b]) for a, b in spans]
    counts = Counter(term for one in held for term in one)
    weights = {term: times / len(spans) for term, times in counts.items() if times > 1} or dict.fromkeys(counts, 1.0)
    chosen: list[int] = []
    for _ in range(n):
        rest = [at for at in range(len(spans)) if at not in chosen]
        best = max(rest, key=lambda at: (sum(weights.get(term, 0.0) for term in held[at]) / (len(held[at]) + 4), -at))
        chosen.append(best)
        weights |= {term: weights[term] ** 2 for term in held[best] if term in weights}
    return ("" if lang == "zh" else " ").join(text[slice(*spans[at])] for at in sorted(chosen))


def _node(
    parsed: ParsedDocument, below: Sequence[Chunk], level: int, summarise: Summarise, shorten: _Shortener
) -> Chunk | None:
    """A summary of chunks. It spans them all; of chunks that lie apart it spans what is between them, too."""
    text = summarise("\n\n".join(one.text for one in below), language(parsed.text)).strip()
    context = " ".join(parsed.title.split())[:200]
    text = shorten(text, context)
    if not text:
        return None
    first = min(below, key=lambda one: one.start)
    return Chunk(
        doc_id=first.doc_id, ordinal=0, start=first.start, end=max(one.end for one in below), text=text, context=context,
        page=first.page, level=level,
    )  # fmt: skip


def with_sections(
    parsed: ParsedDocument, chunks: Sequence[Chunk], summarise: Summarise, shorten: _Shortener
) -> list[Chunk]:
    """A summary of each section with several chunks (level 1), and one of the document (level 2)."""
    own = [chunk for chunk in chunks if not chunk.level]
    if len(own) < 2:
        return list(chunks)
    groups = [list(group) for _, group in groupby(own, key=lambda one: one.context.split("\n")[0])]
    sections = [node for group in groups if len(group) > 1 and len(groups) > 1
                if (node := _node(parsed, group, 1, summarise, shorten))]  # fmt: skip
    spans = {(one.start, one.end): one for one in sections}
    top = _node(parsed, own, 2, summarise, shorten)
    return [*chunks, *spans.values(), *([top] if top else [])]


def with_tree(
    parsed: ParsedDocument,
    chunks: Sequence[Chunk],
    summarise: Summarise,
    shorten: _Shortener,
    group: int,
    embed: Callable[[Sequence[str]], Any] | None,
) -> list[Chunk]:
    """Summaries of groups of chunks (level 1), summaries of those (level 2), and so on up to at most ROOTS nodes.

    embed: groups chunks whose vectors are near; None groups neighbours. Source: Sarthi et al. 2024, arXiv:2401.18059.
    """
    nodes, found = [chunk for chunk in chunks if not chunk.level], list[Chunk]()
    for level in range(1, MAX_LEVELS + 1):
        if len(nodes) <= (1 if level == 1 else ROOTS):
            break
        parts = (
            neighbours(len(nodes), group)
            if embed is None
            else similar(embed([one.indexed_text for one in nodes]), group)
        )
        made = [_node(parsed, [nodes[at] for at in part], level, summarise, shorten) for part in parts]
        nodes = sorted(
            {(one.start, one.end): one for one in made if one}.values(), key=lambda one: (one.start, one.end)
        )
        found += nodes
    return [*chunks, *found]


def neighbours(n: int, group: int) -> list[list[int]]:
    """0 … n - 1 in groups of about equal size, none larger than `group`."""
    n_groups = -(-n // group)
    return [list(range(n * at // n_groups, n * (at + 1) // n_groups)) for at in range(n_groups)]


def similar(vectors: Any, group: int, *, seed: int = 0, rounds: int = 12) -> list[list[int]]:
    """Indexes of unit vectors in about n / group groups by k-means on the sphere, the same on every run."""
    import numpy as np

    matrix = np.asarray(vectors, dtype=np.float64)
    n_groups = -(-len(matrix) // group)
    centres = matrix[np.sort(np.random.default_rng(seed).permutation(len(matrix))[:n_groups])]
    label = np.zeros(len(matrix), dtype=np.int64)
    for _ in range(rounds):
        label = np.argmax(matrix @ centres.T, axis=1)
        for at in range(n_groups):
            if np.any(label == at):
                mean = matrix[label == at].sum(axis=0)
                centres[at] = mean / max(float(np.linalg.norm(mean)), 1e-12)
    groups = [np.flatnonzero(label == at).tolist() for at in range(n_groups)]
    return [one for one in groups if one]
