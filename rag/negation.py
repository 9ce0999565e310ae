"""Whether one text denies what another states, in English and Chinese. Pure functions that know words, not meaning."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from rag.text import sentences, terms, words

NEGATION_OVERLAP = 0.6  # of a claim with a clause, for their negations to be compared
NEGATED_TERMS = 2  # behind a negation, taken to be what it denies
SHORT = {"en": 120, "zh": 50}  # characters of a sentence that is compared across languages

# Denials of one word put as denials of its opposite, so that "prohibited" is "not allowed"; and negations that deny nothing.
_PLAINLY = tuple(
    (re.compile(pattern, re.IGNORECASE), plain)
    for pattern, plain in (
        (r"\b(?:no|without(?: a)?) doubt\b(?: that)?|\bnot only\b|不得不|不能不|毫?无疑问?|无不", " "),
        (r"(?:\b(?:do|does|did|will|would|is|are|was|were)\s+not|n['’]t)\b(?=(?:(?!\band\b)[^.,;]){0,40}\buntil\b)", " "),
        (r"\b(?:not|never)\s+(?:prohibited|forbidden|banned)\b", "allowed"),
        (r"\b(?:prohibit(?:s|ed)?|forbids?|forbade|forbidden|banned)\b", "not allowed"),
        (r"\b(?:permit(?:s|ted)|allows?)\b", "allowed"),
        (r"\b(?:reject(?:s|ed)?|refuse[sd]?|den(?:y|ies|ied))\b", "not accepted"),
        (r"\b(?:accepts?|approve[sd]?)\b", "accepted"),
        (r"\b(?:un|in|im|il)(safe|suitable|available|likely|successful|necessary|effective|correct|valid|sufficient|possible|legal)\b", r"not \1"),
        ("不禁止", " 可以 "),
        ("不允许|不可以|不得|不能|不可(?![能行])|不许|不准|不要|禁止|严禁|请勿|切勿|勿", " 不 可以 "),
        ("允许|准许|可以|能够|获准", " 可以 "),
        ("不接受|不同意|拒绝|反对|否决", " 不 接受 "),
        ("接受|同意|批准|赞成", " 接受 "),
        ("不同(?=于|[，。；,;]|$)", " 不 相同"),
        ("从没有|从没|从未", " 没有 "),
        ("(?<!没)有", " 有 "),
    )
)  # fmt: skip
_NOT = re.compile(
    r"\b(?:not(?!\s+only\b)|no|never|none|neither|nor|nobody|nothing|nowhere|hardly|scarcely|cannot|without|unable|lack(?:s|ed|ing)?"
    r"|fail(?:s|ed|ing)?|avoid(?:s|ed|ing)?)\b|n['’]t\b"
    r"|不(?![仅但断少过管论久止只料同时惜愧乏妨锈])|没有?(?![收落])|未(?![来必])|并非|无法|(?P<lone>无)",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[,;:，；：—]|\s-\s|\bbut\b|而是")
_FAINT = re.compile(
    r"\b(?:rarely|seldom|few|little|only|unless|until|unlike|except|non|free|less|\w+less|without)\b|\b(?:un|dis|inequ|fail|lack)\w*"
    r"|很少|几乎|除|非|缺|失败|不平|不足|不良|难|才|免|否|不同|不断|不仅|以外|[未不]必",
    re.IGNORECASE,
)  # what denies in one wording and not in another


def negation_differs(sentence: str, quote: str) -> bool:
    """Whether a word is denied in a sentence and stated in the clause of the quote that is most like it, or the reverse."""
    if sentence.strip() in quote:
        return False
    sentence = plainly(sentence)
    claimed = terms(affirmed(sentence))
    clauses = [plainly(quote[start:end]) for start, end in sentences(quote)]
    clauses = [clause for one in clauses for clause in (one, *_CLAUSE.split(one)) if clause.strip()]
    scored = [(len(claimed & terms(affirmed(clause))), -len(clause), clause) for clause in clauses]
    if not scored or max(scored)[0] < NEGATION_OVERLAP * len(claimed):
        return False
    clause = max(scored)[2]
    mine, theirs = denials(sentence), denials(clause)
    if {len(mine), len(theirs)} == {0, 2} or _rarely(sentence) != _rarely(clause):  # two may cancel each other
        return False
    return _denies(mine, theirs, terms(affirmed(clause))) or _denies(theirs, mine, claimed)


def _denies(mine: Sequence[frozenset[str]], theirs: Sequence[frozenset[str]], stated: set[str]) -> bool:
    """Whether a denial has no counterpart in another text, which states what it denies."""
    return any(denied & stated and not any(denied & other for other in theirs) for denied in mine)


def negation_lost(sentence: str, quote: str) -> bool:
    """Whether of two short single sentences in two languages one denies something and the other nothing."""
    for text in (sentence, quote):
        limit = SHORT["en"] if text.isascii() else SHORT["zh"]
        if len(text) > limit or len(sentences(text)) != 1 or _CLAUSE.search(text) or _FAINT.search(text):
            return False
    return bool(_NOT.search(plainly(sentence))) != bool(_NOT.search(plainly(quote)))


@lru_cache(maxsize=1000)
def plainly(text: str) -> str:
    """A text with its denials put in one way: "prohibited" and "not permitted" both as "not allowed"."""
    for pattern, plain in _PLAINLY:
        text = pattern.sub(plain, text)
    return text


def affirmed(text: str) -> str:
    """A text without its negations: in Chinese they run into the words behind them, 不适用于 into 不适 and 用于."""
    return _NOT.sub(" ", text)


def denials(text: str) -> list[frozenset[str]]:
    """For each negation the terms right behind it, up to the end of its clause; 无 denies the next one only."""
    found = []
    for match in _NOT.finditer(text):
        clause = _CLAUSE.split(text[match.end() : match.end() + 60])[0]
        kept = terms(clause)
        denied = [term for term in words(clause) if term in kept]
        found.append(frozenset(denied[: 1 if match["lone"] else NEGATED_TERMS]))
    return found


def _rarely(text: str) -> bool:
    return bool(re.search(r"\b(?:rarely|seldom|few)\b|很少|几乎", text, re.IGNORECASE))
