"""What went wrong, as a person reads it: the error's own English sentence, or a Chinese one with the next step."""

from __future__ import annotations

import re

from rag.errors import CODES, RagstoneError
from ui.web.markup import plain
from ui.web.tasks import Task
from ui.web.view import View
from ui.web.words import word
from ui.web.words.errors import CHINESE, LEADS, SENTENCES

_KEPT = re.compile(r"(E_[A-Z_]+): (.*)", re.DOTALL)


def told(view: View, error: RagstoneError) -> str:
    """As Markdown in which nothing of the error works."""
    return said(view.language, str(error), error.code)


def said(language: str, text: str, code: str) -> str:
    """The same for a sentence and its code."""
    if code == "E_BUG":
        return word("common.bug", language)
    return plain(chinese(text, code) if language == "zh" else text)


def told_task(view: View, task: Task) -> str:
    """Why a task failed."""
    return said(view.language, task.error, task.code)


def kept(error: RagstoneError) -> str:
    """A sentence with its code, to be stored. Shown with `told_kept`."""
    return f"{error.code}: {error}"


def parted(text: str) -> tuple[str, str]:
    """(code, sentence) of what `kept` made; also of what was stored without a code."""
    if text == "E_BUG":
        return text, ""
    match = _KEPT.fullmatch(text)
    return (match[1], match[2]) if match else ("", text)


def told_kept(view: View, text: str) -> str:
    """What `kept` made, as Markdown."""
    code, sentence = parted(text)
    return said(view.language, sentence, code)


def chinese(text: str, code: str = "") -> str:
    """The Chinese sentence for an error or a warning; its own behind a Chinese lead where there is none."""
    for pattern, sentence in SENTENCES:
        if match := re.search(pattern, text):
            inner = next((CHINESE[one] for one in match.groups() if one in CHINESE), "")
            return sentence.format(*match.groups()) + inner
    if code in CODES:
        return word(f"documents.{code}", "zh")
    if code in CHINESE:
        return CHINESE[code]
    return f"{LEADS[code]}：{text}" if code in LEADS else text
