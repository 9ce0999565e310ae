"""Small pure functions on English and Chinese text: sentences, words for BM25, language, safe cuts."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

Span = tuple[int, int]

# Words that ask: a passage that holds them asks, too, and answers nothing.
_ASKING_WORDS = "什么 怎么 怎样 怎么样 如何 哪里 哪些 哪个 哪 几 多少 为什么 谁 是否 哪种 哪位 哪家 何时 何"
_ASKING = frozenset(_ASKING_WORDS.split())

# One grapheme may hold any number of combining marks; Unicode's stream-safe format allows 30 (UAX 15, D3).
MAX_GRAPHEME = 32

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_CLOSERS = "\"'”’»」』）】》〉)\\]}*_"

_END = re.compile(
    rf"(?<![.!?…])[.!?…]++[{_CLOSERS}]*+(?=\s|$|[{_HAN}])"  # Latin: the end of a sentence needs a blank, or Chinese right after it
    rf"|[。！？；｡…]++[{_CLOSERS}]*+"
    r"|\n[ \t]*\n\s*"  # a blank line
    r"|\n(?=[ \t]*(?:[-*+•][ \t]|\d{1,9}[.)][ \t]|\#{1,6}[ \t]|\||>|```|~~~))"  # a line that starts something new
)
_LINE_OF_ITS_OWN = re.compile(r"#{1,6}[ \t]|\|")
_BEFORE_DOT = re.compile(r"[^\W_]+(?:\.[^\W_]+)*\Z")
_WORD = re.compile(
    rf"[{_HAN}{_KANA}]++|\d++(?:[.,]\d++)++|(?:(?![{_HAN}{_KANA}])[^\W_])++(?:['’](?:(?![{_HAN}{_KANA}])[^\W_])++)*+"
)
_HAN_OR_KANA = re.compile(rf"[{_HAN}{_KANA}]")
_HAN_CHAR = re.compile(f"[{_HAN}]")
_UNSPACED = re.compile(rf"[{_HAN}{_KANA}]++")  # runs that are written without blanks between words
_LATIN_WORD = re.compile(rf"(?:(?![{_HAN}{_KANA}])[^\W\d_])++")
SHOUTED_WORDS = 3
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\u00ad]")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NEVER_ENDS = _set(
    "dr mr mrs ms prof st mt rev gen sen rep gov capt col lt sgt hon pres messrs vs e.g i.e cf viz approx resp incl "
    "esp ca al eds jan feb apr jun jul aug sept oct nov dec dept univ assn bros"
)
_NUMBERED = _set("no nos pop fig figs eq eqs sec sect ch chap vol vols p pp art par tab app nr ref refs ver v")

_STOP = _set(
    "a about above after again all also am an and any are as at be because been before being below between both but by "
    "can could did do does doing down during each few for from further had has have having he her here hers him his how "
    "i if in into is it its itself just me more most my no nor not of off on once only or other our ours out over own "
    "same she should so some such than that the their theirs them then there these they this those through to too under "
    "until up very was we were what when where which while who whom why will with would you your yours"
)

_FUNCTION_WORDS = "的 了 是 在 有 和 与 及 或 被 把 为 以 于 之 其 这 那 也 都 就 而 并 着 过 地 得 等 个 吗 呢 不 没 没有 未 它 他 她 们 该 由 从 到 对 将 会 能 可 要"
FUNCTION_WORDS = _set(_FUNCTION_WORDS)
_DENYING = (
    "never cannot none nobodi nowher noth anyth anyon anybodi anywher neither without unabl hard scarc bare prohibit forbidden forbid ban "  # stemmed
    "从未 从没 从不 从来不 从来 并非 并不 不是 无法 尚未 没 不能 不会 不可 不得 不许 不准 不要 禁止 严禁 请勿 勿 无"
)
DENYING = _set(_DENYING)  # denials are compared apart, not looked up


def sentences(text: str) -> list[Span]:
    """Spans of the sentences of `text`, in order, without the white space around them.

    Together they cover every character that is not white space. A blank line, a heading, a list item and a table row
    end a sentence; a decimal point, an abbreviation and an initial do not. Runs in linear time.
    """
    spans: list[Span] = []
    start = 0
    for match in _END.finditer(text):
        end = match.end()
        if match.group()[0] == "." and not _dot_ends(text, match.start(), end):
            continue
        if match.group()[0] == "…" and text[end : end + 2].lstrip()[:1].islower():
            continue  # words left out
        if end < len(text) and text[end] >= "\u0300" and grapheme_cut(text, end) != end:
            continue  # a combining mark on the full stop itself
        start = _add_span(text, start, end, spans)
    _add_span(text, start, len(text), spans)
    return spans


def words(text: str) -> list[str]:
    """Index terms of `text` for BM25: English lower-cased, stemmed and without stop words; Chinese words and sub-words.

    Chinese is cut by jieba in search mode, so that a long word is found by its parts too. Compatibility forms (full
    width, ligatures) and upper case are folded, invisible characters dropped; numbers stay whole.
    """
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    terms: list[str] = []
    for run in _WORD.findall(text.lower()):
        if run[0] > "\u2fff" and _HAN_OR_KANA.match(run):
            terms.extend(_jieba().cut_for_search(run))
        elif (term := run.replace("’", "'")) not in _STOP:
            terms.append(_stem(term.removesuffix("'s")))
    return terms


def terms(text: str) -> set[str]:
    """Index terms that carry meaning: without stop words, in Chinese too, and without "not", which is compared apart."""
    return {term for term in words(text) if term not in FUNCTION_WORDS and not term.endswith("n't")}


def spaced(text: str, *, pairs: bool = True, asking: bool = True) -> str:
    """The text with blanks between its words, for an index that cuts at blanks; Latin words stay as they are.

    pairs: each two neighbouring characters of Chinese are a term beside the words, so that no cut hides a word; such terms
    and words together rank better than either (docs/benchmarks.md). asking: leave in the Chinese words that ask.
    Compatibility forms are folded and invisible characters dropped.
    """
    if text.isascii():
        return text

    def terms(run: re.Match[str]) -> str:
        chars = run.group()
        found = [*_jieba().cut(chars), *(chars[at : at + 2] for at in range(len(chars) - 1) if pairs)]
        return f" {' '.join(term for term in found if asking or term not in _ASKING)} "

    return _UNSPACED.sub(terms, _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)))


def without_shouting(text: str) -> str:
    """The text in small letters where it is words in capitals alone; three make it more than a name.

    Embedding models that tell capitals apart find far less for "HOW IS TEA BREWED" (docs/ablation.md).
    """
    shouted = len(text.split()) >= SHOUTED_WORDS and all(char.isupper() for char in text if char.isalpha())
    return text.lower() if shouted else text


def stem(word: str) -> str:
    """The stem of a lower-case English word; other words stay as they are."""
    return str(_stemmer()(word))


def is_stop_word(word: str) -> bool:
    """Whether a lower-case word is one that English texts hold whatever they are about."""
    return word in _STOP


def tokens(text: str) -> list[str]:
    """The words of `text` in order, none inside another, folded but neither stemmed nor dropped: for comparing two texts."""
    found: list[str] = []
    for run in _WORD.findall(_INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).lower()):
        is_cjk = run[0] > "\u2fff" and _HAN_OR_KANA.match(run)
        found.extend(_jieba().cut(run) if is_cjk else [run.replace("’", "'")])
    return found


def tagged(text: str) -> list[tuple[str, str, bool]]:
    """The words of Chinese text, each with jieba's tag of its part of speech, and whether the dictionary has it."""
    return [(word, tag, _jieba().has_word(word)) for word, tag in _jieba().tag(text)]


def nouns(text: str) -> list[tuple[str, bool]]:
    """The Chinese nouns of two characters and more in a text, in order, and whether each is a name. Parts of a person's name are one."""
    found: list[tuple[str, str]] = []
    for word, tag, _ in tagged(unicodedata.normalize("NFKC", text)):
        if tag == "nr" and found and found[-1][1] == "nr":
            found[-1] = found[-1][0] + word, tag
        else:
            found.append((word, tag))
    return [(word, tag in _NAME_TAGS) for word, tag in found if tag[0] == "n" and len(word) > 1 and is_han(word[0])]


_NAME_TAGS = frozenset({"nr", "nrt", "nrfg", "ns", "nt", "nz"})  # persons, places, organisations, others


def language(text: str) -> str:
    """`zh` when Chinese characters carry most of the text, else `en`. A Chinese word counts 1.6 characters."""
    sample = text[:20_000]
    if sample.isascii():
        return "en"
    n_han = len(_HAN_CHAR.findall(sample))
    return "zh" if n_han > 1.6 * len(_LATIN_WORD.findall(sample)) else "en"


def is_han(char: str) -> bool:
    """Whether one character is a Chinese character."""
    return bool(_HAN_CHAR.match(char))


def is_word_boundary(text: str, at: int) -> bool:
    """Whether a cut before text[at] leaves the words on both sides whole. Chinese may be cut between any two characters."""
    if at <= 0 or at >= len(text):
        return True
    before, after = text[at - 1], text[at]
    if before.isspace() or after.isspace():
        return True
    if before > "\u2fff" or after > "\u2fff":
        return bool(_HAN_OR_KANA.match(before + after) or _HAN_OR_KANA.match(after) or _closes(before)) and not _closes(
            after
        )
    return not (before.isalnum() and after.isalnum()) and before not in "'’.,-_" and after not in "'’.,-_;:!?)]}\""


def grapheme_cut(text: str, at: int) -> int:
    """The last place at or before `at` where a cut splits no user-perceived character.

    Looks back at most MAX_GRAPHEME code points: a longer pile of combining marks is cut where it is.
    """
    if at <= 0 or at >= len(text):
        return min(max(at, 0), len(text))
    before, after = text[at - 1], text[at]
    if (
        before < "\u0300"
        and after < "\u0300"
        and not (before == "\r" and after == "\n")
        and "\u00ad" not in (before, after)
    ) or ("\u4e00" <= after <= "\u9fff" and "\u4e00" <= before <= "\u9fff"):
        return at
    low = max(0, at - MAX_GRAPHEME)
    bounds = [low + match.start() for match in _grapheme().finditer(text[low : at + MAX_GRAPHEME])]
    inner = [
        bound for bound in bounds if bound <= at and (bound > low or low == 0)
    ]  # where the look starts is no bound
    return inner[-1] if inner else at


def grapheme_end(text: str, at: int) -> int:
    """The end of the user-perceived character that starts at `at`, at most MAX_GRAPHEME code points on."""
    match = _grapheme().match(text[at : at + MAX_GRAPHEME])
    return at + (match.end() if match else 1)


def _add_span(text: str, start: int, end: int, spans: list[Span]) -> int:
    """Note text[start:end] as a sentence, headings and table rows in it as sentences of their own; return `end`."""
    piece = text[start:end]
    stop = start + len(piece.rstrip())
    start += len(piece) - len(piece.lstrip())
    while start < stop and text[start] in "#|" and _LINE_OF_ITS_OWN.match(text, start):
        newline = text.find("\n", start, stop)
        if newline < 0:
            break
        spans.append((start, start + len(text[start:newline].rstrip())))
        start = newline + len(text[newline:stop]) - len(text[newline:stop].lstrip())
    if start < stop:
        spans.append((start, stop))
    return end


def _dot_ends(text: str, dot: int, end: int) -> bool:
    """Whether the full stop at `dot` ends a sentence; text[end] is the first character behind it and its closers."""
    if end - dot > 1 and text[dot + 1] in ".!?":
        return not (end < len(text) and text[end : end + 2].strip()[:1].islower())
    following = text[end : end + 40].lstrip()
    if not following:
        return True
    if following[0].islower():
        return False
    found = _BEFORE_DOT.search(text[max(0, dot - 24) : dot])
    if found is None:
        return True
    word = found.group()
    lower = word.lower()
    if lower in _NEVER_ENDS or (lower in _NUMBERED and following[0].isdigit()):
        return False
    if len(word) == 1 and word.isupper() and word.isascii():
        return word == "I" and following[0].isupper()
    return not _is_item_number(text, dot, word)


def _is_item_number(text: str, dot: int, word: str) -> bool:
    """`1.` at the start of a line numbers an item."""
    line = text.rfind("\n", max(0, dot - 24), dot) + 1
    return word.isdigit() and len(word) <= 3 and text[line:dot].strip() == word if line or dot <= 24 else False


def _closes(char: str) -> bool:
    return char in "，。！？；：、”’」』）】》〉…"


@lru_cache(maxsize=20_000)
def _stem(term: str) -> str:
    return _stemmer()(term) if term.isalpha() and term.isascii() else term


@lru_cache(maxsize=1)
def _grapheme() -> Any:
    import regex

    return regex.compile(r"\X")


@lru_cache(maxsize=1)
def _jieba() -> Any:
    # jieba's Rust port: the tokenizer that Milvus' analyzer uses too, and unlike jieba it keeps no marshal file in the
    # temporary folder, where another user could put one of his own.
    import rjieba

    return rjieba


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    import threading

    import Stemmer

    local = threading.local()  # a Stemmer object must not be shared between threads

    def stem(word: str) -> str:
        if not hasattr(local, "stem"):
            local.stem = Stemmer.Stemmer("english").stemWord
        return str(local.stem(word))

    return stem
