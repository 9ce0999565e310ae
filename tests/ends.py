"""Work that must not grow with the square of its input.

A clock beside the work measures the machine's other work, too. So the process's own processor time is limited, to what
linear work stays far below and quadratic work would exceed a hundred times.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

import pytest


class _Spent(BaseException):
    """The time is spent. No Exception: what is tested must not take it for a fault of its input."""


def ends(work: Callable[[], object], cpu_s: float = 40) -> bool:
    """True if `work` returns within `cpu_s` seconds of this process's processor time. What it raises is raised."""
    if not hasattr(signal, "setitimer"):
        pytest.skip("a limit on processor time is not to be had here")

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise _Spent

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        work()
        return True
    except _Spent:
        return False
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
