"""How a process that served ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import atexit, sys
from ui import ending
class Kept:
    def __del__(self): print("torn down")
kept = Kept()
with ending.at_once():
    atexit.register(lambda: print("called"))
    if sys.argv[1:]: raise SystemExit(3)
"""


@pytest.mark.parametrize(("failing", "code", "said"), [((), 0, ["called"]), (("x",), 3, ["called", "torn down"])])
def test_python_is_not_torn_down_after_serving(
    repo: Path, failing: tuple[str, ...], code: int, said: list[str]
) -> None:
    """Its threads may be inside of libraries. What fails ends as usual, with its own code."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, *failing], cwd=repo, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout.splitlines()) == (code, said), ended.stderr
