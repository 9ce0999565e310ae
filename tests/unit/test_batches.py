"""Requests of several clients share calls of the model, and each gets what it would have got alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from rag.errors import ModelError
from tests.unit.test_together import until
from ui.api.batches import Batches


class Model:
    """An embedder and a reranker whose first call waits until it is let go."""

    name = "model"

    def __init__(self) -> None:
        self.calls: list[list[Any]] = []
        self.entered, self.let_go = threading.Event(), threading.Event()

    def embed_passages(self, texts: Sequence[str]) -> Any:
        self._note(texts)
        return np.array([[len(text), ord(text[0])] for text in texts], dtype=np.float32)

    def embed_queries(self, texts: Sequence[str]) -> Any:
        return -self.embed_passages(texts)

    def pair_scores(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        self._note(pairs)
        if any("broken" in passage for _, passage in pairs):
            raise ModelError("the model is broken")
        return [float(len(question) * 100 + len(passage)) for question, passage in pairs]

    def _note(self, items: Sequence[Any]) -> None:
        self.calls.append(list(items))
        self.entered.set()
        assert self.let_go.wait(30)


def at_once(model: Model, first: Callable[[], Any], others: Sequence[Callable[[], Any]], gathered: Callable[[], int]) -> list[Any]:  # fmt: skip
    """What each is answered, when the others come while the first is being computed."""
    with ThreadPoolExecutor(len(others) + 1) as pool:
        try:
            begun = pool.submit(first)
            assert model.entered.wait(30)
            waiting = [pool.submit(other) for other in others]
            until(lambda: gathered() == len(others))
        finally:
            model.let_go.set()
        return [one.result(30) for one in [begun, *waiting]]


def waiting(batches: Any) -> Callable[[], int]:
    return lambda: sum(len(call.questions) for call in batches._gathering.values())


def test_texts_of_many_clients_take_two_calls() -> None:
    model = Model()
    batches = Batches(model, None)  # type: ignore[arg-type]
    asked = [[f"{at}" * (n + 1) for n in range(at)] for at in range(1, 9)]
    ask = [lambda texts=texts: batches.embed(texts, is_query=False) for texts in asked]
    found = at_once(model, ask[0], ask[1:], waiting(batches._texts))
    assert len(model.calls) == 2 and sum(map(len, model.calls)) == sum(map(len, asked))
    alone = Model()
    alone.let_go.set()
    for texts, vectors in zip(asked, found, strict=True):
        assert np.array_equal(vectors, alone.embed_passages(texts))


def test_questions_and_passages_are_not_mixed() -> None:
    model = Model()
    batches = Batches(model, None)  # type: ignore[arg-type]
    ask = [lambda at=at: batches.embed(["tea"], is_query=at % 2 == 0) for at in range(4)]
    found = at_once(model, ask[0], ask[1:], waiting(batches._texts))
    assert [float(vectors[0][0]) for vectors in found] == [-3, 3, -3, 3]


def test_scores_of_many_clients_take_two_calls() -> None:
    model = Model()
    batches = Batches(None, model)
    ask = [lambda at=at: batches.scores("q" * at, ["p" * n for n in range(at)]) for at in range(1, 7)]
    found = at_once(model, ask[0], ask[1:], waiting(batches._pairs))
    assert len(model.calls) == 2
    assert found == [[100.0 * at + n for n in range(at)] for at in range(1, 7)]


def test_what_the_model_refuses_fails_alone() -> None:
    model = Model()
    batches = Batches(None, model)

    def refused() -> str:
        with pytest.raises(ModelError) as caught:
            batches.scores("q", ["broken"])
        return str(caught.value)

    others = [lambda: batches.scores("q", ["bb"]), refused]
    found = at_once(model, lambda: batches.scores("q", ["a"]), others, waiting(batches._pairs))
    assert found == [[101.0], [102.0], "the model is broken"]
