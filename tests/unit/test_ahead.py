"""What needs no model is asked for while the question is still embedded; nobody waits for a thread that is not there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rag.ahead import Ahead
from rag.catalog_rows import LiveRow
from rag.errors import StoreAwayError, StoreError
from rag.pipeline import SearchOptions, SearchParts, rank
from rag.trace import Trace
from rag.turns import MOST, turns
from rag.types import Query


@contextmanager
def all_busy() -> Iterator[None]:
    """Every thread that could begin something holds on to what it does."""
    leave, begun = threading.Event(), threading.Barrier(MOST + 1)

    def hold() -> None:
        begun.wait(30)
        assert leave.wait(30)

    held = [Ahead(hold) for _ in range(MOST)]
    begun.wait(30)
    try:
        yield
    finally:
        leave.set()
        for one in held:
            one.result()


def test_what_was_not_begun_is_done_by_who_needs_it() -> None:
    with all_busy():
        assert Ahead(threading.current_thread).result() is threading.current_thread()
    assert Ahead(threading.current_thread).result().name.startswith(("ahead", "MainThread"))


def test_it_gets_the_turn_of_who_waits_for_it() -> None:
    """With every turn taken by callers that wait for what they began, all of it is done."""
    answers: list[int] = []

    def caller(n: int) -> None:
        with turns.taken():
            answers.append(Ahead(lambda: n).result())

    threads = [threading.Thread(target=caller, args=(n,)) for n in range(3 * MOST)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(answers) == list(range(3 * MOST))


def searched(bm25: Any, dense: Any) -> Any:
    parts = SearchParts(
        retrievers={"dense": dense, "bm25": bm25},
        live=lambda pks: {pk: LiveRow(pk, "c", pk, pk, 0, 9) for pk in pks},
        load=lambda pks: {},
        vectors=lambda keys: {},
    )
    options = SearchOptions(retrievers={"dense": 1.0, "bm25": 1.0}, top_k=5, depth=10)
    return rank("q", parts=parts, options=options, trace=Trace())


def test_words_are_searched_while_the_question_is_embedded() -> None:
    searching = threading.Event()

    def bm25(query: Query, depth: int, where: Any) -> list[tuple[str, float]]:
        searching.set()
        return [("a", 1.0)]

    def dense(query: Query, depth: int, where: Any) -> list[tuple[str, float]]:
        assert searching.wait(30), "it begins only after dense search"
        return [("b", 1.0)]

    found = searched(bm25, dense)
    assert {one.name: one.ranking for one in found.recalled} == {"dense": [("b", 1.0)], "bm25": [("a", 1.0)]}


@pytest.mark.parametrize("error", [StoreError("no full-text"), StoreAwayError("gone")])
def test_a_search_by_words_that_fails_fails_the_search(error: StoreError) -> None:
    def bm25(query: Query, depth: int, where: Any) -> list[tuple[str, float]]:
        raise error

    with pytest.raises(type(error), match=str(error)):
        searched(bm25, lambda query, depth, where: [("b", 1.0)])
