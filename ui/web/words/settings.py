"""Words of the settings page."""

from __future__ import annotations

WORDS = {
    "menu": ("Settings", "设置"),
}
