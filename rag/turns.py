"""Who computes: a few threads at a time, because Python runs one of them and a hundred that want to run slow each other down.

A search or a check takes its turn; while it waits for a model or the store, another has it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

MOST = max(2, os.cpu_count() or 1)
BACK_S = 0.1  # who comes back from waiting may hold what those that have turns wait for, and goes on after this long


class Turns:
    """`most` turns. Threads share one of these. Who comes back from waiting goes before who begins."""

    def __init__(self, most: int) -> None:
        self._free = most  # below 0 while more have come back than there are turns
        self._lock = threading.Lock()
        self._back, self._new = threading.Condition(self._lock), threading.Condition(self._lock)
        self._n_back = 0  # waiting to go on
        self._mine = threading.local()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """While this thread computes; it waits here until there is a turn. A turn within a turn is the same one."""
        if getattr(self._mine, "held", False):
            yield
            return
        with self._lock:
            self._new.wait_for(lambda: self._free > 0 and not self._n_back)
            self._free -= 1
        self._mine.held = True
        try:
            yield
        finally:
            self._mine.held = False
            self._give()

    def is_one_free(self) -> bool:
        """Whether somebody who began now would not have to wait. It may be otherwise a moment later."""
        return self._free > 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While this thread waits for something outside of it: its turn, if it has one, is another's."""
        if not getattr(self._mine, "held", False):
            yield
            return
        self._mine.held = False
        self._give()
        try:
            yield
        finally:
            with self._lock:
                self._n_back += 1
                self._back.wait_for(lambda: self._free > 0, BACK_S)
                self._n_back -= 1
                self._free -= 1
                self._pass_on()
            self._mine.held = True

    def _give(self) -> None:
        with self._lock:
            self._free += 1
            self._pass_on()

    def _pass_on(self) -> None:
        if self._free > 0:
            (self._back if self._n_back else self._new).notify()


turns = Turns(MOST)
