"""The end of a process that served."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def at_once() -> Iterator[None]:
    """A process whose work in this block ended well ends with 0 as soon as Python has called what is to be called at its end.

    Python would go on to stop the threads that are left wherever they are; inside of a library that loads a model that aborts
    the process. Enter it before libraries are loaded: what is registered later is called sooner.
    """
    ended: list[bool] = []

    def leave() -> None:
        if ended:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # nobody reads it any more
                    stream.flush()
            os._exit(0)

    atexit.register(leave)
    yield
    ended.append(True)
