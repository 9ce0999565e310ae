"""What a search needs again: kept for the same question, and for no other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rag.filters import Expr, parse
from rag.searching import _remembered, query_vector
from rag.types import Query


def test_a_retriever_answers_once_for_the_same_query_depth_and_filter() -> None:
    asked: list[tuple[str, int, Expr | None]] = []

    def retriever(query: Query, depth: int, where: Expr | None) -> list[tuple[str, float]]:
        asked.append((query.text, depth, where))
        return [(f"{len(asked)}", 1.0)]

    once, tea = _remembered(retriever), Query(text="tea")
    zh, en = parse("lang == 'zh'"), parse("lang == 'en'")
    found = [once(tea, 5, where)[0][0] for where in (None, zh, en, parse("lang == 'zh'"), None)]
    assert found == ["1", "2", "3", "2", "1"]
    assert once(tea, 9, zh) == [("4", 1.0)]


def test_a_question_in_capitals_is_embedded_in_small_letters() -> None:
    asked: list[tuple[str, list[str]]] = []

    def made(kind: str, texts: Sequence[str]) -> np.ndarray:
        asked.append((kind, list(texts)))
        return np.ones(2, np.float32)

    query_vector(Query(text="HOW IS TEA BREWED", passages=("IT IS STEEPED IN WATER",)), made)
    query_vector(Query(text="What does NASA do?"), made)
    assert asked == [
        ("query", ["how is tea brewed"]),
        ("passage", ["IT IS STEEPED IN WATER"]),
        ("query", ["What does NASA do?"]),
    ]
