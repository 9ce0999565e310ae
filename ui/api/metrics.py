"""Counters and histograms in Prometheus' text format: counted here, read at /metrics."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
Labels = tuple[tuple[str, str], ...]


class Metrics:
    """What a process counted since its start. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._help: dict[str, str] = {}
        self._counts: dict[str, dict[Labels, float]] = defaultdict(lambda: defaultdict(float))
        self._times: dict[str, dict[Labels, list[float]]] = defaultdict(dict)

    def count(self, name: str, help_text: str, by: float = 1, **labels: str) -> None:
        with self._lock:
            self._help[name] = help_text
            self._counts[name][tuple(sorted(labels.items()))] += by

    def time(self, name: str, help_text: str, seconds: float, **labels: str) -> None:
        """Add to a histogram: one number per bucket, one beyond the last, and the sum."""
        with self._lock:
            self._help[name] = help_text
            values = self._times[name].setdefault(tuple(sorted(labels.items())), [0.0] * (len(BUCKETS) + 2))
            values[bisect_left(BUCKETS, seconds)] += 1
            values[-1] += seconds

    def text(self, gauges: Mapping[str, tuple[str, Mapping[Labels, float]]]) -> str:
        """Everything in Prometheus' text format. gauges: name → (help, values), as they are now."""
        with self._lock:
            return "\n".join([*self._lines(), *_gauge_lines(gauges)]) + "\n"

    def _lines(self) -> Iterator[str]:
        for name, counts in sorted(self._counts.items()):
            yield from (f"# HELP {name} {self._help[name]}", f"# TYPE {name} counter")
            yield from (f"{name}{_shown(labels)} {_number(value)}" for labels, value in sorted(counts.items()))
        for name, times in sorted(self._times.items()):
            yield from (f"# HELP {name} {self._help[name]}", f"# TYPE {name} histogram")
            for labels, values in sorted(times.items()):
                total = 0.0
                for bound, n in zip((*map(str, BUCKETS), "+Inf"), values[:-1], strict=True):
                    total += n
                    yield f"{name}_bucket{_shown((*labels, ('le', bound)))} {_number(total)}"
                yield f"{name}_sum{_shown(labels)} {values[-1]:.6f}"
                yield f"{name}_count{_shown(labels)} {_number(total)}"


def _gauge_lines(gauges: Mapping[str, tuple[str, Mapping[Labels, float]]]) -> Iterator[str]:
    for name, (help_text, values) in gauges.items():
        yield from (f"# HELP {name} {help_text}", f"# TYPE {name} gauge")
        yield from (f"{name}{_shown(labels)} {_number(value)}" for labels, value in values.items())


def _shown(labels: Labels) -> str:
    escaped = (
        f'{key}="{value.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34)).replace(chr(10), " ")}"'
        for key, value in labels
    )
    return f"{{{','.join(escaped)}}}" if labels else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
