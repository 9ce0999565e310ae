"""How documents, their states and their failures are named on the page."""

from __future__ import annotations

from rag.types import DocumentInfo
from ui.web.view import View
from ui.web.words.documents import WORDS

_COLOURS = {"live": "green", "failed": "red", "update_failed": "orange", "importing": "blue", "disabled": "gray",
            "duplicate": "violet"}  # fmt: skip
_ICONS = {"live": "check", "failed": "error", "update_failed": "warning", "importing": "sync", "disabled": "visibility_off",
          "duplicate": "content_copy"}  # fmt: skip


def name_of(source: str) -> str:
    """A source as people know it: an upload's label, a URL whole, else the file's name and, inside a file, its place there."""
    if source.startswith("upload:/"):
        return source.removeprefix("upload:/")
    if "://" in source:
        return source
    outer, mark, inner = source.partition("!/")
    return outer.rpartition("/")[2] + mark + inner


def shown_title(info: DocumentInfo) -> str:
    return info.title or name_of(info.source)


def state_of(info: DocumentInfo) -> str:
    """live, waiting, importing, disabled, duplicate, failed, or update_failed: an older version is still found."""
    if info.code and info.state != "importing":
        return "update_failed" if info.version or info.copy_of else "failed"
    return "importing" if info.state == "new" else info.state


def state_word(view: View, state: str) -> str:
    return view.word("documents.importing_state" if state == "importing" else f"documents.{state}")


def badge(state: str) -> tuple[str, str]:
    """(icon, colour)"""
    return f":material/{_ICONS.get(state, 'schedule')}:", _COLOURS.get(state, "gray")


def counted(view: View, key: str, n: int) -> str:
    """A sentence with a number in it; English has another one for 1."""
    return view.word(f"documents.{key}_1" if n == 1 and f"{key}_1" in WORDS else f"documents.{key}", n=n)


def advice(view: View, code: str, message: str) -> str:
    """What to do about a failure, in the person's language; the reader's own sentence where there is none."""
    return view.word(f"documents.{code}") if code in WORDS else message or code


def quoted(key: str, value: object) -> str:
    """The filter for documents whose metadata have this value."""

    def text(raw: str) -> str:
        return "'" + raw.replace("\\", "\\\\").replace("'", "\\'") + "'"

    shown = (
        str(value).lower()
        if isinstance(value, bool)
        else str(value)
        if isinstance(value, (int, float))
        else text(str(value))
    )
    return f"meta[{text(key)}] == {shown}"


def typed(text: str, before: object = None) -> object:
    """A value of metadata as somebody typed it: as it was where it reads the same, else a number, a truth value or text."""
    if before is not None and as_text(before) == text:
        return before
    stripped = text.strip()
    if stripped.lower() in ("true", "false"):
        return stripped.lower() == "true"
    for kind in (int, float):
        try:
            number = kind(stripped)
        except ValueError:
            continue
        if str(number) == stripped:
            return number
    return stripped


def as_text(value: object) -> str:
    """A value of metadata in one line."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)
