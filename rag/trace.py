"""Traces: what each step of a question cost and how many candidates went in and out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rag.types import Step


class OpenStep:
    """What a `with trace.span(...)` block may note about itself."""

    def __init__(self) -> None:
        self.n_in: int | None = None
        self.n_out: int | None = None
        self.detail: dict[str, Any] = {}


class Trace:
    """The steps of one question, in order of their end. Not shared between threads."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    @contextmanager
    def span(self, name: str) -> Iterator[OpenStep]:
        open_step, start = OpenStep(), time.perf_counter()
        try:
            yield open_step
        except Exception as error:
            open_step.detail["error"] = type(error).__name__
            raise
        finally:
            ms = (time.perf_counter() - start) * 1000
            self.steps.append(
                Step(name=name, ms=round(ms, 3), n_in=open_step.n_in, n_out=open_step.n_out, detail=open_step.detail)
            )
