"""Words that all pages share."""

from __future__ import annotations

WORDS = {
    "collection": ("Collection", "集合"),
    "bug": (
        "Something went wrong that should not have. The log of `ragstone ui` has the details.",
        "出现了不应发生的错误，详情见 `ragstone ui` 的日志。",
    ),
}
