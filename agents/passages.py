"""Passages of documents in a run: how a model sees them, and how a checkpoint keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rag.answering import content_terms, estimate_tokens, rarity
from rag.citations import Passage
from rag.text import sentences, terms
from rag.types import Hit

FOCUS_TOKENS = 90  # of a passage that a small model is shown
FOCUS_SHARE = 0.3  # of the best sentence's weight that a sentence needs


def shown(passages: Sequence[Passage], question: str = "") -> str:
    """Numbered passages, as an observation holds them. With a question only the sentences and rows about it.

    Small models take the neighbour of the row they need. Citations quote the whole passage all the same.
    """
    return "\n\n".join(f"[{one.number}] {one.header}\n{focus(one.text, question) if question else one.text}" for one in passages)  # fmt: skip


def focus(text: str, question: str, max_tokens: float = FOCUS_TOKENS) -> str:
    """The sentences of a text that hold most of a question's terms, rare ones counting more, in their order."""
    spans = sentences(text)
    asked = content_terms(question)
    held = [terms(text[start:end]) & asked for start, end in spans]
    weights = rarity([*held, asked])
    scores = [sum(weights[term] for term in one) for one in held]
    if not spans:
        return text
    chosen: list[int] = []
    size = 0.0
    for at in sorted(range(len(spans)), key=lambda at: (-scores[at], at)):
        more = estimate_tokens(text[slice(*spans[at])])
        if scores[at] < FOCUS_SHARE * max(scores) or (chosen and size + more > max_tokens):
            continue
        chosen.append(at)
        size += more
    parts: list[str] = []
    for before, at in zip([-1, *sorted(chosen)], sorted(chosen), strict=False):
        parts.append(("… " if at > before + 1 else "") + text[slice(*spans[at])].strip())
    return "\n".join(parts)


def passage_json(passage: Passage) -> dict[str, Any]:
    hit = asdict(passage.hit)
    hit |= {"metadata": {}, "parts": {}, "text": ""}  # nothing that a citation needs
    return {"number": passage.number, "start": passage.start, "text": passage.text, "hit": hit}


def passage_from(row: Mapping[str, Any]) -> Passage:
    return Passage(number=row["number"], start=row["start"], text=row["text"], hit=Hit(**row["hit"]))
