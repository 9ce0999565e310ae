"""JSON, JSON lines and GeoJSON as readable text: tables, records under their titles, and `path: value` lines.

Numbers keep the digits they are written with, and a key that stands twice keeps both values: nothing goes through
dict or float. simdjson and orjson are faster, but lose exactly that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rag.errors import DocumentError
from rag.loaders import plain
from rag.loaders.builder import TextBuilder, pipe_table
from rag.loaders.encoding import decode
from rag.types import ParsedDocument

MAX_DEPTH = 150  # about what the walk below can recurse; nobody writes such files by hand
MAX_CELL = 300  # characters of a table's cell; records with longer values are not a table
MAX_TABLE_COLUMNS = 60
LONG = 160  # characters; a longer value is a paragraph of its own
LONG_RECORD = 600  # a JSON line longer than that is cut into blocks
MAX_WARNINGS = 5
MAX_NUMBERS = 200  # in one array; longer ones are vectors and outlines, which nobody reads

_TITLES = ("title", "name", "headline", "subject", "question", "标题", "名称")
_TEXTS = ("text", "content", "body", "description", "abstract", "summary", "answer", "message", "正文", "内容")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class _Object:
    """An object as its pairs in their order, double keys included."""

    pairs: list[tuple[str, Any]]


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read JSON. A list of flat records becomes a table, other records a section or block each.

    A line of JSON lines that does not parse is kept as text, with a warning that names it; so is a file that is no
    JSON at all (comments, a missing end).
    Raises: DocumentError E_TOO_DEEP above MAX_DEPTH, E_BINARY, E_ENCODING.
    """
    text, warnings = decode(data, name=name)
    try:
        if name.lower().endswith((".jsonl", ".ndjson")):
            return _lines(text, warnings)
        try:
            value = parse(text)
        except ValueError as error:
            if "\n" in text.strip() and _is_json(text.strip().split("\n", 1)[0]):
                return _lines(text, warnings)
            return _as_text(text, [*warnings, f"{name} is not valid JSON ({error}); it was read as text."])
        return _document(value, warnings)
    except RecursionError as error:
        raise DocumentError(
            "E_TOO_DEEP", f"{name} nests lists or objects too deeply to be read (more than {MAX_DEPTH}). Flatten it."
        ) from error


def parse(text: str) -> Any:
    """A JSON value whose numbers are strings as written and whose objects are `_Object`. Raises: ValueError, RecursionError."""
    return json.loads(
        text.lstrip("\ufeff"), object_pairs_hook=_Object, parse_int=str, parse_float=str, parse_constant=str
    )


def _is_json(text: str) -> bool:
    try:
        return isinstance(parse(text), (_Object, list))
    except ValueError:
        return False


def _as_text(text: str, warnings: list[str]) -> ParsedDocument:
    return ParsedDocument(text=text, type="json", blocks=tuple(plain.paragraphs(text)), warnings=tuple(warnings))


def _document(value: Any, warnings: list[str]) -> ParsedDocument:
    builder = TextBuilder()
    writer = _Writer(builder)
    title = ""
    if isinstance(value, _Object):
        title = _title(value)
        writer.record(value, "", 1)
    else:
        writer.value("", value, 1)
    writer.flush()
    if writer.n_numbers:
        warnings.append(f"{writer.n_numbers} numbers in long lists (coordinates, vectors) were left out.")
    return builder.document(type="json", title=title, warnings=warnings)


def _lines(text: str, warnings: list[str]) -> ParsedDocument:
    """JSON lines: one block a record, or a few where it is long."""
    builder = TextBuilder()
    writer = _Writer(builder)
    broken: list[int] = []
    for i, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = parse(line)
        except ValueError:
            broken.append(i)
            builder.add("paragraph", line)
            continue
        if isinstance(value, _Object) and len(line) > LONG_RECORD:
            writer.record(value, "", 2)
            writer.flush()
        elif isinstance(value, _Object):
            builder.add("paragraph", _brief(value))
        else:
            writer.value("", value, 2)
            writer.flush()
    for i in broken[:MAX_WARNINGS]:
        warnings.append(f"Line {i} is not valid JSON; it was kept as it stands.")
    if len(broken) > MAX_WARNINGS:
        warnings.append(f"{len(broken) - MAX_WARNINGS} more lines are not valid JSON.")
    if writer.n_numbers:
        warnings.append(f"{writer.n_numbers} numbers in long lists (coordinates, vectors) were left out.")
    return builder.document(type="json", warnings=warnings)


def _brief(record: _Object) -> str:
    """A short record as one block of lines."""
    writer = _Writer(TextBuilder(), one_block=True)
    for key, value in record.pairs:
        writer.value(_scalar(key), value, 6)
    return "\n".join(writer.lines)


class _Writer:
    """Walks a value and writes blocks; short values are collected as lines and written together."""

    def __init__(self, builder: TextBuilder, *, one_block: bool = False) -> None:
        self.builder = builder
        self.lines: list[str] = []
        self.n_numbers = 0
        self._one_block = one_block

    def flush(self) -> None:
        if self.lines and not self._one_block:
            self.builder.add("paragraph", "\n".join(self.lines))
            self.lines.clear()

    def record(self, record: _Object, path: str, level: int) -> None:
        """An object with a title as a section, its long texts as paragraphs, the rest as lines."""
        title = _title(record)
        if title:
            self.flush()
            self.builder.add("heading", title, level=level)
        skipped = not title
        for key, value in record.pairs:
            if (
                not skipped
                and isinstance(value, str)
                and key.lower() in _TITLES
                and " ".join(_scalar(value).split()) == title
            ):
                skipped = True
                continue
            self.value(f"{path}.{_scalar(key)}" if path else _scalar(key), value, level + 1)

    def value(self, path: str, value: Any, level: int) -> None:
        if level > MAX_DEPTH:
            raise RecursionError
        if isinstance(value, _Object):
            self._object(path, value, level)
        elif isinstance(value, list):
            self._list(path, value, level)
        else:
            self._string(path, _scalar(value))

    def _object(self, path: str, value: _Object, level: int) -> None:
        if level <= 3 and not self._one_block and len(value.pairs) > 1:
            self.flush()
        if _title(value) and any(isinstance(part, str) and len(part) > LONG for _, part in value.pairs):
            self.record(value, path, min(level, 6))
            return
        if not value.pairs:
            self.lines.append(f"{path}: {{}}" if path else "{}")
        for key, part in value.pairs:
            self.value(f"{path}.{_scalar(key)}" if path else _scalar(key), part, level + 1)

    def _list(self, path: str, values: list[Any], level: int) -> None:
        if n := _numbers(values):
            self.n_numbers += n
            return
        if all(not isinstance(value, (list, _Object)) for value in values):
            self._scalars(path, [_scalar(value) for value in values])
            return
        if not self._one_block and (rows := _table(values)) is not None:
            self.flush()
            if path:
                self.builder.add("paragraph", f"{path}:")
            self.builder.add("table", pipe_table(rows))
            return
        for i, value in enumerate(values):
            if isinstance(value, _Object) and not self._one_block:
                self.flush()
                if not path:
                    self.record(value, "", min(level, 6))
                    self.flush()
                    continue
            self.value(f"{path}[{i}]", value, level + 1)

    def _scalars(self, path: str, values: list[str]) -> None:
        joined = ", ".join(values)
        if len(joined) <= LONG or all(len(value) < 40 for value in values):
            self._string(path, joined)
            return
        for value in values:
            self._string(path, value)

    def _string(self, path: str, text: str) -> None:
        if self._one_block or (len(text) <= LONG and "\n" not in text.strip()):
            self.lines.append(f"{path}: {text}" if path else text)
            return
        self.flush()
        key = path.rpartition(".")[2].lower()
        head = "" if not path or key in _TEXTS else f"{path}: "
        paragraphs = list(plain.paragraphs(text))
        for i, block in enumerate(paragraphs):
            self.builder.add("paragraph", (head if i == 0 else "") + text[block.start : block.end])


def _title(record: _Object) -> str:
    """The first of a record's titles that is a short string."""
    for wanted in _TITLES:
        for key, value in record.pairs:
            if key.lower() == wanted and isinstance(value, str) and 0 < len(text := _scalar(value).strip()) <= 200:
                return " ".join(text.split())
    return ""


def _table(values: Sequence[Any]) -> list[list[str]] | None:
    """Flat records with much the same short fields, as rows under their names; None for anything else."""
    if len(values) < 2 or not all(isinstance(value, _Object) for value in values):
        return None
    columns: dict[str, None] = {}
    n_cells = 0
    records: list[dict[str, str]] = []
    for value in values:
        record: dict[str, str] = {}
        for key, part in value.pairs:
            if isinstance(part, (_Object, list)) or key in record:
                return None
            record[key] = _scalar(part)
            if len(record[key]) > MAX_CELL:
                return None
        columns.update(dict.fromkeys(record))
        n_cells += len(record)
        records.append(record)
    if not columns or len(columns) > MAX_TABLE_COLUMNS or n_cells < 0.5 * len(columns) * len(records):
        return None
    return [[_scalar(key) for key in columns], *([record.get(key, "") for key in columns] for record in records)]


def _numbers(values: list[Any]) -> int:
    """How many numbers a list holds on all its levels, when it is long and holds nothing else; else 0."""
    n = 0
    for value in _leaves(values):
        if isinstance(value, _Object) or not isinstance(value, str) or not _NUMBER.fullmatch(value):
            return 0
        n += 1
    return n if n > MAX_NUMBERS else 0


_NUMBER = re.compile(r"-?\d{1,40}(?:\.\d{1,40})?(?:[eE][-+]?\d{1,9})?")


def _leaves(values: list[Any]) -> Iterator[Any]:
    stack = [iter(values)]
    while stack:
        for value in stack[-1]:
            if isinstance(value, list):
                stack.append(iter(value))
                break
            yield value
        else:
            stack.pop()


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value).replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
    return {True: "true", False: "false", None: "null"}.get(value, str(value))
