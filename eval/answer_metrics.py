"""Metrics of one answer: how near it comes to a reference, and whether what it says and cites stands in the text.

All are between 0 and 1, need no model, and give the same figure for the same text.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rag.citations import Passage, best_passage, claims, is_supported, strip_markers
from rag.citations import best_quote as _best_quote
from rag.prompts import says_no_answer
from rag.text import is_han, language, tokens
from rag.types import Hit

_ARTICLES = frozenset({"a", "an", "the"})
_MOST_ROUGE_TOKENS = 4_000  # the longest common subsequence takes time in the product of both lengths
_ANY_MARKER = set(range(1000))


def plain(text: str) -> str:
    """An answer without its citation markers."""
    return strip_markers(text, _ANY_MARKER)[0]


def normalised(text: str) -> str:
    """Folded for comparison as SQuAD does: one width, lower case, no articles, no punctuation; Chinese without blanks."""
    folded = unicodedata.normalize("NFKC", text).lower()
    letters = "".join(char if char.isalnum() else " " for char in folded)
    kept = " ".join(word for word in letters.split() if word not in _ARTICLES)
    return re.sub(r"(?<=[^\x00-\u2fff]) | (?=[^\x00-\u2fff])", "", kept)


def by_word(text: str) -> list[str]:
    """Words in order without articles; Chinese cut into words by jieba."""
    return [word for word in tokens(text) if word not in _ARTICLES]


def by_character(text: str) -> list[str]:
    """Chinese character by character, other words whole: what figures of Chinese sets are given in."""
    return _characters(by_word(text))


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1 when the normalised answer is one of the normalised references."""
    return float(normalised(answer) in {normalised(reference) for reference in references})


def holds(answer: str, references: Sequence[str]) -> float:
    """1 when one of the references stands in the answer, as whole words, or as a stretch of Chinese."""
    said = f" {normalised(answer)} "
    return float(any(_stands_in(normalised(reference), said) for reference in references))


def token_f1(answer: str, references: Sequence[str], *, cut: Callable[[str], Sequence[str]] = by_word) -> float:
    """Best F1 of the tokens, counted with repeats, over the references.

    Source: Rajpurkar et al., EMNLP 2016, arXiv:1606.05250; by character for Chinese: Cui et al., arXiv:1810.07366.
    """
    said = Counter(cut(answer))
    return max((_f1(said, Counter(cut(reference))) for reference in references), default=0.0)


def rouge_l(answer: str, references: Sequence[str]) -> float:
    """Best F-measure of the longest common subsequence over the references; Chinese by character.

    Source: Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004, aclanthology.org/W04-1013.
    """
    said = _characters(tokens(answer))[:_MOST_ROUGE_TOKENS]
    wanted = (_characters(tokens(reference))[:_MOST_ROUGE_TOKENS] for reference in references)
    return max((_rouge(said, one) for one in wanted), default=0.0)


def same_language(answer: str, question: str) -> float:
    """1 when the answer is in the question's language. An answer of numbers and signs alone is in any."""
    said = plain(answer)
    return float(not any(map(str.isalpha, said)) or language(said) == language(question))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What an answer's sentences stand on.

    precision: share of its citations whose passage bears the cited sentence out.
    recall: share of its sentences with such a citation. groundedness: share that some passage it was given bears out,
    cited or not. Of an answer that says nothing all three are 0.
    """

    precision: float
    recall: float
    groundedness: float
    n_sentences: int
    n_citations: int


def evidence_of(answer: str, passages: Mapping[int, str], *, question: str, read: Sequence[str] = ()) -> Evidence:
    """Check an answer's sentences and markers [1], [2] … against the passages that the markers stand for.

    read: further texts that the answer may come from; they count for groundedness only.

    A passage bears a sentence out when it holds its numbers, dates and names, enough of its words where both are in one
    language, and the same negation; see rag/citations.py. A marker of a passage that was not given bears nothing out.
    Source: citation precision and recall as in Gao et al., EMNLP 2023, arXiv:2305.14627, without its entailment model.
    """
    shown = {number: _passage(number, text) for number, text in passages.items()}
    all_read = [*shown.values(), *(_passage(0, text) for text in read if text not in passages.values())]
    text, markers = strip_markers(answer, _ANY_MARKER)
    spans = claims(text)
    own: list[set[int]] = [set() for _ in spans]
    for place, number in markers if spans else ():
        own[max(0, sum(start < place for start, _ in spans) - 1)].add(
            number
        )  # a marker belongs to the sentence before it
    n_good = n_cited = n_covered = n_grounded = 0
    for (start, end), numbers in zip(spans, own, strict=True):
        borne = [number in shown and _bears_out(shown[number], text[start:end], question) for number in sorted(numbers)]
        n_cited, n_good, n_covered = n_cited + len(borne), n_good + sum(borne), n_covered + any(borne)
        n_grounded += any(borne) or any(_bears_out(one, text[start:end], question, alone=True) for one in all_read)
    return Evidence(
        precision=n_good / n_cited if n_cited else 0.0,
        recall=n_covered / len(spans) if spans else 0.0,
        groundedness=n_grounded / len(spans) if spans else 0.0,
        n_sentences=len(spans),
        n_citations=n_cited,
    )


_REFUSALS = re.compile(
    r"\b(?:cannot|can't|can not|could not|couldn't|unable to|not able to) (?:be )?(?:answer|find|determine|say|tell|provide)"
    r"|\b(?:do(?:es)?|did) not (?:say|state|mention|contain|hold|include|provide|specify|give)|\b(?:is|are|was|were) not "
    r"(?:mentioned|stated|given|provided|specified|in the)|\bno (?:answer|information|mention)\b|insufficient information"
    r"|i (?:do not|don't) know|无法(?:回答|确定|得知|判断|找到|提供)|没有(?:提到|提及|说明|给出|相关|足够|找到|答案|包含)|未(?:提到|提及|说明|给出|包含|找到)"
    r"|不(?:知道|清楚|包含)|信息不足|资料不足",
    re.IGNORECASE,
)


def declines(answer: str) -> bool:
    """Whether an answer of any system says that it does not know: empty, our agreed sentence, or a usual turn of phrase."""
    return not answer.strip() or says_no_answer(answer) or bool(_REFUSALS.search(answer))


# ---------------------------------------------------------------- inside


def _stands_in(reference: str, said: str) -> bool:
    if not reference:
        return False
    return (
        reference in said if any(map(is_han, reference)) else f" {reference} " in said or _beside_han(reference, said)
    )


def _beside_han(reference: str, said: str) -> bool:
    """In Chinese text a number or Latin word stands without blanks."""
    return bool(re.search(rf"(?<![a-z0-9]){re.escape(reference)}(?![a-z0-9])", said)) and any(map(is_han, said))


def _characters(words: Sequence[str]) -> list[str]:
    return [piece for word in words for piece in (word if is_han(word[0]) else [word])]


def _f1(said: Counter[str], wanted: Counter[str]) -> float:
    if not said or not wanted:
        return float(said == wanted)
    return 2 * (said & wanted).total() / (said.total() + wanted.total())


def _rouge(said: Sequence[str], wanted: Sequence[str]) -> float:
    if not said or not wanted:
        return 0.0
    return 2 * _common_subsequence(said, wanted) / (len(said) + len(wanted))


def _common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, a bit for each token of `a`.

    Source: Hyyrö, Bit-parallel LCS-length computation revisited, 2004.
    """
    places: dict[str, int] = {}
    for at, token in enumerate(a):
        places[token] = places.get(token, 0) | 1 << at
    whole = (1 << len(a)) - 1
    row = whole
    for token in b:
        matched = row & places.get(token, 0)
        row = ((row + matched) | (row - matched)) & whole
    return len(a) - row.bit_count()


def _passage(number: int, text: str) -> Passage:
    hit = Hit(rank=number, chunk_id="", doc_id="", source="", title="", score=0.0, text=text, start=0, end=len(text))
    return Passage(number=number, hit=hit, start=0, text=text)


def _bears_out(passage: Passage, sentence: str, question: str, *, alone: bool = False) -> bool:
    """alone: without a marker that says so, the passage must clearly bear the sentence out."""
    if alone:
        return best_passage(sentence, [replace(passage, number=1)], question) == 1
    start, end = _best_quote(sentence, passage.text, question)
    return is_supported(sentence, passage, passage.text[start:end], question)
