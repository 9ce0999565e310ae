"""Health check of a container: exits 0 when the URL answers 200, or when the process `pid:N` is a living ragstone."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from pathlib import Path


def healthy(target: str) -> bool:
    if target.startswith("pid:"):
        try:
            return any(b"ragstone" in Path(f"/proc/{one}/cmdline").read_bytes() for one in _below(target[4:]))
        except OSError:
            return False
    try:
        with urllib.request.urlopen(target, timeout=4) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _below(pid: str) -> list[str]:
    """The process and its children: an init stands before ours in a container."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [pid, *(children.read_text().split() if children.exists() else [])]


if __name__ == "__main__":
    sys.exit(0 if healthy(sys.argv[1]) else 1)
