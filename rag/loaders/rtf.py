"""RTF: paragraphs, headings and tables from one pass over its control words, in any code page."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field, replace

from rag.errors import DocumentError
from rag.loaders.builder import TextBuilder, pipe_table
from rag.types import ParsedDocument

MAX_DEPTH = 10_000  # groups in groups
_TOKEN = re.compile(
    rb"\\([A-Za-z]{1,32})(-?\d{1,10})? ?|\\'([0-9A-Fa-f]{2})|\\([^A-Za-z])|([{}])|[\r\n]+|([^\\{}\r\n]+)"
)
# Groups that hold something other than the text. What begins with \* is left out, too, unless it is known.
_DESTINATIONS = frozenset(
    b"fonttbl colortbl stylesheet info pict object objdata themedata colorschememapping latentstyles datastore generator listtable "
    b"listoverridetable revtbl rsidtbl xmlnstbl fldinst header headerl headerr headerf footer footerl footerr footerf bkmkstart bkmkend "
    b"datafield filetbl mmathPr nonshppict pntext pntxta pntxtb sp sn sv ftnsep ftnsepc".split()
)
_CHARACTERS = {b"tab": "\t", b"line": "\n", b"emdash": "—", b"endash": "–", b"lquote": "‘", b"rquote": "’", b"ldblquote": "“",
               b"rdblquote": "”", b"bullet": "•", b"emspace": " ", b"enspace": " ", b"qmspace": " ", b"cell": "\t"}  # fmt: skip
_CHARSETS = {0: "cp1252", 77: "mac_roman", 128: "cp932", 129: "cp949", 134: "gb18030", 136: "big5", 161: "cp1253", 162: "cp1254", 163: "cp1258",
             177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874", 238: "cp1250"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Group:
    """What a group inherits from the one around it."""

    skip: bool = False
    info: str = ""  # title or author, inside \\info
    unicode_skip: int = 1
    encoding: str = ""
    in_fonts: bool = False


@dataclass(slots=True)
class _State:
    builder: TextBuilder = field(default_factory=TextBuilder)
    encoding: str = "cp1252"
    fonts: dict[int, str] = field(default_factory=dict)
    font: int = 0
    text: list[str] = field(default_factory=list)
    pending: bytearray = field(default_factory=bytearray)  # bytes of characters that may go on in the next escape
    pending_encoding: str = ""
    info: dict[str, list[str]] = field(default_factory=dict)
    row: list[str] = field(default_factory=list)
    table: list[list[str]] = field(default_factory=list)
    in_table: bool = False
    outline: int | None = None
    to_skip: int = 0  # characters that stand in for a \\u one


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read an RTF document. Raises: DocumentError E_CORRUPT, E_TOO_DEEP."""
    if not data.lstrip().startswith(b"{\\rtf"):
        raise DocumentError("E_CORRUPT", f"{name} is no RTF document. Save it again from its program.")
    state = _State()
    _read(data, name, state)
    _paragraph(state)
    _end_table(state)
    info = {key: " ".join("".join(parts).split()) for key, parts in state.info.items()}
    title = info.pop("title", "") or next(iter(state.builder.headings()), "")
    return state.builder.document(
        type="rtf", title=title, metadata={key: value for key, value in info.items() if value}
    )


def _read(data: bytes, name: str, state: _State) -> None:
    stack: list[_Group] = []
    group = _Group()
    starred = False
    at = 0
    while match := _TOKEN.search(data, at):
        at = match.end()
        word, number, escaped, symbol, brace, plain = match.groups()
        if brace == b"{":
            _flush(state)
            stack.append(group)
            if len(stack) > MAX_DEPTH:
                raise DocumentError(
                    "E_TOO_DEEP", f"{name} nests more than {MAX_DEPTH} groups. Save it again from its program."
                )
        elif brace == b"}":
            _flush(state)
            group = stack.pop() if stack else group
        elif word == b"bin":
            at += max(0, int(number or 0))
        elif word is not None:
            group = _word(word, int(number) if number else None, group, state, starred)
        elif symbol == b"*":
            starred = True
            continue
        elif escaped is not None:
            _bytes(bytes([int(escaped, 16)]), group, state)
        elif symbol is not None:
            _put(
                {b"~": "\u00a0", b"_": "-", b"\\": "\\", b"{": "{", b"}": "}", b"\n": "\n", b"\r": "\n"}.get(
                    symbol, ""
                ),
                group,
                state,
            )
        elif plain is not None:
            _bytes(plain, group, state)
        starred = False


def _word(word: bytes, number: int | None, group: _Group, state: _State, starred: bool) -> _Group:
    """A control word. Returns what holds for the rest of the group."""
    if word == b"info":
        return replace(group, skip=True)
    if word in (b"title", b"author", b"subject") and group.skip:
        return replace(group, info=word.decode())
    if word == b"fonttbl":
        return replace(group, skip=True, in_fonts=True)
    if word in _DESTINATIONS or (starred and word not in (b"shppict", b"shptxt")):
        return replace(group, skip=True)
    if word == b"u" and number is not None:
        _flush(state)
        _put(_code_unit(number % 65_536, group, state), group, state)
        state.to_skip = group.unicode_skip
    elif word == b"uc":
        return replace(group, unicode_skip=max(0, min(number or 0, 10)))
    elif word == b"ansicpg" and number:
        state.encoding = _known(f"cp{number}", state.encoding)
    elif word == b"mac":
        state.encoding = "mac_roman"
    elif word == b"f" and number is not None:
        _flush(state)
        state.font = number
        return group if group.in_fonts else replace(group, encoding=state.fonts.get(number, ""))
    elif word == b"fcharset" and group.in_fonts:
        state.fonts[state.font] = _CHARSETS.get(number or 0, "") if number else ""
    elif not group.skip:
        _flush(state)
        _layout(word, number, state)
    return group


def _layout(word: bytes, number: int | None, state: _State) -> None:
    if word in (b"par", b"sect", b"page"):
        _paragraph(state)
    elif word == b"pard":
        state.in_table, state.outline = False, None
    elif word == b"intbl":
        state.in_table = True
    elif word == b"outlinelevel" and number is not None:
        state.outline = number
    elif word == b"cell":
        state.row.append(" ".join("".join(state.text).split()))
        state.text.clear()
    elif word == b"row":
        state.table.append(state.row)
        state.row = []
    elif word in _CHARACTERS:
        state.text.append(_CHARACTERS[word])


def _code_unit(value: int, group: _Group, state: _State) -> str:
    """A UTF-16 unit; two that belong together become one character."""
    if 0xDC00 <= value <= 0xDFFF and state.text and "\ud800" <= state.text[-1] <= "\udbff" and not group.skip:
        high = ord(state.text.pop())
        return chr(0x10000 + ((high - 0xD800) << 10) + value - 0xDC00)
    return chr(value)


def _bytes(raw: bytes, group: _Group, state: _State) -> None:
    skipped = min(state.to_skip, len(raw))
    state.to_skip -= skipped
    raw = raw[skipped:]
    if not raw or (group.skip and not group.info):
        return
    encoding = group.encoding or state.encoding
    if state.pending and encoding != state.pending_encoding:
        _flush(state)
    state.pending_encoding = encoding
    state.pending += raw
    if group.info:
        _put(_take(state), group, state)


def _flush(state: _State) -> None:
    if state.pending:
        state.text.append(_take(state))


def _take(state: _State) -> str:
    text = bytes(state.pending).decode(state.pending_encoding or state.encoding, "replace")
    state.pending.clear()
    return text


def _put(text: str, group: _Group, state: _State) -> None:
    if group.info:
        state.info.setdefault(group.info, []).append(text)
    elif not group.skip and text:
        _flush(state)
        state.text.append(text)


def _paragraph(state: _State) -> None:
    _flush(state)
    text = _valid("".join(state.text))
    if state.in_table or state.row:
        state.text = [text, " "] if text.strip() else []
        return
    state.text.clear()
    _end_table(state)
    if state.outline is not None and state.outline < 9:
        state.builder.add("heading", text, level=state.outline + 1)
    else:
        state.builder.add("paragraph", text)


def _end_table(state: _State) -> None:
    if state.row:
        state.table.append(state.row)
        state.row = []
    if state.table:
        state.builder.add("table", pipe_table([[_valid(cell) for cell in row] for row in state.table]))
        state.table = []


def _valid(text: str) -> str:
    """Without lone surrogates, which no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _known(encoding: str, otherwise: str) -> str:
    try:
        return codecs.lookup({"cp936": "gb18030", "cp10000": "mac_roman"}.get(encoding, encoding)).name
    except LookupError:
        return otherwise
