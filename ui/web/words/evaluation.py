"""Words of the evaluation page."""

from __future__ import annotations

WORDS = {
    "menu": ("Evaluation", "评测"),
}
