"""Whether one text denies what another states, in English and Chinese. Pure functions that know words, not meaning."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from rag.text import sentences, stem, terms, words

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
        (r"\b(?:un|in|im|il)(safe|suitable|available|likely|successful|necessary|effective|correct|valid|sufficient|possible|legal|clear|common|known|usual|complete|certain|aware|conclusive|reliable|stable|related)\b", r"not \1"),
        (r"\bnot\s+(?:un|in|im|il)(?=(?:common|clear|known|usual|likely|possible|aware|safe|important|significant)\b)", " "),
        ("必须|务必|须要", " 需要 "),
        ("无需|无须|毋需|毋须|不用(?!于)|不必|不须", "不 需要 "),
        ("从来?不|从来没有?", " 没有 "),
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
    r"\b(?:not(?!\s+only\b)|no(?!\.\s?\d)|never|none|neither(?!\b.{1,60}\bnor\b)|nor|nobody|nothing|nowhere|hardly|scarcely|cannot|without|unable|lack(?:s|ed|ing)?"
    r"|fail(?:s|ed|ing)?|avoid(?:s|ed|ing)?)\b|n['’]t\b"
    r"|不(?![仅但断少过管论久止只料同时惜愧乏妨锈])|没有?(?![收落])|未(?![来必])|并非|无法|(?P<lone>无)",
    re.IGNORECASE,
)
_WEAK = re.compile(
    "lack|fail|avoid", re.IGNORECASE
)  # may mean something else: they answer a denial, but are none that counts
_ALLOWING = frozenset({"allow", "accept", "可以", "接受"})
_CLAUSE = re.compile(r"[,;:，；：—]|\s-\s|\bbut\b|而是")
_FAINT = re.compile(
    r"\b(?:rarely|seldom|few|little|only|unless|until|unlike|except|non|free|less|\w+less|without)\b|\b(?:un|dis|inequ|fail|lack)\w*"
    r"|很少|几乎|除|非|缺|失败|不平|不足|不良|难|才|免|否|不同|不断|不仅|以外|[未不]必",
    re.IGNORECASE,
)  # what denies in one wording and not in another


@dataclass(frozen=True, slots=True)
class _Denial:
    """What a negation denies. accuses: how many of its words another text must not state."""

    words: tuple[str, ...]
    accuses: int


_REPLY = re.compile(
    r"\W*(?:yes|no|是的?|对的?|不是?的?|没有)\s*[,，.。!！:：—-]+\s*(?=\w)", re.IGNORECASE
)  # before what is claimed


def negation_differs(sentence: str, quote: str) -> bool:
    """Whether a word is denied in a sentence and stated in the clause of the quote that is most like it, or the reverse."""
    sentence = _REPLY.sub("", sentence, count=1) if _REPLY.match(sentence) else sentence
    if (at := quote.find(sentence.strip())) >= 0 and not _NOT.search(_CLAUSE.split(quote[max(0, at - 60) : at])[-1]):
        return False
    if _denied_in_place(sentence, quote):
        return True
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
    # A passage denies much that an answer does not speak of: of its denials the first word counts, mostly the verb.
    return _denies(mine, denials(plainly(quote)), terms(affirmed(clause)), NEGATED_TERMS) or _denies(
        theirs, mine, claimed, 1
    )


def _denies(mine: Sequence[_Denial], theirs: Sequence[_Denial], stated: set[str], n: int) -> bool:
    """Whether another text states one of the first `n` words of what is denied, and denies neither it nor what it leaves out."""
    return any(
        stated.intersection(one.words[: min(n, one.accuses)])
        and not any(not other.words or set(one.words) & set(other.words) for other in theirs)
        for one in mine
    )


# ---------------------------------------------------------------- the same words around a negation

AROUND = 2  # words on each side of a negation, in Chinese characters
BEHIND = 6  # words behind it, taken to be what it denies
SHORTEST = 4  # words of such a place, the negation included
_NO = "¬"
_AS_NO = tuple(
    (re.compile(pattern), plain)
    for pattern, plain in (
        (r"\bwon['’]t\b", f"will {_NO} "), (r"\bcannot\b|\bcan['’]t\b", f"can {_NO} "), (r"n['’]t\b", f" {_NO} "),
        (r"\bno longer\b|\bfail(?:s|ed|ing)? to\b|\b(?:not|no|never|none|nobody|no one)\b", f" {_NO} "),
        (r"\bneither\b", f" {_NO} "), (r"\bnor\b", f" {_NO} and "), (r"\bwithout\b", f" {_NO} with "),
        (r"\b(?:un|in|im|ir|il|dis|non-?)(?=[a-z]{4})", f" {_NO} "),
        (r"(.)不\1|有没有|[是能可]否", r"\1"),
        ("无法|从未|从没有?|从来?不|从来没有?|没有?|禁止|严禁|请勿|不(?![过已])|[未无非勿]", f" {_NO} "),
    )
)  # fmt: skip
_SAME = {
    form: one
    for one, forms in (
        ("be", "is are was were been being am"), ("have", "has had"), ("can", "could able"), ("will", "would"),
        ("", "a an the do does did done any still both either also ever yet to manage manages managed managing"),
        ("", "有 了 过 着 的 得 并 曾 已 经 尚 还 也 都 再 就 是 能 会 可 以 够 要 允 许 即 才 被"),
    )
    for form in forms.split()
}  # fmt: skip
_APART = re.compile("[\u3400-\u9fff]")
_MARKED = re.compile(rf"{_NO}|\d+(?:[.,]\d+)*|[^\W\d_]+|[^\W_]")


@lru_cache(maxsize=500)
def _marked(text: str) -> tuple[str, ...]:
    """The words of a text, Chinese ones by character, with its negations as one sign; two of them running are none."""
    text = unicodedata.normalize("NFKC", text).lower().replace(_NO, " ")
    for pattern, plain in _AS_NO:
        text = pattern.sub(plain, text)
    found: list[str] = []
    for word in _MARKED.findall(_APART.sub(r" \g<0> ", text)):
        word = _SAME.get(word, word)
        if word == _NO and found[-1:] == [_NO]:
            found.pop()
        elif word:
            found.append(stem(word) if word.isascii() else word)
    return tuple(found)


@lru_cache(maxsize=500)
def _places(text: str) -> tuple[dict[tuple[str, ...], frozenset[str]], frozenset[tuple[str, ...]]]:
    """The places of a text with a negation, each with the words behind it, and those without one."""
    denied: dict[tuple[str, ...], frozenset[str]] = {}
    plain: list[str] = []
    at_denied: list[int] = []
    for word in _marked(text):
        if word == _NO:
            at_denied.append(len(plain))
        else:
            plain.append(word)
    for at in at_denied:
        denied[_window(plain, at)] = frozenset(plain[at : at + BEHIND])
    return denied, frozenset(_window(plain, at) for at in range(len(plain) + 1) if at not in at_denied)


def _window(words: Sequence[str], at: int) -> tuple[str, ...]:
    """The words around a place between them, AROUND on each side, at an edge more on the other."""
    start = max(0, min(at - AROUND, len(words) - 2 * AROUND))
    return (*words[start:at], _NO, *words[at : start + 2 * AROUND])


def _denied_in_place(one: str, other: str) -> bool:
    """Whether the same words stand around a negation in one text and around none in the other, which does not deny them elsewhere."""
    mine, theirs = _places(one), _places(other)
    return any(
        len(place) >= SHORTEST and place in there[1] and place not in here[1] and place not in there[0]
        and not any(_is_same(behind, elsewhere) for around, elsewhere in there[0].items() if around not in here[0])
        for here, there in ((mine, theirs), (theirs, mine))
        for place, behind in here[0].items()
    )  # fmt: skip


def _is_same(behind: frozenset[str], elsewhere: frozenset[str]) -> bool:
    return 2 * len(behind & elsewhere) > min(len(behind), len(elsewhere))


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


def denials(text: str) -> list[_Denial]:
    """Each negation with the terms right behind it, up to the end of its clause; 无 denies the next one only."""
    found = []
    for match in _NOT.finditer(text):
        clause = _CLAUSE.split(text[match.end() : match.end() + 60])[0]
        kept = terms(clause) - {"ever"}
        denied = [term for term in words(clause) if term in kept][: 1 if match["lone"] else NEGATED_TERMS]
        accuses = 0 if _WEAK.match(match.group()) else 1 if _ALLOWING.intersection(denied[:1]) else NEGATED_TERMS
        found.append(_Denial(tuple(denied), accuses))
    return found


def _rarely(text: str) -> bool:
    return bool(re.search(r"\b(?:rarely|seldom|few)\b|很少|几乎", text, re.IGNORECASE))
