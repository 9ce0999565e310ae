"""A call that is begun before its answer is needed, while the caller waits for something else."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import Generic, TypeVar

from rag.turns import MOST, turns

_T = TypeVar("_T")


class Ahead(Generic[_T]):
    """`call` runs in another thread as soon as one is free, at the latest in that of who asks for the result."""

    def __init__(self, call: Callable[[], _T]) -> None:
        self._call = call
        self._future = _threads().submit(copy_context().run, _in_turn, call)

    def result(self) -> _T:
        """Raises: what the call raised."""
        if self._future.cancel():  # everybody is busy, and it has not begun
            return self._call()
        with turns.waiting():
            return self._future.result()


def _in_turn(call: Callable[[], _T]) -> _T:
    with turns.taken():
        return call()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MOST, thread_name_prefix="ahead")
