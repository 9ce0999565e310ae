"""What the page says, in English and Chinese: one table for each page, keys such as `chat.title`."""

from __future__ import annotations

from importlib import import_module

LANGUAGES = {"English": "en", "中文": "zh"}


def word(key: str, language: str, **values: object) -> str:
    """The text for `key`, which is `table.name`. language: en or zh."""
    table, _, name = key.partition(".")
    english, chinese = import_module(f"ui.web.words.{table}").WORDS[name]
    return str(chinese if language == "zh" else english).format(**values)
