"""Words of the agents page."""

from __future__ import annotations

WORDS = {
    "menu": ("Agents", "智能体"),
}
