"""E-mail: a message's head and text, its attachments as parts; web archives (MHT).

Parsed with the standard library under its tolerant old policy: the new one raises on headers that real mail has.
mail-parser and flanker were considered: the first wraps the same parser, the second is no longer kept.
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from typing import Any

from rag.errors import DocumentError
from rag.loaders import html
from rag.loaders.archive import unique_names
from rag.loaders.builder import TextBuilder, quoted
from rag.loaders.encoding import decode
from rag.types import ParsedDocument, Part

MAX_PARTS = 5_000  # of one message
MAX_HEADER = 20_000  # characters of a header that are looked at
MAX_DEPTH = 100  # multiparts in multiparts

_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?]*)\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)\s+(=\?)")
_SEVEN_BIT = re.compile(r"(?i)iso-2022-|hz|utf-?7")
_QUOTE_LINE = re.compile(r" {0,3}>")
_INVISIBLE_TYPES = frozenset(
    ("application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature", "text/x-amp-html",
     "message/delivery-status", "text/rfc822-headers", "application/applefile")
)  # fmt: skip
_SUFFIXES = {
    "text/plain": ".txt", "text/html": ".html", "text/calendar": ".ics", "text/csv": ".csv", "application/pdf": ".pdf",
    "application/zip": ".zip", "message/rfc822": ".eml", "application/json": ".json", "application/rtf": ".rtf",
}  # fmt: skip


@dataclass(slots=True)
class Mail:
    """A message on its way to a document, from whichever format it came."""

    subject: str = ""
    sender: str = ""
    to: list[str] = field(default_factory=list)
    cc: list[str] = field(default_factory=list)
    date: str = ""
    plain: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)  # HTML
    parts: list[Part] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read a message: subject as title and heading, who wrote to whom and when, the text, attachments as parts.

    Of a text that comes plain and as HTML one is read: the plain one unless it is empty or a stub.
    Raises: DocumentError E_TOO_DEEP, E_ENCODING.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:200]:
        data = decode(data, name=name)[0].encode()
    try:
        message = message_from_bytes(data.lstrip(b"\xef\xbb\xbf \t\r\n"), policy=policy.compat32)
        mail = _mail(message)
    except RecursionError as error:
        raise DocumentError(
            "E_TOO_DEEP", f"{name} nests its parts too deeply. Save its text as HTML or text."
        ) from error
    kind = "mht" if name.lower().endswith((".mht", ".mhtml")) else "eml"
    return document(mail, kind)


def document(mail: Mail, kind: str) -> ParsedDocument:
    """A message as a document."""
    builder = TextBuilder()
    builder.add("heading", mail.subject, level=1)
    head = (("From", mail.sender), ("To", ", ".join(mail.to)), ("Cc", ", ".join(mail.cc)), ("Date", mail.date))
    builder.add("paragraph", "\n".join(f"{label}: {value}" for label, value in head if value))
    for text in mail.plain:
        _add_plain(builder, text)
    for page in mail.pages:
        try:
            body = html.load(page.encode("utf-8", "replace"), name="message")
            builder.include(body, under=1)
            mail.subject = mail.subject or (body.title if kind == "mht" else "")
        except DocumentError as error:
            mail.warnings.append(str(error))
    metadata: dict[str, Any] = {"from": mail.sender, "to": mail.to, "cc": mail.cc, "date": mail.date}
    parsed = builder.document(
        type=kind, title=mail.subject, metadata={key: value for key, value in metadata.items() if value},
        warnings=mail.warnings,
    )  # fmt: skip
    labels = unique_names([part.name for part in mail.parts])
    return ParsedDocument(
        text=parsed.text, title=parsed.title, type=kind, blocks=parsed.blocks, metadata=parsed.metadata,
        warnings=parsed.warnings,
        parts=tuple(Part(name=label, data=part.data) for label, part in zip(labels, mail.parts, strict=True)),
    )  # fmt: skip


def _add_plain(builder: TextBuilder, text: str) -> None:
    """Paragraphs; lines that quote another message become quotes."""
    run: list[str] = []
    quotes = False
    for line in [*text.split("\n"), ""]:
        is_quote = bool(_QUOTE_LINE.match(line))
        if run and (is_quote != quotes or not line.strip()):
            block = textwrap.dedent("\n".join(run))
            builder.add("quote" if quotes else "paragraph", quoted(_unquoted(block)) if quotes else block)
            run.clear()
        quotes = is_quote
        if line.strip():
            run.append(line)


def _unquoted(block: str) -> str:
    """A quote without its outermost mark."""
    return "\n".join(re.sub(r"^ {0,3}> ?", "", line) for line in block.split("\n"))


# ---------------------------------------------------------------- the message


def _mail(message: Message) -> Mail:
    mail = Mail(
        subject=header(message, "subject"), sender=", ".join(_people(message, "from")), to=_people(message, "to"),
        cc=_people(message, "cc"), date=iso_date(header(message, "date")),
    )  # fmt: skip
    _collect(message, mail, depth=0)
    return mail


def _collect(message: Message, mail: Mail, depth: int) -> None:
    """Sort a message's parts into text, HTML and attachments."""
    if depth > MAX_DEPTH:
        mail.warnings.append(f"Parts nested more than {MAX_DEPTH} deep were left out.")
        return
    for key, value in message.raw_items():
        if len(str(value)) > MAX_HEADER:  # the standard library takes quadratic time for parameters
            message.replace_header(key, str(value)[:MAX_HEADER])
    kind = message.get_content_type()
    if kind == "message/rfc822":
        _attach_message(message, mail)
        return
    if not message.is_multipart():
        _leaf(message, mail, kind)
        return
    parts: Any = message.get_payload()
    parts = [part for part in parts if isinstance(part, Message)][:MAX_PARTS]
    if kind == "multipart/encrypted":
        mail.warnings.append("The message is encrypted; its text was not read.")
    elif kind == "multipart/alternative":
        _alternative(parts, mail, depth)
    elif kind == "multipart/related" and parts:
        _related(message, parts, mail, depth)
    else:
        for part in parts:
            _collect(part, mail, depth + 1)


def _alternative(parts: Sequence[Message], mail: Mail, depth: int) -> None:
    """Take one of several forms of the same text; attachments of all of them."""
    forms = Mail()
    for part in parts:
        _collect(part, forms, depth + 1)
    mail.parts += forms.parts
    mail.warnings += forms.warnings
    n_plain = sum(len(text.strip()) for text in forms.plain)
    n_page = sum(len(re.sub(r"<style.*?</style>|<[^<>]*>|\s+", "", page, flags=re.DOTALL)) for page in forms.pages)
    if n_plain and (n_plain >= 300 or n_page < 5 * n_plain):
        mail.plain += forms.plain
    else:
        mail.pages += forms.pages or forms.plain


def _related(message: Message, parts: list[Message], mail: Mail, depth: int) -> None:
    """A page and what it shows. Pictures, styles and scripts are left out, real attachments kept."""
    start = str(message.get_param("start") or "")
    root = next((part for part in parts if start and str(part.get("content-id", "")).strip() == start), None)
    root = root or next((part for part in parts if part.get_content_maintype() in ("text", "multipart")), parts[0])
    _collect(root, mail, depth + 1)
    for part in parts:
        if part is not root and part.get_content_disposition() == "attachment" and not part.get("content-location"):
            _collect(part, mail, depth + 1)


def _leaf(message: Message, mail: Mail, kind: str) -> None:
    filename = _filename(message)
    disposition = message.get_content_disposition()
    if kind in _INVISIBLE_TYPES or filename.lower() in ("smime.p7s", "signature.asc"):
        return
    if kind.startswith("image/") and (disposition != "attachment" or message.get("content-id")):
        return
    if kind in ("application/pkcs7-mime", "application/x-pkcs7-mime"):
        mail.warnings.append("The message is encrypted or sealed (S/MIME); its text was not read.")
        return
    if kind in ("text/plain", "text/html") and disposition != "attachment" and not filename:
        text = _body(message, mail)
        (mail.pages if kind == "text/html" else mail.plain).append(text)
        return
    content = _raw(message)
    if content.strip():
        suffix = _SUFFIXES.get(kind, ".txt" if kind.startswith("text/") else ".bin")
        mail.parts.append(Part(name=file_label(filename) or f"part-{len(mail.parts) + 1}{suffix}", data=content))


def _attach_message(message: Message, mail: Mail) -> None:
    inner = message.get_payload()
    inner = inner[0] if isinstance(inner, list) and inner else inner
    if not isinstance(inner, Message):
        return
    subject = file_label(header(inner, "subject")) or f"message-{len(mail.parts) + 1}"
    try:
        content = inner.as_bytes(policy=policy.compat32)
    except (
        UnicodeError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
    ):  # the generator is stricter than the parser
        content = str(inner.get_payload()).encode("utf-8", "replace")
    mail.parts.append(Part(name=f"{subject}.eml", data=content))


def _body(message: Message, mail: Mail) -> str:
    """The text of a leaf, by its charset if the bytes bear that out."""
    content = _raw(message)
    charset = str(message.get_param("charset") or "").strip("'\" ")
    text = ""
    if _SEVEN_BIT.match(charset):
        try:
            text = content.decode(charset)
        except (UnicodeError, LookupError):
            text = ""
    if not text and content:
        try:
            text, warnings = decode(content, declared=charset, name="The text")
            mail.warnings += warnings
        except DocumentError as error:
            mail.warnings.append(str(error))
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    if str(message.get_param("format") or "").lower() == "flowed":
        text = _unflow(text)
    return text


def _raw(message: Message) -> bytes:
    """The bytes of a leaf. What claims to be base64 and is not stays as it is."""
    for decoding in (True, False):
        try:
            content: Any = message.get_payload(decode=decoding)
        except (ValueError, LookupError, binascii.Error, AssertionError):
            continue
        if isinstance(content, bytes):
            return content
        if isinstance(content, str):
            return content.encode("utf-8", "surrogateescape")
    return b""


def _unflow(text: str) -> str:
    """Lines that end in a blank go on in the next one (RFC 3676)."""
    lines: list[str] = []
    open_ = False
    for line in text.split("\n"):
        line = line[1:] if line.startswith(" ") else line
        if open_ and not line.startswith(">"):
            lines[-1] += line
        else:
            lines.append(line)
        open_ = line.endswith(" ") and line != "-- " and not line.startswith(">")
    return "\n".join(lines)


# ---------------------------------------------------------------- headers


def header(message: Message, name: str) -> str:
    """A header's text, encoded words and stray bytes decoded; empty if there is none."""
    value = next((str(value) for key, value in message.raw_items() if key.lower() == name), "")
    return decoded(value)


def decoded(value: str) -> str:
    """A raw header value as text: RFC 2047 words of any charset, neighbours joined before they are decoded."""
    value = value[:MAX_HEADER]
    if not value.isascii():
        value = _decode_bytes(value.encode("utf-8", "surrogateescape"), "")
    value = _BETWEEN_WORDS.sub(r"\1\2", value)
    parts: list[str] = []
    at = 0
    held, held_charset = b"", ""
    for match in _WORD.finditer(value):
        charset = match.group(1).partition("*")[0].lower()
        if held and (match.start() > at or charset != held_charset):
            parts.append(_decode_bytes(held, held_charset))
            held = b""
        parts.append(value[at : match.start()])
        held, held_charset, at = held + _word_bytes(match), charset, match.end()
    parts += [_decode_bytes(held, held_charset) if held else "", value[at:]]
    return " ".join("".join(parts).replace("\0", "").split())


def _word_bytes(match: re.Match[str]) -> bytes:
    content = match.group(3)
    if match.group(2) in "qQ":
        return quopri.decodestring(content.replace("_", " ").encode("utf-8", "replace"), header=False)
    try:
        return base64.b64decode(content + "=" * (-len(content) % 4), validate=True)
    except (binascii.Error, ValueError):
        return match.group().encode("utf-8", "replace")


def _decode_bytes(data: bytes, charset: str) -> str:
    if _SEVEN_BIT.match(charset):
        try:
            return data.decode(charset)
        except (UnicodeError, LookupError):
            pass
    try:
        return decode(data, declared=charset)[0]
    except DocumentError:
        return data.decode("utf-8", errors="replace")


def _people(message: Message, name: str) -> list[str]:
    """The people in an address header, as "Name <address>"."""
    values = [str(value)[:MAX_HEADER] for key, value in message.raw_items() if key.lower() == name]
    try:
        pairs = getaddresses([value.replace("\r", "").replace("\n", " ") for value in values])
    except (ValueError, IndexError, RecursionError):
        pairs = []
    people = [(decoded(person), decoded(address)) for person, address in pairs[:200]]
    found = [f"{person} <{address}>" if person and address else person or address for person, address in people]
    return [one for one in found if one] or [text for value in values if (text := decoded(value))]


def iso_date(value: str) -> str:
    """A mail's date as ISO 8601, or as it stands where it cannot be read."""
    try:
        return parsedate_to_datetime(value).isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        return value[:100]


def _filename(message: Message) -> str:
    """The name of an attachment, of RFC 2231 or encoded as words."""
    try:
        found = message.get_filename("") or ""
    except (ValueError, LookupError, UnicodeError, TypeError, AttributeError):
        found = ""
    return decoded(str(found))


def file_label(text: str) -> str:
    """A file name from a subject or from what a sender called an attachment: never a path."""
    text = re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", "", text).replace("\\", "/")
    last = text.rsplit("/", 1)[-1]
    return (last if "." in last else text.replace("/", "-")).strip(" .")[:150]
