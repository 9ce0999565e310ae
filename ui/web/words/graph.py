"""Words of the graph page."""

from __future__ import annotations

WORDS = {
    "menu": ("Graph", "知识图谱"),
}
