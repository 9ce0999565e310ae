"""Work that must not grow with the square of its input.

A clock beside the work measures the machine's other work, too. So the work runs in a child with a limit on its own processor time that linear
work stays far below and quadratic work would exceed a hundred times: the kernel ends it there.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

import pytest


def ends(work: Callable[[], object], cpu_s: int = 40) -> bool:
    """True if `work` returns within `cpu_s` seconds of processor time; what it raises is printed and counts as not ended."""
    if sys.platform == "win32":
        pytest.skip("a limit on processor time is not to be had here")
    import resource

    child = os.fork()
    if not child:
        failed = 1
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
            work()
            failed = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(failed)
    return os.waitpid(child, 0)[1] == 0
