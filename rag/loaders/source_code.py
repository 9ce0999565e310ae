"""Source code: the text as it stands, each top-level definition under a heading that names it.

A scanner of lines with one pattern per family of languages. tree-sitter was considered: exact, but a grammar package for
each language, to find the same places where a chunk should begin.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from rag.loaders.builder import TextBuilder
from rag.loaders.encoding import decode
from rag.types import ParsedDocument

LONG = 80  # lines of a class above which its methods get headings of their own


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


_LANGUAGES = {
    "python": ".py .pyi .pyw .pyx", "javascript": ".js .mjs .cjs .jsx", "typescript": ".ts .tsx .mts .cts", "java": ".java",
    "kotlin": ".kt .kts", "scala": ".scala .sc", "groovy": ".groovy .gradle", "c": ".c .h", "c++": ".cc .cpp .cxx .hh .hpp .hxx .ino",
    "c#": ".cs", "go": ".go", "rust": ".rs", "swift": ".swift", "objective-c": ".m .mm", "dart": ".dart", "php": ".php", "ruby": ".rb .rake",
    "perl": ".pl .pm", "lua": ".lua", "r": ".r", "julia": ".jl", "haskell": ".hs", "ocaml": ".ml .mli", "f#": ".fs .fsx", "elixir": ".ex .exs",
    "erlang": ".erl .hrl", "clojure": ".clj .cljs", "lisp": ".lisp .el .scm", "shell": ".sh .bash .zsh .ksh .fish", "powershell": ".ps1 .psm1",
    "batch": ".bat .cmd", "sql": ".sql", "css": ".css .scss .sass .less", "vue": ".vue .svelte", "protobuf": ".proto", "graphql": ".graphql .gql",
    "solidity": ".sol", "verilog": ".v .sv", "vhdl": ".vhd .vhdl", "fortran": ".f .f90 .f95", "pascal": ".pas", "zig": ".zig", "nim": ".nim",
    "yaml": ".yaml .yml", "toml": ".toml", "ini": ".ini .cfg .conf .properties .env", "terraform": ".tf .tfvars .hcl", "cmake": ".cmake",
    "make": ".mk", "xml": ".xsd .xsl .xslt .dtd", "assembly": ".asm .s", "vb": ".vb .vbs .bas", "diff": ".diff .patch", "nix": ".nix",
}  # fmt: skip
_BY_NAME = {
    "dockerfile": "dockerfile",
    "makefile": "make",
    "gnumakefile": "make",
    "cmakelists.txt": "cmake",
    "jenkinsfile": "groovy",
    "vagrantfile": "ruby",
}
EXTENSIONS = {suffix: language for language, suffixes in _LANGUAGES.items() for suffix in suffixes.split()}

# The words that open a definition, for each family: the kind, then its name.
_PYTHON = re.compile(r"(?:async\s+)?(def|class)\s+(\w+)")
_BRACES = re.compile(
    r"(?:(?:export|default|public|private|protected|internal|static|abstract|final|sealed|open|data|partial|async|unsafe|pub(?:\([^)]*\))?|"
    r"extern|virtual|override|inline|case|declare|unsigned|const|@\w+)\s+){0,6}"
    r"(class|interface|enum|struct|trait|impl|object|record|namespace|module|protocol|extension|type|func|fun|fn|function|macro_rules!|contract)"
    r"(?:\s+|(?=[<(]))(?:<[^<>{]*>\s*)?(?:\([^()]*\)\s*)?([\w$.:~<>, ]*\w>?)"
)
_ARROW = re.compile(
    r"(?:export\s+)?(?:default\s+)?(const|let|var)\s+([\w$]+)\s*(?::[^=]{1,200})?=\s*(?:async\s*)?(?:\([^()]*\)|[\w$]+)\s*(?::[^=]{1,100})?=>"
)
_C_FUNCTION = re.compile(
    r"(?!(?:if|for|while|switch|return|else|do|typedef|case|using|import)\b)[A-Za-z_][\w:<>,*&\[\]~ \t]{0,200}?[\s*&]([\w:~]+)\s*\([^;={}]*\)?\s*(?:const|noexcept|override)?\s*[{,]?\s*$"
)
_RUBY = re.compile(r"(def|class|module)\s+([\w.:?!=<>]+)")
_ELIXIR = re.compile(r"(defmodule|defp?|defmacro)\s+([\w.?!]+)")
_SHELL = re.compile(r"(function)\s+([\w:-]+)|([\w:-]+)\s*\(\)\s*(?:\{|$)")
_SQL = re.compile(
    r"(?i)create\s+(?:or\s+replace\s+)?(?:temp(?:orary)?\s+|unique\s+|materialized\s+)?(table|view|function|procedure|index|trigger|type)\s+(?:if\s+not\s+exists\s+)?([\w.\"`\[\]]+)"
)
_LISP = re.compile(r"\((defn-?|defun|defmacro|define|defclass|defrecord|defprotocol|deftest)\s+\(?([^\s()]+)")
_PATTERNS: dict[str, tuple[re.Pattern[str], ...]] = {
    "python": (_PYTHON,), "ruby": (_RUBY,), "julia": (_BRACES,), "elixir": (_ELIXIR,), "shell": (_SHELL,), "sql": (_SQL,),
    "clojure": (_LISP,), "lisp": (_LISP,), "javascript": (_BRACES, _ARROW), "typescript": (_BRACES, _ARROW), "c": (_BRACES, _C_FUNCTION),
    "c++": (_BRACES, _C_FUNCTION), "java": (_BRACES, _C_FUNCTION), "c#": (_BRACES, _C_FUNCTION), "objective-c": (_BRACES, _C_FUNCTION),
    "dart": (_BRACES, _C_FUNCTION), "powershell": (_BRACES,), "lua": (re.compile(r"(?:local\s+)?(function)\s+([\w.:]+)"),),
    "perl": (re.compile(r"(sub|package)\s+([\w:]+)"),),
}  # fmt: skip
_BRACED = _words("kotlin scala groovy go rust swift php solidity zig vue")
_COMMENT_START = ("#", "//", "/*", "*", "--", ";;", "%", "@", "'''", '"""', "[")
_HOLDS_METHODS = _words("class interface enum struct trait impl object record module protocol extension contract")


def language_of(name: str) -> str:
    """The programming language that a file's name tells; empty for none."""
    path = PurePosixPath(name.replace("\\", "/"))
    return EXTENSIONS.get(path.suffix.lower(), "") or _BY_NAME.get(path.name.lower(), "")


def load(data: bytes, *, name: str, password: str = "") -> ParsedDocument:
    """Read source code. Nothing is taken out; definitions get a heading in front of the comments that belong to them.

    Raises: DocumentError E_BINARY, E_ENCODING.
    """
    text, warnings = decode(data, name=name)
    language = language_of(name)
    lines = text.split("\n")
    builder = TextBuilder()
    at = 0
    for start, level, title in _definitions(lines, language):
        _add_code(builder, lines[at:start])
        builder.add("heading", title, level=level)
        at = start
    _add_code(builder, lines[at:])
    return builder.document(
        type="code",
        title=PurePosixPath(name).name,
        metadata={"language": language} if language else {},
        warnings=warnings,
    )


def _add_code(builder: TextBuilder, lines: Sequence[str]) -> None:
    """Code in blocks that end where a blank line is followed by one that is not indented."""
    start = 0
    for i in range(1, len(lines)):
        if not lines[i - 1].strip() and lines[i].strip() and not lines[i].startswith((" ", "\t", "}", ")", "]")):
            builder.add("code", "\n".join(lines[start:i]))
            start = i
    builder.add("code", "\n".join(lines[start:]))


def _definitions(lines: Sequence[str], language: str) -> Iterator[tuple[int, int, str]]:
    """Where definitions start (with the comments above them), their heading's level, and what they are called."""
    patterns = _PATTERNS.get(language, (_BRACES,) if language in _BRACED else ())
    if not patterns:
        return
    found = [
        (i, depth, kind, called)
        for i, line in enumerate(lines)
        if (depth := _depth(line)) < 2 and (hit := _opens(line, patterns))
        for kind, called in [hit]
    ]
    outer = [(i, kind, called) for i, depth, kind, called in found if depth == 0]
    ends = [*(i for i, _, _ in outer), len(lines)][1:]
    last = -1
    for (i, kind, called), end in zip(outer, ends, strict=False):
        start = _with_comments(lines, i, last + 1)
        yield start, 2, f"{kind} {called}".strip()
        last = i
        if kind not in _HOLDS_METHODS or end - i < LONG:
            continue
        for j, depth, inner_kind, inner in found:
            if depth == 1 and i < j < end:
                start = _with_comments(lines, j, last + 1)
                if start > last:
                    yield start, 3, f"{inner_kind} {called.split()[0]}.{inner}".strip()
                    last = j


def _depth(line: str) -> int:
    """0 for a line without indent, 1 for one level of it, 2 for more."""
    indent = len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())
    return 0 if indent == 0 else 1 if indent <= 4 else 2


def _opens(line: str, patterns: Sequence[re.Pattern[str]]) -> tuple[str, str] | None:
    """The kind and name of the definition that a line opens."""
    line = line.strip()[:400]
    if not line or (line.endswith(";") and _SQL not in patterns):
        return None
    for pattern in patterns:
        if found := pattern.match(line):
            groups = [group for group in found.groups() if group]
            return (groups[0], groups[1].strip()) if len(groups) > 1 else ("", groups[0])
    return None


def _with_comments(lines: Sequence[str], i: int, floor: int) -> int:
    """The first of the comment and decorator lines directly above line i."""
    while i > floor and lines[i - 1].strip().startswith(_COMMENT_START) and lines[i - 1].strip():
        i -= 1
    return i
