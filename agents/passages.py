"""Passages of documents in a run: how a model sees them, and how a checkpoint keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rag.citations import Passage
from rag.types import Hit


def shown(passages: Sequence[Passage]) -> str:
    """Numbered passages, as an observation holds them."""
    return "\n\n".join(f"[{one.number}] {one.header}\n{one.text}" for one in passages)


def passage_json(passage: Passage) -> dict[str, Any]:
    hit = asdict(passage.hit)
    hit |= {"metadata": {}, "parts": {}, "text": ""}  # nothing that a citation needs
    return {"number": passage.number, "start": passage.start, "text": passage.text, "hit": hit}


def passage_from(row: Mapping[str, Any]) -> Passage:
    return Passage(number=row["number"], start=row["start"], text=row["text"], hit=Hit(**row["hit"]))
