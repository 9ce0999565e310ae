"""Words of the documents page."""

from __future__ import annotations

WORDS = {
    "menu": ("Documents", "文档"),
}
