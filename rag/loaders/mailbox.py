"""Mailboxes (mbox): one part per message, to be read as e-mail."""

from __future__ import annotations

import re

from rag.errors import DocumentError
from rag.loaders.mail import MAX_HEADER, decoded, file_label
from rag.types import ParsedDocument, Part

MAX_MESSAGES = 50_000

_FROM_LINE = re.compile(rb"^From [^\r\n]*\d{4}[^\r\n]*\r?\n(?=[!-9;-~]+:|>?From )", re.MULTILINE)
_ESCAPED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read a mailbox: each message a part, called by its number and subject.

    Raises: DocumentError E_TOO_LARGE above MAX_MESSAGES, E_CORRUPT when no message is found.
    """
    starts = [match.span() for match in _FROM_LINE.finditer(data)]
    if len(starts) > MAX_MESSAGES:
        raise DocumentError(
            "E_TOO_LARGE", f"{name} holds {len(starts)} messages; at most {MAX_MESSAGES} are read. Split the mailbox."
        )
    if not starts:
        raise DocumentError("E_CORRUPT", f"{name} holds no message. Export the mailbox again.")
    names: list[str] = []
    messages: list[bytes] = []
    ends = [start for start, _ in starts[1:]] + [len(data)]
    for number, ((_, start), end) in enumerate(zip(starts, ends, strict=True), start=1):
        messages.append(_ESCAPED_FROM.sub(rb"\1", data[start:end].strip() + b"\n"))
        names.append(f"{number:0{len(str(len(starts)))}} {file_label(_subject_of(messages[-1])) or 'message'}.eml")
    parts = tuple(Part(name=label, data=message) for label, message in zip(names, messages, strict=True))
    warnings = ("What stands before the first message was left out.",) if data[: starts[0][0]].strip() else ()
    return ParsedDocument(text="", type="mbox", parts=parts, warnings=warnings)


def _subject_of(data: bytes) -> str:
    """The subject of a message, without parsing the rest of it."""
    end = re.search(rb"\r?\n\r?\n", data)
    head = data[: end.start() if end else MAX_HEADER][: 4 * MAX_HEADER]
    found = re.search(rb"(?im)^subject:[ \t]*((?:[^\r\n]|\r?\n[ \t])*)", head)
    return decoded(found.group(1).decode("utf-8", "surrogateescape")) if found else ""
