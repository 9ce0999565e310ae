"""Outlook messages (MSG): MAPI properties in an OLE2 container, read as e-mail.

extract-msg reads more kinds of items, but is GPL; python-oxmsg (MIT) is a reader of the same properties, without
compressed RTF and with a command line as a dependency. Only olefile is needed for what a document takes from them.
"""

from __future__ import annotations

import importlib
import re
import struct
from datetime import UTC, datetime, timedelta
from email.header import Header
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

from rag.errors import DocumentError
from rag.loaders import mail as mails
from rag.loaders.encoding import decode
from rag.loaders.ole import Streams
from rag.types import ParsedDocument, Part

MAX_RTF = 50_000_000
MAX_DEPTH = 10  # messages in messages

_STREAM = re.compile(r"__substg1\.0_([0-9A-Fa-f]{4})([0-9A-Fa-f]{4})")
_FILETIME_START = datetime(1601, 1, 1, tzinfo=UTC)
# What every compressed RTF may refer back to before its own first byte (MS-OXRTFCP, 2.1.2.1).
_RTF_DICTIONARY = (
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript \\fdecor MS Sans Serif"
    b"SymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
)
_SUBJECT, _SENT, _DELIVERED = 0x0037, 0x0039, 0x0E06
_TO, _CC, _SENDER, _SENDER_ADDRESS, _SENDER_SMTP = 0x0E04, 0x0E03, 0x0C1A, 0x0C1F, 0x5D01
_BODY, _RTF, _HTML, _CODEPAGE, _CODEPAGE_TOO = 0x1000, 0x1009, 0x1013, 0x3FDE, 0x3FFD
_FILE, _FILE_NAME, _FILE_NAME_SHORT, _FILE_ID, _FILE_TYPE, _HIDDEN = 0x3701, 0x3707, 0x3704, 0x3712, 0x370E, 0x7FFE
_DISPLAY_NAME = 0x3001

_Path = tuple[str, ...]


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read an Outlook message as e-mail is read: head, text, attachments as parts; messages inside as EML.

    Raises: DocumentError E_CORRUPT, E_TOO_LARGE.
    """
    streams = Streams(data, name)
    tree: dict[_Path, dict[str, _Path]] = {}
    for path in streams.paths():
        for i in range(len(path)):
            tree.setdefault(path[:i], {})[path[i]] = path[: i + 1]
    if not any(_STREAM.fullmatch(key) for key in tree.get((), {})):
        raise DocumentError("E_CORRUPT", f"{name} holds no message. Save it again from Outlook.")
    return mails.document(_Item(streams, tree, (), header=32).mail(0), "msg")


class _Item:
    """A folder of the container: a message or an attachment, with its properties by number."""

    def __init__(self, streams: Streams, tree: dict[_Path, dict[str, _Path]], at: _Path, *, header: int) -> None:
        self._streams = streams
        self._tree = tree
        self._children = tree.get(at, {})
        self._at = at
        self._header = header
        self._properties: dict[int, tuple[int, _Path]] = {}
        for key, path in self._children.items():
            if found := _STREAM.fullmatch(key):
                self._properties[int(found.group(1), 16)] = (int(found.group(2), 16), path)
        self._fixed = self._fixed_values()
        codepage = self._fixed.get(_CODEPAGE, b"") or self._fixed.get(_CODEPAGE_TOO, b"")
        number = int.from_bytes(codepage[:4], "little")
        self._charset = {65001: "utf-8", 936: "gb18030", 54936: "gb18030"}.get(number, f"cp{number}" if number else "")

    def mail(self, depth: int) -> mails.Mail:
        sender, address = self.text(_SENDER), self.text(_SENDER_SMTP) or self.text(_SENDER_ADDRESS)
        if "@" in address and address != sender:
            sender = f"{sender} <{address}>".strip()
        mail = mails.Mail(
            subject=" ".join(self.text(_SUBJECT).split()), sender=sender, to=_people(self.text(_TO)),
            cc=_people(self.text(_CC)), date=self._date(_SENT) or self._date(_DELIVERED),
        )  # fmt: skip
        self._body(mail)
        for key, path in self._children.items():
            if key.startswith("__attach_version1.0_"):
                try:
                    _Item(self._streams, self._tree, path, header=8).attach_to(mail, depth)
                except DocumentError as error:
                    mail.warnings.append(f"An attachment could not be read: {error}")
        return mail

    def attach_to(self, mail: mails.Mail, depth: int) -> None:
        """Add this attachment to a message; pictures that its text shows are left out."""
        label = self.text(_FILE_NAME) or self.text(_FILE_NAME_SHORT) or self.text(_DISPLAY_NAME)
        label = mails.file_label(label) or f"part-{len(mail.parts) + 1}.bin"
        kind, path = self._properties.get(_FILE, (0, ()))
        if kind == 0x0102:
            shown = self.text(_FILE_ID) or any(self._fixed.get(_HIDDEN, b""))
            if not (shown and (self.text(_FILE_TYPE).startswith("image/") or _is_picture(label))):
                mail.parts.append(Part(name=label, data=self._streams.read(path)))
        elif kind == 0x000D and depth < MAX_DEPTH:
            inner = _Item(self._streams, self._tree, path, header=24).mail(depth + 1)
            name = mails.file_label(inner.subject) or label
            mail.parts.append(Part(name=f"{name}.eml", data=_as_eml(inner)))
        elif kind == 0x000D:
            mail.warnings.append(f"Messages nested more than {MAX_DEPTH} deep were left out.")

    def text(self, number: int) -> str:
        """A text property; empty if there is none."""
        kind, path = self._properties.get(number, (0, ()))
        if kind not in (0x001E, 0x001F, 0x0102):
            return ""
        content = self._streams.read(path)
        if kind == 0x001F:
            text = content.decode("utf-16-le", errors="replace")
        else:
            try:
                text = decode(content, declared=self._charset)[0] if content else ""
            except DocumentError:
                text = content.decode("latin-1")
        text = re.sub("[\ud800-\udfff]", "\ufffd", text).replace("\0", "")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def _body(self, mail: mails.Mail) -> None:
        """The plain text if there is enough of it, else HTML, else what the RTF holds."""
        plain, page = self.text(_BODY), self.text(_HTML)
        if plain.strip() and (len(plain) >= 300 or len(page) < 5000):
            mail.plain.append(plain)
        elif page.strip():
            mail.pages.append(page)
        elif plain.strip():
            mail.plain.append(plain)
        elif self._properties.get(_RTF, (0, ()))[0] == 0x0102:
            try:
                _add_rtf(decompress_rtf(self._streams.read(self._properties[_RTF][1])), mail)
            except DocumentError as error:
                mail.warnings.append(f"The text could not be read: {error}")

    def _fixed_values(self) -> dict[int, bytes]:
        """The properties of fixed length: 16 bytes each with type, number, flags and value."""
        path = self._children.get("__properties_version1.0")
        content = self._streams.read(path) if path else b""
        values: dict[int, bytes] = {}
        for at in range(self._header, len(content) - 15, 16):
            values[int.from_bytes(content[at + 2 : at + 4], "little")] = content[at + 8 : at + 16]
        return values

    def _date(self, number: int) -> str:
        ticks = int.from_bytes(self._fixed.get(number, b""), "little")
        try:
            return (_FILETIME_START + timedelta(microseconds=ticks // 10)).isoformat() if ticks else ""
        except OverflowError:
            return ""


def _people(names: str) -> list[str]:
    return [" ".join(name.split()) for name in names.split(";") if name.strip()]


def _is_picture(label: str) -> bool:
    return label.lower().endswith((".png", ".jpg", ".jpeg", ".gif", ".bmp", ".emf", ".wmf"))


def _as_eml(mail: mails.Mail) -> bytes:
    """A message inside a message as a file of its own."""
    message = MIMEMultipart("mixed")
    for key, value in (("Subject", mail.subject), ("From", mail.sender), ("Date", mail.date)):
        if value:
            message.add_header(key, Header(" ".join(value.split()), "utf-8").encode())
    for text in mail.plain:
        message.attach(MIMEText(text, "plain", "utf-8"))
    for page in mail.pages:
        message.attach(MIMEText(page, "html", "utf-8"))
    for part in mail.parts:
        attachment = MIMEApplication(part.data)
        attachment.add_header("Content-Disposition", "attachment", filename=("utf-8", "", part.name))
        message.attach(attachment)
    return message.as_bytes()


# ---------------------------------------------------------------- compressed RTF


def decompress_rtf(data: bytes) -> bytes:
    """The RTF of a message's PR_RTF_COMPRESSED. Raises: DocumentError E_CORRUPT, E_TOO_LARGE.

    Source: MS-OXRTFCP, Rich Text Format (RTF) Compression Algorithm.
    """
    if len(data) < 16:
        raise DocumentError("E_CORRUPT", "The message's rich text is cut off.")
    _, raw_size, kind = struct.unpack("<III", data[:12])
    if raw_size > MAX_RTF:
        raise DocumentError("E_TOO_LARGE", f"The message's rich text unpacks to {raw_size} bytes.")
    if kind == 0x414C454D:  # "MELA": not compressed
        return data[16 : 16 + raw_size]
    if kind != 0x75465A4C:  # "LZFu"
        raise DocumentError("E_CORRUPT", "The message's rich text is of no known kind.")
    window = bytearray(_RTF_DICTIONARY.ljust(4096, b"\0"))
    write = len(_RTF_DICTIONARY)
    out = bytearray()
    at = 16
    while at < len(data) and len(out) < raw_size:
        control = data[at]
        at += 1
        for bit in range(8):
            if control >> bit & 1:
                if at + 1 >= len(data):
                    return bytes(out)
                reference = data[at] << 8 | data[at + 1]
                at += 2
                offset, length = reference >> 4, (reference & 15) + 2
                if offset == write:
                    return bytes(out)
                for i in range(length):
                    byte = window[(offset + i) % 4096]
                    out.append(byte)
                    window[write] = byte
                    write = (write + 1) % 4096
            elif at < len(data):
                out.append(data[at])
                window[write] = data[at]
                write = (write + 1) % 4096
                at += 1
    return bytes(out[:raw_size])


def _add_rtf(rtf: bytes, mail: mails.Mail) -> None:
    """The text of a message's RTF; RTF that wraps HTML gives the HTML back."""
    if b"\\fromhtml" in rtf[:1000]:
        mail.pages.append(_html_in_rtf(rtf))
        return
    try:
        loader = importlib.import_module("rag.loaders.rtf")
    except ModuleNotFoundError:
        mail.warnings.append("The message's text is RTF, which no loader reads.")
        return
    mail.plain.append(loader.load(rtf, name="message").text)


_RTF_TOKEN = re.compile(
    rb"\\([a-z]{1,32})(-?\d{1,10})?[ ]?|\\'([0-9a-fA-F]{2})|\\([^a-z])|([{}])|[\r\n]+|([^\\{}\r\n]+)"
)


def _html_in_rtf(rtf: bytes) -> str:
    """The HTML that an RTF wraps: what stands in \\htmltag groups, and text outside of \\htmlrtf stretches.

    Source: MS-OXRTFEX, Rich Text Format (RTF) Extensions Algorithm.
    """
    codepage = re.search(rb"\\ansicpg(\d{3,5})", rtf[:1000])
    charset = f"cp{codepage.group(1).decode()}" if codepage else "cp1252"
    parts: list[str] = []
    held = bytearray()
    stack: list[tuple[bool, bool]] = []  # (left out, in a tag) of the groups around
    out, in_tag, hidden = False, False, False
    skip = 0

    def release() -> None:
        if held:
            try:
                parts.append(bytes(held).decode(charset, errors="replace"))
            except LookupError:
                parts.append(bytes(held).decode("cp1252", errors="replace"))
            held.clear()

    for match in _RTF_TOKEN.finditer(rtf):
        word, number, byte, symbol, brace, text = match.groups()
        if brace == b"{":
            stack.append((out, in_tag))
        elif brace == b"}":
            out, in_tag = stack.pop() if stack else (False, False)
        elif word == b"htmlrtf":
            hidden = number != b"0"
        elif word == b"htmltag":
            out, in_tag = False, True
        elif word in (b"fonttbl", b"colortbl", b"stylesheet", b"info", b"pntext", b"generator"):
            out = True
        elif symbol == b"*":
            out = True  # unless \htmltag follows
        elif out or hidden:
            continue
        elif word in (b"par", b"line"):
            held += b"\n"
        elif word == b"tab":
            held += b"\t"
        elif word == b"u" and number:
            release()
            parts.append(chr(int(number) % 65536))
            skip = 1
        elif byte:
            skip, wanted = max(skip - 1, 0), skip == 0
            held += bytes([int(byte, 16)]) if wanted else b""
        elif symbol in (b"\\", b"{", b"}"):
            held += symbol
        elif text:
            held += text[skip:]
            skip = 0
    release()
    return re.sub("[\ud800-\udfff]", "\ufffd", "".join(parts))
