"""Questions that come while one is being answered share the next call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from rag.together import MOST, Together


class Engine:
    """Answers a question with its square, one call at a time, the first when it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.entered, self.let_go = threading.Event(), threading.Event()

    def __call__(self, questions: list[int]) -> list[int]:
        self.calls.append(list(questions))
        self.entered.set()
        assert self.let_go.wait(30)
        return [n * n for n in questions]


def busy_with(engine: Engine, together: Together, pool: ThreadPoolExecutor) -> Future[int]:
    first: Future[int] = pool.submit(together.ask, "key", 1, engine)
    assert engine.entered.wait(30)
    return first


def until(happened: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(3000):
        if happened():
            return
        pause.wait(0.01)
    raise AssertionError("it never happened")


def gathered(together: Together) -> int:
    return sum(len(call.questions) for call in together._gathering.values())


def test_those_who_come_meanwhile_share_a_call_and_each_gets_its_own_answer() -> None:
    engine, together = Engine(), Together()
    with ThreadPoolExecutor(8) as pool:
        first = busy_with(engine, together, pool)
        later = [pool.submit(together.ask, "key", n, engine) for n in (2, 3, 4)]
        until(lambda: gathered(together) == 3)
        engine.let_go.set()
        assert [first.result(), *(one.result() for one in later)] == [1, 4, 9, 16]
    assert [sorted(call) for call in engine.calls] == [[1], [2, 3, 4]]


def test_other_keys_do_not_mix() -> None:
    engine, together = Engine(), Together()
    with ThreadPoolExecutor(4) as pool:
        first = busy_with(engine, together, pool)
        later = [pool.submit(together.ask, key, n, engine) for key, n in (("key", 2), ("another key", 3), ("key", 4))]
        until(lambda: gathered(together) == 3)
        engine.let_go.set()
        assert [first.result(), *(one.result() for one in later)] == [1, 4, 9, 16]
    assert sorted(sorted(call) for call in engine.calls) == [[1], [2, 4], [3]]


def test_a_call_takes_a_bounded_number() -> None:
    engine, together = Engine(), Together()
    with ThreadPoolExecutor(MOST + 4) as pool:
        first = busy_with(engine, together, pool)
        later = [pool.submit(together.ask, "key", n, engine) for n in range(2, MOST + 5)]
        until(lambda: sum(map(len, engine.calls)) + gathered(together) >= 2)
        engine.let_go.set()
        assert [first.result(), *(one.result() for one in later)] == [n * n for n in range(1, MOST + 5)]
    assert max(map(len, engine.calls)) <= MOST
    assert sorted(n for call in engine.calls for n in call) == list(range(1, MOST + 5))


def test_a_question_that_cannot_be_answered_fails_alone() -> None:
    engine, together = Engine(), Together()

    def picky(questions: list[int]) -> list[int]:
        if 3 in questions:
            raise ValueError("no threes")
        return [n * n for n in questions]

    with ThreadPoolExecutor(4) as pool:
        first = busy_with(engine, together, pool)
        later = [pool.submit(together.ask, "key", n, picky) for n in (2, 3, 4)]
        until(lambda: gathered(together) == 3)
        engine.let_go.set()
        assert [first.result(), later[0].result(), later[2].result()] == [1, 4, 16]
        with pytest.raises(ValueError, match="no threes"):
            later[1].result()
    assert together.ask("key", 6, engine) == 36, "the next one is asked as ever"
