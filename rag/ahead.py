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
    """`call` runs in another thread if the machine has a core to spare, else in that of who asks for the result."""

    def __init__(self, call: Callable[[], _T]) -> None:
        self._call = call
        # With many at once nobody is done sooner by it, and the change of threads costs each of them 2 ms.
        self._future = _threads().submit(copy_context().run, _in_turn, call) if turns.is_one_free() else None

    def result(self) -> _T:
        """Raises: what the call raised."""
        if self._future is None or self._future.cancel():  # it has not begun
            return self._call()
        with turns.waiting():
            return self._future.result()


def _in_turn(call: Callable[[], _T]) -> _T:
    with turns.taken():
        return call()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MOST, thread_name_prefix="ahead")
