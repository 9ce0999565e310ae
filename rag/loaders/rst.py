"""reStructuredText as Markdown: headings by their underlines, lists, literal blocks, tables, directives.

A scanner of lines, as for Markdown. docutils is the reference (a test holds the two against each other), but knows
Sphinx's directives and roles only as errors, reads files for include and raw, and takes ten times as long.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

from rag.loaders.builder import TextBuilder, fence, pipe_table, quoted
from rag.loaders.encoding import decode
from rag.types import ParsedDocument

MAX_DEPTH = 40  # directives in directives


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


_RULE = re.compile(r"([!-/:-@\[-`{-~])\1+\s*$")
_UNDERLINE = re.compile(r"([!-/:-@\[-`{-~])\1*\s*$")
_ITEM = re.compile(r"(?:[-*+•]|\(?(?:\d{1,9}|#|[A-Za-z])[.)])(?:[ ]+|$)")
_DIRECTIVE = re.compile(r"\.\. (?:\|([^|]+)\| )?([\w:+.-]+)::[ ]*(.*)$")
_FIELD = re.compile(r":(?![: ])((?:[^:\\]|\\.|:(?! |$))+):(?:[ ]+(.*)|$)")
_GRID = re.compile(r"\+(?:[-=]+\+)+\s*$")
_SIMPLE = re.compile(r"={2,}(?:[ ]+={1,})+\s*$|={2,}\s*$")
_NOTES = _words("attention caution danger error hint important note tip warning admonition seealso todo")
_CODE = _words("code code-block sourcecode parsed-literal literalinclude highlight doctest prompt")
_SILENT = _words(
    "raw include toctree contents index meta role default-role only-latex tabularcolumns currentmodule module sectnum "
    "highlight target-notes autosummary automodule autoclass autofunction automethod literalinclude plot"
)
_TITLED = _words(
    "function class method attribute data exception py:function py:class py:method py:attribute py:data py:exception py:module "
    "c:function c:type c:macro cpp:function cpp:class js:function option envvar confval describe object cmdoption"
)
_LITERAL = re.compile(r"``(.+?)``", re.DOTALL)
_ROLE = re.compile(r"(?<![\w`]):[\w:+.-]{1,60}:`([^`]{1,1000})`")
_LINK = re.compile(r"`([^`<]{1,500}?)\s*<([^<>`]{1,1000})>`_{1,2}")
_REFERENCE = re.compile(r"`([^`]{1,500})`_{1,2}(?!\w)|\b([A-Za-z0-9][\w.-]{0,100}?)_{1,2}(?![\w])(?=[\s.,;:!?)]|$)")
_FOOTNOTE = re.compile(r"\s?\[(?:#[\w-]*|\*|\d{1,4})\]_")
_INTERPRETED = re.compile(r"(?<![\w`])`([^`]{1,500})`(?!\w)")
_SUBSTITUTION = re.compile(r"\|([^|\s][^|\n]{0,100}?)\|(?:_{1,2})?")
_ESCAPE = re.compile(r"\\([^\w\s])|\\ ")


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read reStructuredText. Comments, targets and directives that only act (toctree, include, raw) are left out.

    The title is the first heading. Raises: DocumentError E_BINARY, E_ENCODING.
    """
    text, warnings = decode(data, name=name)
    builder = TextBuilder()
    scanner = _Scanner(builder)
    scanner.read(text.expandtabs(8).split("\n"), 0)
    if scanner.n_included:
        warnings.append(f"{scanner.n_included} files or raw passages that the text refers to were left out.")
    metadata = {key: value for key, value in scanner.fields.items() if value}
    return builder.document(type="rst", title=next(iter(builder.headings()), ""), metadata=metadata, warnings=warnings)


class _Scanner:
    """Reads lines and writes blocks; remembers which underline stands for which level."""

    def __init__(self, builder: TextBuilder) -> None:
        self.builder = builder
        self.n_included = 0
        self.fields: dict[str, str] = {}
        self._styles: list[str] = []

    def read(self, lines: Sequence[str], depth: int) -> None:
        i = 0
        while i < len(lines):
            if not lines[i].strip():
                i += 1
            elif end := self._heading(lines, i) if depth == 0 else 0:
                i = end
            else:
                i = self._block(lines, i, depth)

    def _heading(self, lines: Sequence[str], i: int) -> int:
        """Write the heading that starts in line i and return the line behind it; 0 if there is none."""
        line = lines[i].rstrip()
        if _RULE.match(line) and i + 2 < len(lines) and lines[i + 2].rstrip() == line and lines[i + 1].strip():
            style, words, end = "over" + line[0], lines[i + 1], i + 3
        elif (
            i + 1 < len(lines) and not line.startswith(" ") and _UNDERLINE.match(lines[i + 1]) and not _RULE.match(line)
            and len(lines[i + 1].rstrip()) >= min(_width(line), 4)
        ):  # fmt: skip
            style, words, end = lines[i + 1][0], line, i + 2
        else:
            return 0
        if style not in self._styles:
            self._styles.append(style)
        self.builder.add("heading", inline(words), level=self._styles.index(style) + 1)
        return end

    def _block(self, lines: Sequence[str], i: int, depth: int) -> int:
        line = lines[i]
        if line.startswith(".. ") or line.strip() in ("..", "__"):
            return self._explicit(lines, i, depth)
        if line.startswith(" "):
            end = _indented_end(lines, i, 1)
            self._nested(_dedented(lines[i:end]), depth, quote=True)
            return end
        if line.startswith(">>> "):
            end = _paragraph_end(lines, i)
            self.builder.add("code", fence("\n".join(lines[i:end]), "python"))
            return end
        if _GRID.match(line):
            end = _paragraph_end(lines, i)
            self.builder.add("table", pipe_table(_grid_rows(lines[i:end])))
            return end
        if _SIMPLE.match(line) and (end := _simple_end(lines, i)):
            self.builder.add("table", pipe_table(_simple_rows(lines[i:end])))
            return end
        if _ITEM.match(line) and (i == 0 or not lines[i - 1].strip() or _ITEM.match(lines[i - 1])):
            return self._list(lines, i)
        if line.startswith("| "):
            end = _paragraph_end(lines, i)
            self.builder.add("paragraph", "\n".join(inline(part.lstrip("| ")) for part in lines[i:end]))
            return end
        if _FIELD.match(line):
            return self._field_list(lines, i)
        return self._paragraph(lines, i, depth)

    def _paragraph(self, lines: Sequence[str], i: int, depth: int) -> int:
        """A paragraph, with the literal block that it announces; or a term with its definition below."""
        end = _paragraph_end(lines, i)
        if end > i + 1 and lines[i + 1].startswith(" "):
            end = i + 1
        while end > i + 2 and _RULE.match(lines[end - 1]) and depth == 0 and not lines[end - 2].startswith(" "):
            end -= 2  # its last line is a heading
        text = "\n".join(lines[i:end]).rstrip()
        if not text.endswith("::"):
            if not _RULE.fullmatch(text):
                self.builder.add("paragraph", inline(text))
            return end
        rest = text[:-2].rstrip() + ("" if text[:-2].endswith((" ", "\n")) or not text[:-2] else ":")
        self.builder.add("paragraph", inline(rest))
        stop = _indented_end(lines, end, 1)
        self.builder.add("code", fence("\n".join(_dedented(lines[end:stop]))))
        return max(stop, end)

    def _list(self, lines: Sequence[str], i: int) -> int:
        """A list with everything indented under its items, marks as in Markdown."""
        items: list[str] = []
        end = i
        while end < len(lines):
            line = lines[end]
            if _ITEM.match(line) or (line.startswith(" ") and items):
                items.append(re.sub(r"^(\s*)[*+•](?=\s)", r"\1-", line))
            elif line.strip() or not _goes_on(lines, end):
                break
            elif items[-1:] != [""]:
                items.append("")
            end += 1
        text = "\n".join(items).replace("::\n", ":\n")
        self.builder.add("list", inline(re.sub(r"^(\s*)#\.", r"\g<1>1.", text, flags=re.MULTILINE)))
        return end

    def _field_list(self, lines: Sequence[str], i: int) -> int:
        """Fields as `name: value` lines; before any other text they are the document's metadata, too."""
        at_top = not self.builder.blocks or (len(self.builder.blocks) == 1 and self.builder.blocks[0].kind == "heading")
        found: list[str] = []
        while i < len(lines) and (field := _FIELD.match(lines[i])):
            end = i + 1
            while end < len(lines) and lines[end].startswith(" "):
                end += 1
            value = inline(" ".join([field.group(2) or "", *(line.strip() for line in lines[i + 1 : end])]).strip())
            key = inline(field.group(1))
            found.append(f"{key}: {value}".rstrip(": "))
            if at_top and re.fullmatch(r"[A-Za-z][\w -]{0,40}", key):
                self.fields[key.lower()] = value[:500]
            i = end
        self.builder.add("paragraph", "\n".join(found))
        return i

    def _explicit(self, lines: Sequence[str], i: int, depth: int) -> int:
        """A directive, or a comment, target or footnote."""
        end = _indented_end(lines, i + 1, 1)
        found = _DIRECTIVE.match(lines[i])
        body = _dedented(lines[i + 1 : end])
        if found is None:
            if note := re.match(r"\.\. \[([#*\w.-]+)\] (.*)", lines[i]):
                text = " ".join([note.group(2), *(line.strip() for line in body if line.strip())])
                self.builder.add("paragraph", f"[{note.group(1)}] {inline(text)}")
            return end
        self._directive(found.group(2).lower(), found.group(3).strip(), body, depth)
        return end

    def _directive(self, name: str, argument: str, lines: list[str], depth: int) -> None:
        options, body = _options(lines)
        if name in ("include", "raw", "literalinclude"):
            self.n_included += 1
        if name in _SILENT:
            return
        if name in _CODE:
            language = argument if re.fullmatch(r"[\w+#.-]{1,30}", argument) else ""
            self.builder.add("code", fence("\n".join(body), language))
        elif name in ("image", "figure"):
            self.builder.add("paragraph", inline(options.get("alt", "")))
            self._nested(body, depth)
        elif name in ("csv-table", "list-table", "table"):
            self.builder.add("paragraph", inline(argument))
            self._table(name, options, body, depth)
        elif name == "math":
            self.builder.add("code", fence("\n".join([argument, *body]).strip(), "math"))
        elif name in _NOTES or name in ("versionadded", "versionchanged", "deprecated", "versionremoved"):
            label = name.capitalize() if name != "admonition" else ""
            first = f"{label}: {argument}" if label and argument else argument or (f"{label}:" if body else "")
            self.builder.add("paragraph", inline(first))
            self._nested(body, depth)
        else:
            title = inline(argument)
            self.builder.add("paragraph", f"`{argument}`" if name in _TITLED and argument else title)
            self._nested(body, depth)

    def _nested(self, lines: list[str], depth: int, *, quote: bool = False) -> None:
        """What stands indented: blocks of its own, or one quote where it is plain text."""
        while lines and not lines[0].strip():
            lines = lines[1:]
        if (
            quote
            and lines
            and not any(line.startswith((" ", "..", "+-", "==", ">>>")) or _ITEM.match(line) for line in lines)
        ):
            self.builder.add("quote", quoted(inline("\n".join(lines))))
        elif depth < MAX_DEPTH:
            self.read(lines, depth + 1)
        else:
            self.builder.add("paragraph", "\n".join(line.strip() for line in lines))

    def _table(self, name: str, options: dict[str, str], body: list[str], depth: int) -> None:
        if name == "table":
            self._nested(body, depth)
        elif name == "csv-table":
            head = list(csv.reader([options["header"]], skipinitialspace=True)) if options.get("header") else []
            rows = [*head, *csv.reader([line for line in body if line.strip()], skipinitialspace=True)]
            self.builder.add("table", pipe_table([[inline(cell) for cell in row] for row in rows]))
        else:
            self.builder.add("table", pipe_table(_list_rows(body)))


def inline(text: str) -> str:
    """Running text with its marks as Markdown has them; roles and references keep their words alone."""
    literals: list[str] = []

    def keep(match: re.Match[str]) -> str:
        literals.append(f"`{match.group(1)}`")
        return f"\0{len(literals) - 1}\0"

    text = _LITERAL.sub(keep, text)
    text = _ROLE.sub(lambda match: re.sub(r"\s*<[^<>]*>$", "", match.group(1)).lstrip("~!"), text)
    text = _LINK.sub(r"\1 (\2)", text)
    text = _FOOTNOTE.sub("", text)
    text = _REFERENCE.sub(lambda match: match.group(1) or match.group(2), text)
    text = _INTERPRETED.sub(r"\1", text)
    text = _SUBSTITUTION.sub(r"\1", text)
    text = _ESCAPE.sub(lambda match: match.group(1) or "", text)
    return re.sub("\0(\\d+)\0", lambda match: literals[int(match.group(1))], text)


def _width(line: str) -> int:
    return len(line.strip())


def _paragraph_end(lines: Sequence[str], i: int) -> int:
    while i < len(lines) and lines[i].strip():
        i += 1
    return i


def _indented_end(lines: Sequence[str], i: int, indent: int) -> int:
    """End of the indented lines from i on, blank lines between them included."""
    end = i
    while i < len(lines) and (not lines[i].strip() or lines[i].startswith(" " * indent)):
        i += 1
        if lines[i - 1].strip():
            end = i
    return end


def _dedented(lines: Sequence[str]) -> list[str]:
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return [line[indent:].rstrip() for line in lines]


def _goes_on(lines: Sequence[str], i: int) -> bool:
    """Whether a list goes on behind the blank lines from i on."""
    while i < len(lines) and not lines[i].strip():
        i += 1
    return i < len(lines) and (lines[i].startswith("  ") or bool(_ITEM.match(lines[i])))


def _options(lines: list[str]) -> tuple[dict[str, str], list[str]]:
    """The options at the head of a directive's body, and the rest of it."""
    options: dict[str, str] = {}
    i = 0
    while i < len(lines) and (field := _FIELD.match(lines[i])):
        options[field.group(1).strip().lower()] = (field.group(2) or "").strip()
        i += 1
    rest = lines[i:]
    while rest and not rest[0].strip():
        rest = rest[1:]
    return options, rest


# ---------------------------------------------------------------- tables


def _grid_rows(lines: Sequence[str]) -> list[list[str]]:
    """A grid table's cells. Cells that span columns come first in their row."""
    rows: list[list[str]] = []
    cells: list[list[str]] = []
    for line in lines:
        if _GRID.match(line):
            if cells:
                rows.append([inline(" ".join(part for part in cell if part)) for cell in cells])
            cells = []
            continue
        parts = [part.strip() for part in line.strip().strip("|").split("|")]
        if len(parts) > len(cells):
            cells += [[] for _ in range(len(parts) - len(cells))]
        for cell, part in zip(cells, parts, strict=False):
            cell.append(part if not re.fullmatch(r"[-+=]+", part) else "")
    if cells:
        rows.append([inline(" ".join(part for part in cell if part)) for cell in cells])
    return rows


def _simple_end(lines: Sequence[str], i: int) -> int:
    """End of a simple table: the last of its two or three rules that is followed by a blank line. 0 if it is none."""
    n_rules, end = 1, 0
    for j in range(i + 1, min(len(lines), i + 2000)):
        if _SIMPLE.match(lines[j]):
            n_rules += 1
            end = j + 1
            if n_rules == 3 or j + 1 >= len(lines) or not lines[j + 1].strip():
                return end
        elif lines[j].strip() and lines[j].startswith("=") and not lines[j].strip("= "):
            return 0
    return end


def _simple_rows(lines: Sequence[str]) -> list[list[str]]:
    starts = [match.start() for match in re.finditer(r"=+", lines[0])]
    rows: list[list[str]] = []
    for line in lines[1:]:
        if not line.strip() or _SIMPLE.match(line) or not line.strip("- "):
            continue
        cells = [line[at:end].strip() for at, end in zip(starts, [*starts[1:], None], strict=True)]
        if rows and not cells[0]:
            rows[-1] = [f"{before} {cell}".strip() for before, cell in zip(rows[-1], cells, strict=True)]
        else:
            rows.append(cells)
    return [[inline(cell) for cell in row] for row in rows]


def _list_rows(lines: Sequence[str]) -> list[list[str]]:
    """The cells of a list of lists."""
    rows: list[list[str]] = []
    for line in lines:
        if found := re.match(r"[*-] +[*-](?: +(.*))?$", line):
            rows.append([found.group(1) or ""])
        elif rows and (found := re.match(r" +[*-](?: +(.*))?$", line)) and len(line) - len(line.lstrip()) <= 3:
            rows[-1].append(found.group(1) or "")
        elif rows and line.strip():
            rows[-1][-1] += f" {line.strip()}"
    return [[inline(cell) for cell in row] for row in rows]
