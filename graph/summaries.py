"""Summaries of communities, and answers about the whole: each community says what it holds, then one answer is made of that.

With a chat model or without: then summaries and answers are sentences of the documents. Replies are remembered by their
prompt, so after an update only communities whose sentences changed are asked about again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graph import prompts
from rag import text as texts
from rag.chat import complete
from rag.errors import ChatError
from rag.prompts import without_thinking
from rag.types import ChatModel

SUMMARY_TOKENS = 160
POINT_TOKENS = 200
ANSWER_TOKENS = 320
MOST_POINTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalAnswer:
    """An answer about the whole. points: (what a community adds, how much it matters from 0 to 100, its chunk ids)."""

    text: str
    points: tuple[tuple[str, int, tuple[str, ...]], ...] = ()
    by_model: bool = False


def written(community: Mapping[str, Any], chat: ChatModel, deadline_s: float) -> str:
    """A summary in the model's words; empty when it fails, for the sentences are there."""
    said = [one["sentence"] for one in community["summary"]]
    if not said:
        return ""
    try:
        asked = prompts.summary(community["title"], said, texts.language(" ".join(said)))
        return without_thinking(complete(chat, asked, max_tokens=SUMMARY_TOKENS, deadline_s=deadline_s))
    except ChatError:
        return ""


def answer(
    question: str, communities: Sequence[Mapping[str, Any]], chat: ChatModel | None, deadline_s: float
) -> GlobalAnswer:
    """Map: what each community says to the question, and how much that matters. Reduce: one answer of the best points.

    Source: Edge et al., GraphRAG, arXiv:2404.16130.
    """
    language = texts.language(question)
    points = [point for one in communities if (point := _point(question, one, chat, language, deadline_s)) is not None]
    points.sort(key=lambda point: -point[1])
    best = tuple(points[:MOST_POINTS])
    if chat is not None and best:
        try:
            asked = prompts.combined(question, [text for text, _, _ in best], language)
            text = without_thinking(complete(chat, asked, max_tokens=ANSWER_TOKENS, deadline_s=deadline_s))
            if text:
                return GlobalAnswer(text=text, points=best, by_model=True)
        except ChatError:
            pass
    return GlobalAnswer(text="\n".join(text for text, _, _ in best), points=best)


def _point(
    question: str, community: Mapping[str, Any], chat: ChatModel | None, language: str, deadline_s: float
) -> tuple[str, int, tuple[str, ...]] | None:
    said = [one["sentence"] for one in community["summary"]]
    chunk_ids = tuple(dict.fromkeys(one["chunk_id"] for one in community["summary"]))
    if not said:
        return None
    if chat is not None:
        try:
            asked = prompts.point(question, community["title"], said, language)
            reply = complete(chat, asked, max_tokens=POINT_TOKENS, json_schema=prompts.POINT_SCHEMA, deadline_s=deadline_s)  # fmt: skip
            if (found := prompts.point_reply(reply)) is not None:
                return (*found, chunk_ids) if found[1] > 0 else None
        except ChatError:
            pass
    wanted = set(texts.words(question))
    shared = [len(wanted & set(texts.words(sentence))) for sentence in said]
    best = max(range(len(said)), key=lambda n: shared[n])
    return said[best], round(100 * shared[best] / max(len(wanted), 1)), chunk_ids
