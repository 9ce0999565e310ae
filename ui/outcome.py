"""What a command gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command did: `data` is its JSON document, `show` prints it for people."""

    data: Any
    show: Callable[[Any], None]
    code: int = 0
