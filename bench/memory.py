"""How much memory processes hold while something runs (Linux)."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

ENGINE = "milvus"


class Peak:
    """Watches a process and all that it started. Afterwards `mb` is the most they held together at a moment, without the
    embedded Milvus; `engine_mb` is the most that one held.

    Pages that processes share are counted in each of them, so the truth is no higher.
    """

    def __init__(self, pid: int | None = None, *, every_s: float = 0.1) -> None:
        self.mb = self.engine_mb = 0.0
        self._pid, self._every_s = pid or os.getpid(), every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:  # fmt: skip
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            own = engine = 0.0
            for pid in _family(self._pid):
                name, mb = _resident(pid)
                if name == ENGINE:
                    engine += mb
                else:
                    own += mb
            self.mb, self.engine_mb = max(self.mb, own), max(self.engine_mb, engine)
            if self._done.wait(self._every_s):
                return


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # the thread ended
            continue
        for child in children:
            yield from _family(int(child))


def _resident(pid: int) -> tuple[str, float]:
    try:
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
        return lines["Name"].strip(), int(lines.get("VmRSS", "0 kB").split()[0]) / 1024
    except (OSError, ValueError):
        return "", 0.0
