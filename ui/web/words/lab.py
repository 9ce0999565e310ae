"""Words of the retrieval lab."""

from __future__ import annotations

WORDS = {
    "menu": ("Retrieval lab", "检索实验室"),
}
