"""Metadata that people write about their documents: front matter, sidecar files, and what a path says.

All of it is data from strangers: YAML is read without aliases (which grow), tags (which build objects) or YAML 1.1's
surprises (`no` is a word here, `12:30` no number), and everything is limited in size. The only home of yaml.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

from rag.errors import SettingsError

MAX_FRONT_MATTER = 20_000  # characters
MAX_SIDECAR = 256_000  # bytes
MAX_KEYS = 64
MAX_VALUE = 2_000  # characters of a text
MAX_ITEMS = 200  # of a list
MAX_DEPTH = 20
SIDECAR_ENDS = (".meta.json", ".meta.yaml", ".meta.yml")

_YAML_FRONT = re.compile(r"---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_TOML_FRONT = re.compile(r"\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})(?::([a-z]+))?\}")
_TYPES = {
    "str": r"[^/]+?",
    "int": r"-?\d{1,18}",
    "float": r"-?\d{1,15}(?:\.\d{1,15})?",
    "bool": r"(?i:true|false|yes|no)",
    "date": r"\d{4}-\d{2}-\d{2}",
}


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A pattern such as `{department}/{year:int}/*`, ready to match. `types` names the type of each field."""

    text: str
    regex: re.Pattern[str]
    types: Mapping[str, str]


def describe(
    source: str,
    *,
    root: str = "",
    patterns: Sequence[PathPattern] = (),
    front: Mapping[str, Any] | None = None,
    sidecar: tuple[str, bytes] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """The metadata of a document, and what could not be used.

    source, root: the document's source and that of the folder that was imported (see sources.root_name).
    front: what its loader found inside: front matter, a page's author. sidecar: see sources.sidecar.
    Where several name one key, the sidecar wins over the inside, and that over the path.
    """
    values = from_path(source, root, patterns)
    values |= front or {}
    if sidecar is None:
        return values, []
    found, warnings = from_sidecar(sidecar[1], sidecar[0])
    return values | found, warnings


def fingerprint(
    source: str, *, root: str = "", patterns: Sequence[PathPattern] = (), sidecar: tuple[str, bytes] | None = None
) -> str:
    """16 hex digits that change when what describes a document from outside does; empty where nothing does."""
    values = from_path(source, root, patterns)
    if not values and sidecar is None:
        return ""
    given = json.dumps([values, sidecar[0] if sidecar else ""], ensure_ascii=False, sort_keys=True)
    content = given.encode("utf-8", "replace") + b"\0" + (sidecar[1] if sidecar else b"")
    return hashlib.sha256(content).hexdigest()[:16]


# ---------------------------------------------------------------- path


def path_patterns(texts: Iterable[str]) -> tuple[PathPattern, ...]:
    """Patterns of the setting ingest.path_patterns.

    `{name}` is a field, `{year:int}` one with a type (str, int, float, bool, date as 2026-11-28), `*` any part of a
    name, `**` any number of folders. A pattern has to match the whole path below the imported folder, and each value
    its type.
    Raises: SettingsError.
    """
    return tuple(_pattern(text) for text in texts)


def from_path(source: str, root: str, patterns: Sequence[PathPattern]) -> dict[str, Any]:
    """The values of all patterns that match the source's path below the root; later patterns win."""
    if not patterns:
        return {}
    below = _below(source, root)
    values: dict[str, Any] = {}
    for pattern in patterns:
        if match := pattern.regex.fullmatch(below):
            values |= {name: _typed(text, pattern.types[name]) for name, text in match.groupdict().items()}
    return values


def _below(source: str, root: str) -> str:
    folder = root.rstrip("/") + "/"
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source):
        return unquote(urlsplit(source).path).strip("/")
    return source[len(folder) :] if root and source.startswith(folder) else source.rpartition("/")[2]


def _pattern(text: str) -> PathPattern:
    types: dict[str, str] = {}
    parts: list[str] = []
    for segment in text.strip("/").split("/"):
        if segment == "**":
            parts.append("**")
            continue
        done = 0
        regex = ""
        for field in _FIELD.finditer(segment):
            name, kind = field.group(1), field.group(2) or "str"
            if kind not in _TYPES or name in types:
                reason = "is there twice" if name in types else f"has the unknown type {kind!r}"
                raise SettingsError(
                    f"Setting ingest.path_patterns: {{{name}}} of {text!r} {reason}. Types are {', '.join(_TYPES)}."
                )
            types[name] = kind
            regex += _literal(segment[done : field.start()], text) + f"(?P<{name}>{_TYPES[kind]})"
            done = field.end()
        parts.append(regex + _literal(segment[done:], text))
    joined = "/".join(parts)
    joined = joined.replace("**/", "(?:[^/]+/)*").replace("/**", "(?:/[^/]+)*").replace("**", ".*")
    return PathPattern(text=text, regex=re.compile(joined), types=types)


def _literal(text: str, pattern: str) -> str:
    if not text.isprintable() or re.search(r"[{}]|\*\*", text):
        raise SettingsError(
            f"Setting ingest.path_patterns: {pattern!r} is no pattern. Write fields as {{name}} or {{name:int}}, ** between slashes."
        )
    return re.escape(text).replace(r"\*", "[^/]*")


def _typed(text: str, kind: str) -> Any:
    if kind == "int":
        return int(text)
    if kind == "float":
        return float(text)
    return text.lower() in ("true", "yes") if kind == "bool" else text


# ---------------------------------------------------------------- front matter


def front_matter(text: str) -> tuple[dict[str, Any], int, list[str]]:
    """The values of a text's front matter, the offset where the text behind it starts, and warnings.

    YAML between lines of `---`, TOML between lines of `+++`, at the very start. ({}, 0, []) where there is none, or
    nothing that can be read.
    """
    head = text[:MAX_FRONT_MATTER]
    match, read = (
        (_TOML_FRONT.match(head), _toml) if head.startswith("+++") else
        (_YAML_FRONT.match(head), _yaml) if head.startswith("---") else (None, _yaml)
    )  # fmt: skip
    if match is None:
        return {}, 0, []
    try:
        tree = read(match.group(1))
    except ValueError as error:
        return {}, 0, [f"The front matter cannot be read: {error}."]
    if not isinstance(tree, dict) or not tree:
        return {}, 0, []
    values, warnings = flat(tree, "front matter")
    end = match.end()
    return values, end + len(text[end:]) - len(text[end:].lstrip("\n")), warnings


def from_sidecar(data: bytes, name: str) -> tuple[dict[str, Any], list[str]]:
    """The values of a sidecar file, and warnings; a sidecar that cannot be read is a warning and no values."""
    if len(data) > MAX_SIDECAR:
        return {}, [f"{name} has more than {MAX_SIDECAR:,} bytes and was not read."]
    try:
        text = data.decode("utf-8-sig")
        tree = _json(text) if name.lower().endswith(".json") else _yaml(text)
    except ValueError as error:
        return {}, [f"{name} cannot be read: {error}."]
    if not isinstance(tree, dict):
        return {}, [f"{name} holds no keys with values and was not used."]
    return flat(tree, name)


def sidecar_names(name: str) -> tuple[str, ...]:
    """What a document's sidecar may be called, the first first: a.pdf.meta.json, a.meta.json, then YAML."""
    stem = name.rpartition(".")[0] or name
    return tuple(dict.fromkeys(base + end for end in SIDECAR_ENDS for base in (name, stem)))


def flat(tree: Mapping[Any, Any], name: str) -> tuple[dict[str, Any], list[str]]:
    """Values that metadata can hold: texts, numbers, booleans, dates as ISO 8601 texts, lists of texts.

    Keys become lower case. What does not fit is left out, and a warning says which.
    """
    values: dict[str, Any] = {}
    left_out: list[str] = []
    for key, value in tree.items():
        plain = _plain(value)
        if not isinstance(key, (str, int, float)) or plain is None or len(values) == MAX_KEYS:
            if value not in (None, "", [], {}):
                left_out.append(str(key)[:40])
        elif plain not in ("", []):
            values[" ".join(str(key).lower().split())[:64]] = plain
    if not left_out:
        return values, []
    return values, [f"{name}: left out, because only plain values and lists are kept: {', '.join(left_out[:10])}."]


def _plain(value: Any) -> Any:
    """A value for metadata; None for what is none."""
    if isinstance(value, str):
        return value.strip()[:MAX_VALUE].encode("utf-8", "replace").decode()
    if isinstance(value, bool) or isinstance(value, int) and abs(value) < 2**63:
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, list):
        items = [_plain(item) for item in value[:MAX_ITEMS] if not isinstance(item, (list, dict))]
        return [_text(item) for item in items if item not in (None, "")] if items or not value else None
    return None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _toml(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _yaml(text: str) -> Any:
    """Raises: ValueError, with the reason in one line."""
    import yaml

    try:
        return _loader()(text).get_single_data()
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or str(error)
        mark = getattr(error, "problem_mark", None)
        raise ValueError(" ".join(problem.split()) + (f" (line {mark.line + 1})" if mark else "")) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


@cache
def _loader() -> Any:
    """PyYAML's SafeLoader without aliases, and with numbers and booleans as YAML 1.2 has them."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases are not read")
            if self.depth > MAX_DEPTH:
                raise yaml.YAMLError("it is nested too deeply")
            self.depth += 1
            try:
                return super().compose_node(parent, index)
            finally:
                self.depth -= 1

    for tag, regex, first in (
        ("bool", r"(?i:true|false)$", "tTfF"),
        ("int", r"[-+]?(?:0|[1-9]\d{0,17})$", "-+0123456789"),
        ("float", r"[-+]?\d{1,15}\.\d{1,15}(?:[eE][-+]?\d{1,2})?$", "-+0123456789"),
        ("null", r"(?:~|null|Null|NULL|)$", "~nN\0"),
    ):
        Loader.add_implicit_resolver(
            f"tag:yaml.org,2002:{tag}", re.compile(regex), list(first) if first != "~nN\0" else ["~", "n", "N", ""]
        )
    return Loader
