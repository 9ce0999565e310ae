"""From an answer with markers to citations with exact offsets, and the check of what the answer claims.

Pure functions: the same answer and passages always give the same citations. Nothing here calls a model.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from rag.names import missing_names, names, other_name
from rag.negation import negation_differs, negation_lost
from rag.numerals import missing_numbers, numbers_and_dates, readings, without_numbers
from rag.text import DENYING, is_han, language, sentences, terms
from rag.types import Citation, Hit

STRONG_SUPPORT = 0.6  # share of a sentence's terms that a passage must hold for a marker to be added
WEAK_SUPPORT = 0.4  # below it, the passage does not bear the sentence out
FEW_TERMS = 1  # of an answer's sentence beyond the question's words
NEAR_QUESTION = 0.25  # share of the question's words that then must stand beside them
FACT_WEIGHT = 3  # of a number or date against a word


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A stretch of a hit as it stands in a prompt: the stored document's text from `start` is `text`."""

    number: int
    hit: Hit
    start: int
    text: str

    @property
    def header(self) -> str:
        """Title and headings, one line."""
        return " > ".join(part for part in (self.hit.context or self.hit.title).split("\n") if part.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """An answer after the check. `text` holds only markers of passages that were shown."""

    text: str
    citations: tuple[Citation, ...]
    unsupported: tuple[str, ...]
    n_sentences: int  # that claim something


def check(text: str, passages: Sequence[Passage], *, question: str) -> Checked:
    """Resolve an answer's markers and test its sentences against the passages.

    Markers in any of the usual forms become [n]; those of passages that were not shown go. A sentence without a marker,
    or with none that holds, gets that of the passage that bears it out, if one clearly does. A citation quotes the
    passage's sentence that fits best, and is supported when the passage holds the cited sentence's numbers, dates and
    names, enough of its words where both are in one language, and the same negation. Sentences without a supported
    citation are listed.
    """
    plain, marked = strip_markers(_unfenced(text), {passage.number for passage in passages})
    citations: list[Citation] = []
    unsupported: list[str] = []
    spans = claims(plain)
    sources = _SOURCES.search(plain)
    listed = sources.start() if sources else len(plain) + 1  # markers from there on tell only where no others do
    for start, end in spans:
        sentence = plain[start:end]
        own = [(place, number) for place, number in marked if _owner(spans, place, plain) == (start, end)]
        own = [(place, number) for place, number in own if place < listed] or own
        found = _cite_all(sentence, passages, {number for _, number in own}, question)
        if not any(citation.supported for citation in found) and (number := best_passage(sentence, passages, question)):
            found = _cite_all(sentence, passages, {number}, question)
            marked = [marker for marker in marked if marker not in own]
            marked.append((own[-1][0] if own else _before_stop(plain, end), number))
        citations += found
        is_said = _says_something(sentence, question) or (bool(found) and not _leads_in(sentence))
        if not any(citation.supported for citation in found) and is_said:
            unsupported.append(sentence)
    return Checked(
        text=with_markers(plain, marked),
        citations=_merged(citations),
        unsupported=tuple(unsupported),
        n_sentences=len(spans),
    )


# ---------------------------------------------------------------- markers

_WORDS_FOR_PASSAGE = "passages?|sources?|documents?|docs?|citations?|cite|ref(?:erence)?s?|(?:参考)?资料|段落|来源|文档|参考(?:文献)?|引用|出处"
_LIST = r"\d{1,3}(?:\s*(?:[,，、;；–-]|and|&|和|与|及)\s*\d{1,3})*"
_ONE = rf"(?:(?:{_WORDS_FOR_PASSAGE})\s*[.:：]?\s*)?#?\d{{1,3}}"
_MARKER = rf"\\?[\[［【〔]\s*\^?{_ONE}(?:\s*(?:[,，、;；~～–-]|and|to|&|和|与|及|至|到)\s*{_ONE})*\s*(?:\^|†[^\]】]{{0,40}}|\\)?[\]］】〕]"
_CUT_OFF = r"[\[［【〔]\s*\d{0,3}\Z"  # where a reply ends at its limit
_LINK = r"(?:\((?:https?:|#|/)[^()\s]{0,300}\))?"  # that some models hang on a marker
_IN_WORDS = (
    rf"[(（]\s*(?:see\s+|cf\.\s*|见|参见)?(?:(?:来源|出处)[:：]\s*)?(?:{_WORDS_FOR_PASSAGE})\s*[.:：]?\s*#?{_LIST}\s*[)）]"
    rf"|(?<=according to )(?:the )?(?:passages?|sources?|documents?)\s+{_LIST}|(?<=based on )(?:passages?|sources?|documents?)\s+{_LIST}"
    rf"|(?<![A-Za-z])(?:passages?|sources?|documents?)\s+{_LIST}(?=\s+(?:(?:also|only|clearly)\s+)?(?:say|state|mention|note|show|describe|explain|indicate|report|list|give)s?\b)"
    rf"|(?<=根据|依据|按照|参见)(?:资料|段落|来源|文档)\s*{_LIST}|(?<=[据见])(?:资料|段落|来源|文档)\s*{_LIST}"
    rf"|(?:资料|段落|来源|文档)\s*{_LIST}(?=(?:中|里|还|也)?(?:提到|提及|指出|显示|表明|说明|介绍|写道|记载|认为|称))"
)
_ENDS = r"(?=\s*(?:[.!?。！？,，;；]|\n|\Z))"
_SMALL = (  # what is a marker only at the end of a clause, and when each number is a passage's
    rf"(?<=\S)[ \t]*[(（]\s*{_LIST}\s*[)）]{_ENDS}|(?<=[^\W\d_]{{3}})\s?[⁰¹²³⁴-⁹]{{1,2}}{_ENDS}|(?<=[.。])[⁰¹²³⁴-⁹]{{1,2}}(?=\s|\Z)"
    rf"|(?<=\S)\s?[①-⑳]+{_ENDS}|(?<=\S)\s?\^{_LIST}\^|(?<=\S)<sup>\s*{_LIST}\s*</sup>"
)
_ROW = rf"{_MARKER}{_LINK}(?:(?:[ ,，、;；]|and|&|和|与|及|[~～–-])*{_MARKER}{_LINK})*"
_MARKERS = re.compile(  # neighbours are one place, with what is put around them
    rf"[(（]\s*(?:see\s+|cf\.\s*|参?见)?(?:(?:sources?|来源|出处|资料)\s*[:：]\s*)?{_ROW}\s*[)）]|\[{_ROW}\]{_LINK}|<sup>\s*{_ROW}\s*</sup>|\^{_ROW}\^"
    rf"|(?P<star>\*{{1,3}}|__?){_ROW}(?P=star)|{_ROW}|{_CUT_OFF}|{_IN_WORDS}|{_SMALL}",
    re.IGNORECASE,
)
_NUMBERS = re.compile(r"(\d{1,3})(?:\s*(?:[~～–-]|\bto\b|至|到)\s*(\d{1,3}))?", re.IGNORECASE)
_ASIDE = re.compile(
    r"†[^\]】]*|\([^()\s]*[:#/][^()\s]*\)"
)  # in and behind a marker, with numbers that are no passages'
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
_WHOLE_FENCE = re.compile(r"\s*```(?:markdown|md|text|txt|plaintext)?[ \t]*\n(.*?)\n?```\s*", re.DOTALL | re.IGNORECASE)
_BLOCK = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_TABLE_HEAD = re.compile(r"^[ \t]*\|?[^\n|]*\|[^\n]*\n[ \t]*\|?[ \t]*:?-{2,}[-:| \t]*$", re.MULTILINE)
_SOURCES = re.compile(  # the label alone, and short lines behind it to the end
    r"^[ \t*_#>]*(?:sources?|references?|citations?|sources? used|(?:参考)?资料(?:来源)?|参考文献|来源|出处|引用)[*_]*[ \t]*[:：][*_]*"
    r"[ \t.,，、;；]*(?:\n+[ \t]*(?:[-*•][ \t]*)?[^\n.。!?！？]{0,60}(?:\.\w{1,5})?)*\s*\Z",
    re.IGNORECASE | re.MULTILINE,
)
_SORRY = r"(?:(?:i['’]?m |i am )?(?:very )?sorry,?\s+|unfortunately,?\s+|however,?\s+|but\s+|note that\s+|(?:based on|according to) (?:the )?(?:provided |given )?(?:passages|documents|sources|context|text|information),?\s+)*"
_SAY = (
    "say|mention|state|specify|tell|indicate|contain|include|provide|give|hold|describe|explain|discuss|cover|address"
)
_TEXTS = "passages?|documents?|sources?|texts?|context|information"
_TELLS_NOTHING = re.compile(
    rf"{_SORRY}(?:the |these |those |any of the )?(?:provided |given |retrieved )?(?:{_TEXTS})(?: provided| given| above)? "
    rf"(?:do|does|did)(?:\s+not|n['’]t) (?:\w+ly )?(?:{_SAY})\b[^,;:]*"
    rf"|{_SORRY}there (?:is|are) no (?:\w+ )?(?:mention|information|indication|details?|reference|answer)\b[^,;:]*"
    rf"|{_SORRY}[^,;:]* (?:is|are|was|were)(?: not|n['’]t) (?:\w+ly )?(?:mentioned|stated|specified|provided|given|described|included|indicated) in (?:the |these |any of the )?(?:provided |given )?(?:{_TEXTS})\W*"
    rf"|{_SORRY}i (?:can(?:no|['’])t|could(?: not|n['’]t)|am (?:unable|not able) to)\b[^,;:]*"
    r"|(?:(?:很|非常)?(?:抱歉|遗憾)|但是?|不过|然而|另外|，|,)*(?:根据)?(?:这些|所给|提供的|给出的|上述|以上)*(?:资料|文档|段落|文中|原文)(?:中|里|内)?(?:并|也|都)*"
    r"(?:(?:没有|未|不)(?:直接|明确|具体)*(?:提到|提及|说明|说|包含|包括|提供|给出|涉及|记载|指出|介绍|写明)|[，,]?(?:我)?(?:无法|不能)(?:确定|得知|判断|回答|知道))[^，；：,]*"
    r"|(?:很|非常)?抱歉[，,]我?(?:无法|不能)[^，；：,]*"
    r"|(?:this|the above) information (?:comes|is taken|is) from (?:the )?(?:passages?|documents?|sources?)\W*"
    r"|(?:以上|这些)(?:信息|内容|数据)(?:均|都)?(?:来自|出自|来源于)[^，；：,]{0,4}(?:资料|文档|段落)\W*",
    re.IGNORECASE,
)
_HEADING = re.compile(r"[ \t]*#{1,6}[ \t]")
_STOPS = ".!?。！？…"
_BRACKETS = "[［【〔"
_FEW = frozenset(range(1, 21))  # numbers of passages; a larger one in round brackets is a number
_ITEM = re.compile(
    r"[\s*_]*(?:[-•+]\s+)?[\s*_]*(?:\d{1,3}[.)](?=[\s*_])|\d{1,3}[)、．）]|\d{1,3}[.](?=[\u4e00-\u9fff])|[(（]\d{1,3}[)）]|[①-⑳]"
    r"|(?:step|point|item)\s+\d{1,3}\s*[:.)]|(?:步骤|第)\s*[\d一二三四五六七八九十]{1,3}\s*(?:步|点)?\s*[:：，、.]|[一二三四五六七八九十]{1,3}、)[\s*_]*",
    re.IGNORECASE,
)


def _unfenced(text: str) -> str:
    """An answer without the code block that some models put around all of it."""
    whole = _WHOLE_FENCE.fullmatch(text)
    return whole[1] if whole and "```" not in whole[1] else text


def strip_markers(text: str, known: set[int]) -> tuple[str, list[tuple[int, int]]]:
    """The text without its markers, and for each marker of a `known` passage its place in that text and its number.

    What looks like a marker inside code stays. "(1)" and ¹ are markers only where there are none in square brackets.
    """
    bracketed = any(_is_bracketed(match.group()) for match in _MARKERS.finditer(text))
    code = [match.span() for match in _CODE.finditer(text)]
    plain, places, last = "", [], 0
    for match in _MARKERS.finditer(text):
        if any(start <= match.start() < end for start, end in code):
            continue
        numbers = _numbers_of(match.group())
        if not _is_bracketed(match.group()) and (bracketed or not set(numbers) <= known & _FEW):
            continue
        plain += text[last : match.start()]
        if plain.endswith(" ") and text[match.end() : match.end() + 1] in (*_STOPS, *" \n,;:，；：、", ""):
            plain = plain.rstrip(" ")
        places += [(len(plain), number) for number in numbers if number in known]
        last = match.end()
        if plain[-1:] in (*".!?",) and text[last : last + 1].isalpha():
            plain += "" if is_wide(text[last]) else " "  # "France.[2]It"
    return plain + text[last:], list(dict.fromkeys(places))


def _is_bracketed(marker: str) -> bool:
    return any(sign in marker for sign in _BRACKETS)


def with_markers(plain: str, places: Iterable[tuple[int, int]]) -> str:
    """The text with markers [n] put back; each number once per place, in order."""
    text, last = "", 0
    for place, number in sorted(set(places)):
        text += plain[last:place]
        marker = f"[{number}]"
        glued = text[-1:] in ("", " ", "\n", "[") or text[-1:] == "]" or (text and is_wide(text[-1]))
        text += marker if glued else f" {marker}"
        last = place
        if plain[place : place + 1].isalnum():
            text += " "
    return text + plain[last:]


def is_wide(char: str) -> bool:
    """Whether no blank is usual behind a character: Chinese and its punctuation."""
    return is_han(char) or "\u3000" <= char <= "\u303f" or "\uff00" <= char <= "\uffef"


def claims(plain: str) -> list[tuple[int, int]]:
    """Spans of the sentences of an answer from which markers have been taken.

    The number of a list item is no part of what the item claims. Headings, the head of a table, code blocks, a list of the
    sources at the end, and what says that the passages do not tell something claim nothing.
    """
    spans, begin = [], 0
    for stop, after in [*_asides(plain), (len(plain), len(plain))]:
        for start, end in sentences(plain[begin:stop]):
            start, end = begin + start, begin + end
            if item := _ITEM.match(plain, start):
                start = min(item.end(), end)
            line = plain.rfind("\n", 0, start) + 1
            is_claim = any(char.isalnum() for char in plain[start:end]) and not _HEADING.match(plain, line)
            if is_claim and not _TELLS_NOTHING.fullmatch(plain, start, end):
                spans.append((start, end))
        begin = after
    return spans


def _asides(plain: str) -> list[tuple[int, int]]:
    """Code blocks, the heads of tables and the list of the sources, in order; none inside another."""
    found: list[tuple[int, int]] = []
    spans = (match.span() for pattern in (_BLOCK, _TABLE_HEAD, _SOURCES) for match in pattern.finditer(plain))
    for start, end in sorted(spans):
        if not found or start >= found[-1][1]:
            found.append((start, end))
    return found


def _numbers_of(marker: str) -> list[int]:
    """The numbers that a marker such as "[1, 3-5]" lists; a range too long to be meant names its ends."""
    marker = re.sub("[①-⑳⁰¹²³⁴-⁹]", lambda sign: f" {unicodedata.normalize('NFKC', sign.group())}", marker)
    listed: list[int] = []
    for first, last in _NUMBERS.findall(_ASIDE.sub("", marker)):
        ends = [int(first), int(last or first)]
        listed += range(ends[0], ends[1] + 1) if ends[1] - ends[0] < 10 else ends
    return listed


def _owner(spans: Sequence[tuple[int, int]], place: int, plain: str) -> tuple[int, int] | None:
    """The sentence that a marker belongs to: the one before it, or behind it when the marker begins its line."""
    line = plain.rfind("\n", 0, place) + 1
    if not plain[line:place].strip(" \t-*•#>"):
        following = next((span for span in spans if span[1] > place), None)
        if following is not None:
            return following
    before = [span for span in spans if span[0] < place]
    return before[-1] if before else (spans[0] if spans else None)


def _before_stop(plain: str, end: int) -> int:
    while end > 0 and plain[end - 1] in _STOPS:
        end -= 1
    return end


# ---------------------------------------------------------------- citing


def cite(sentence: str, passage: Passage, question: str = "") -> Citation:
    """The citation of a passage for one sentence of an answer: the best fitting stretch of it, and whether it bears it out."""
    start, end = best_quote(sentence, passage.text, question)
    quote = passage.text[start:end]
    hit = passage.hit
    return Citation(
        marker=passage.number,
        chunk_id=hit.chunk_id,
        doc_id=hit.doc_id,
        source=hit.source,
        title=hit.title,
        quote=quote,
        start=passage.start + start,
        end=passage.start + end,
        page=hit.page_of(passage.start + start),
        supported=is_supported(sentence, passage, quote, question),
    )


def best_quote(sentence: str, text: str, question: str = "") -> tuple[int, int]:
    """Span of the one or two neighbouring sentences of `text` that share most with an answer's sentence.

    Shared are words, numbers and dates; the question's words decide between equals. When nothing is shared, as between
    two languages, the span is the whole text.
    """
    spans = sentences(text)
    if not spans:
        return 0, len(text)
    claimed, asked = evidence(sentence), evidence(question)
    held = [evidence(text[start:end]) for start, end in spans]
    singles = [(_shared(claimed, one, asked), i, i) for i, one in enumerate(held)]
    best = max(singles, key=lambda scored: (scored[0], -scored[1]))
    if best[0] < 1:
        return spans[0][0], spans[-1][1]
    pairs = [
        (_shared(claimed, held[i] | held[j], asked) - 1.0, i, j)
        for i, j in pairwise(range(len(spans)))
        if best[1] in (i, j)
    ]
    _, first, last = max([best, *pairs], key=lambda scored: (scored[0], -scored[1]))
    return spans[first][0], spans[last][1]


def is_supported(sentence: str, passage: Passage, quote: str, question: str = "") -> bool:
    """Whether a passage bears a sentence out, as far as can be told without understanding either."""
    whole = f"{passage.header}\n{passage.text}"
    if missing_facts(sentence, whole, question):
        return False
    if spoken(sentence, question) != language(passage.text):
        return not negation_lost(sentence, quote)
    if not _says_something(sentence, question) and not numbers_and_dates(
        sentence
    ):  # "Yes." says what the question asks
        if _YES.match(sentence):
            start, end = best_quote(question, passage.text)
            sentence, quote = question, passage.text[start:end]
        return support(question, whole) >= WEAK_SUPPORT and not negation_differs(sentence, quote)
    return (
        support(sentence, whole, question) >= WEAK_SUPPORT
        and not negation_differs(sentence, quote)
        and not other_name(sentence, quote, whole, question)
    )


def support(sentence: str, text: str, question: str = "") -> float:
    """Share of a sentence's terms that `text` holds; numbers and dates count three times, however they are written.

    Terms of the question are left out, if others remain.
    """
    claimed = evidence(sentence) - DENYING
    own = claimed - evidence(question) or claimed
    held = own & _held(text)
    held |= {term for term in own - held if is_han(term[0]) and term in text}  # cut otherwise there: 含 of 茶不含
    return _weight(held) / _weight(own) if own else 0.0


def _weight(keys: Iterable[str]) -> int:
    return sum(FACT_WEIGHT if key[0] == "#" else 1 for key in keys)


def _cite_all(sentence: str, passages: Sequence[Passage], numbers: set[int], question: str) -> list[Citation]:
    """A citation of each of the passages; where none bears the sentence out alone, they may do it together."""
    cited = [passage for passage in passages if passage.number in numbers]
    found = [cite(sentence, passage, question) for passage in cited]
    if len(cited) < 2 or any(citation.supported for citation in found):
        return found
    together = replace(cited[0], text="\n\n".join(f"{one.header}\n{one.text}".strip() for one in cited))
    quotes = "\n\n".join(citation.quote for citation in found)
    if not is_supported(sentence, together, quotes, question):
        return found
    own = evidence(sentence) - evidence(question)
    return [replace(one, supported=bool(own & _held(one.quote))) for one in found]


def best_passage(sentence: str, passages: Sequence[Passage], question: str) -> int:
    """Number of the passage that clearly bears out a sentence, or 0.

    Between two languages only shared numbers, dates and names count, and there must be some. An answer of a word or a
    number alone, which may stand anywhere, counts where the question's words are near.
    """
    scored = []
    for passage in passages:
        whole = f"{passage.header}\n{passage.text}"
        start, end = best_quote(sentence, passage.text, question)
        if not is_supported(sentence, passage, passage.text[start:end], question):
            continue
        short = len(evidence(sentence) - evidence(question)) <= FEW_TERMS
        if spoken(sentence, question) == language(passage.text):
            score = support(sentence, whole, question)
            near = support(question, f"{passage.header}\n{passage.text[start:end]}")
            if short and near < NEAR_QUESTION:
                continue
        else:
            score = float(
                not short and bool(numbers_and_dates(sentence) or _latin_names(sentence) - _latin_names(question))
            )
        if score >= STRONG_SUPPORT:
            scored.append((score + 0.5 * support(question, whole), -passage.number))
    return -max(scored)[1] if scored else 0


def spoken(sentence: str, question: str) -> str:
    """Language of an answer's sentence; that of the question when it is made of numbers and signs."""
    return language(sentence) if any(char.isalpha() for char in sentence) else language(question)


def _latin_names(text: str) -> set[str]:
    """Names in Chinese text that can be looked up in English text."""
    return {name for name in names(text) if name.isascii()} if language(text) == "zh" else set()


_YES = re.compile(r"\W*(?:yes\W|是的?[，。,.]|对的?[，。,.]|可以[，。,.]|能[，。,.])[^\w]*\Z", re.IGNORECASE)


def _leads_in(sentence: str) -> bool:
    return sentence.rstrip().endswith((":", "：")) and not numbers_and_dates(sentence)


def _says_something(sentence: str, question: str) -> bool:
    """Whether a sentence claims more than yes, no or what the question said, and does not just lead in a list."""
    if _leads_in(sentence):
        return False
    return bool(terms(sentence) - DENYING - terms(question) - {"yes", "no", "不是", "是的"})


def _merged(citations: Sequence[Citation]) -> tuple[Citation, ...]:
    """One citation per marker and quote; supported when each sentence that it stands for is."""
    merged: dict[tuple[int, int, int], Citation] = {}
    for citation in citations:
        key = (citation.marker, citation.start, citation.end)
        first = merged.get(key, citation)
        merged[key] = replace(citation, supported=citation.supported and first.supported)
    return tuple(merged.values())


@lru_cache(maxsize=2000)
def evidence(text: str) -> frozenset[str]:
    """Terms, numbers and dates of a text, as one set of keys that are equal across ways of writing."""
    rest, small = without_numbers(text)
    counted = {term for term in terms(rest) if not term[0].isdigit()}
    return frozenset(counted | small | {f"#{number}" for number in numbers_and_dates(text)})


@lru_cache(maxsize=500)
def _held(text: str) -> frozenset[str]:
    """Evidence that a text holds: its numbers in each way that they can be read."""
    meant = readings(text)
    return evidence(text) | meant | {f"#{number}" for number in meant}


def _shared(claimed: frozenset[str], held: frozenset[str], asked: frozenset[str]) -> float:
    facts = sum(1 for key in claimed & held if key[0] == "#")
    return (
        len((claimed - asked) & held) + 0.5 * len(claimed & asked & held) + facts + 0.25 * len((asked - claimed) & held)
    )


# ---------------------------------------------------------------- facts: numbers, dates, names


def missing_facts(sentence: str, text: str, question: str = "") -> set[str]:
    """Numbers, dates and names of a sentence that `text` does not hold. Names that the question brings up count as held."""
    return missing_numbers(sentence, text) | missing_names(sentence, text, question)
