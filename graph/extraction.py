"""Extraction: chunks in, what they say out. `open_method` picks the way by its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graph import rules
from graph.types import Extracting, Extraction, Passage

if TYPE_CHECKING:
    from graph.chat_extraction import ChatOptions
    from rag.knowledge_base import KnowledgeBase

METHODS = ("auto", "rules", "names", "chat", "triples")


def by_rules() -> Extracting:
    """Without any model: graph/rules.py."""

    def run(passages: Sequence[Passage]) -> list[Extraction]:
        return [rules.extract(one.text, one.context, title=one.title) for one in passages]

    return Extracting(method="rules", options={}, run=run)


def open_method(method: str, kb: KnowledgeBase, chat: ChatOptions | None = None) -> Extracting:
    """The way to extract of that name, with the models that the knowledge base's settings name."""
    if method == "chat":
        from graph.chat_extraction import ChatOptions, by_chat

        return by_chat(kb, chat or ChatOptions())
    if method == "names":
        from graph.name_models import by_names

        return by_names(kb)
    return by_rules()
