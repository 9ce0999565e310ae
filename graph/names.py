"""Names: how they are cleaned, and the key under which spellings of one name meet. Pure functions."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from rag.text import is_han

MAX_NAME = 200  # characters; what is longer is a sentence
_QUOTES = "\"'`“”‘’«»‹›「」『』《》〈〉"
_EDGES = _QUOTES + " \t\r\n.,;:!?·•-–—_*#|/\\()[]{}（）【】，。；：！？、"
_ARTICLE = re.compile(r"(?:the|a|an)\s+(?=\S)", re.IGNORECASE)
_POSSESSIVE = re.compile(r"['’`´]s$", re.IGNORECASE)
_BRACKETS = re.compile(r"\s*[(（]([^()（）]*)[)）]\s*$")
_BLANKS = re.compile(r"\s+")
_SEPARATORS = re.compile(r"[\s\-‐‑–—_./,'’`´\"“”:;!?()（）&·・•]+")


def clean(name: str) -> str:
    """A name without quotes, white space and punctuation around it; brackets that belong to it stay closed."""
    name = _BLANKS.sub(" ", name).strip()
    inner = name.strip(_EDGES)
    if inner.count("(") > inner.count(")") and ")" in name:
        inner += ")"
    if inner.count("（") > inner.count("）") and "）" in name:
        inner += "）"
    if name.endswith(".") and re.search(r"\b(?:[A-Z]\.)*[A-Z]$|\b(?:Jr|Sr|Inc|Co|Ltd|St)$", inner):
        inner += "."
    return _POSSESSIVE.sub("", inner)


@lru_cache(maxsize=200_000)
def key(name: str) -> str:
    """Names with one key are the same name: case, width, accents, articles and punctuation do not count.

    Empty for what holds no letter and no digit.
    """
    if name.isascii():
        folded = name.lower()
    else:
        decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold())
        folded = "".join(char for char in decomposed if not unicodedata.combining(char))
        folded = unicodedata.normalize("NFC", folded)
    folded = _ARTICLE.sub("", folded.strip(), count=1) if folded.strip() not in ("a", "the", "an") else folded
    folded = _SEPARATORS.sub(" ", folded).strip()
    return folded if any(char.isalnum() for char in folded) else ""


def without_brackets(name: str) -> tuple[str, str]:
    """A name and what follows it in brackets: "Theodred II (Bishop of Elmham)" → ("Theodred II", "Bishop of Elmham")."""
    match = _BRACKETS.search(name)
    if match is None or match.start() == 0:
        return name, ""
    return name[: match.start()].strip(), match.group(1).strip()


def is_name(name: str) -> bool:
    """Whether it can be a node: it has a key of at least two characters (one, if Chinese) and is no sentence."""
    found = key(name)
    return bool(found) and len(name) <= MAX_NAME and (len(found) > 1 or is_han(found)) and len(found.split()) <= 16
