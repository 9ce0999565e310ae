"""A few compute at a time; who waits for something else gives the turn away, and comes back before who begins."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rag.turns import Turns
from tests.unit.test_together import until


class Worker:
    """Takes a turn, waits outside when told to, and notes when it computes."""

    def __init__(self, turns: Turns, log: list[str], name: str) -> None:
        self.turns, self.log, self.name = turns, log, name
        self.outside, self.come_back, self.leave = threading.Event(), threading.Event(), threading.Event()

    def compute(self) -> None:
        with self.turns.taken():
            self.log.append(self.name)
            assert self.leave.wait(30)

    def compute_and_wait(self) -> None:
        with self.turns.taken(), self.turns.waiting():
            self.outside.set()
            assert self.come_back.wait(30)
        self.log.append(f"{self.name} again")


def test_no_more_compute_at_once_than_there_are_turns() -> None:
    turns, log = Turns(2), []
    workers = [Worker(turns, log, f"{n}") for n in range(3)]
    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(one.compute) for one in workers]
        until(lambda: len(log) == 2)
        assert turns._free == 0
        for one in workers:
            one.leave.set()
        for each in done:
            each.result(30)
    assert sorted(log) == ["0", "1", "2"]
    assert turns._free == 2


def test_a_turn_within_a_turn_is_the_same_one() -> None:
    turns = Turns(1)
    with turns.taken(), turns.taken():
        assert turns._free == 0
    assert turns._free == 1


def test_whoever_waits_lets_another_compute_and_goes_on_after_it() -> None:
    turns, log = Turns(1), []
    away, other = Worker(turns, log, "away"), Worker(turns, log, "other")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(away.compute_and_wait)
        assert away.outside.wait(30)
        second = pool.submit(other.compute)
        until(lambda: log == ["other"])
        other.leave.set()
        second.result(30)
        away.come_back.set()
        first.result(30)
    assert log == ["other", "away again"]
    assert turns._free == 1


def test_who_holds_what_the_others_wait_for_goes_on_all_the_same() -> None:
    turns, key = Turns(1), threading.Lock()
    waiter, let_go = threading.Event(), threading.Event()

    def holds_the_key() -> None:
        with turns.taken(), key, turns.waiting():
            waiter.set()
            assert let_go.wait(30)

    def wants_the_key() -> None:
        with turns.taken():
            let_go.set()
            with key:
                pass

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(holds_the_key)
        assert waiter.wait(30)
        second = pool.submit(wants_the_key)
        first.result(30)
        second.result(30)
    assert turns._free == 1


def test_waiting_without_a_turn_changes_nothing_and_a_failure_gives_the_turn_back() -> None:
    turns = Turns(1)
    with turns.waiting():
        assert turns._free == 1
    with pytest.raises(ValueError, match="no"), turns.taken(), turns.waiting():
        raise ValueError("no")
    assert turns._free == 1
