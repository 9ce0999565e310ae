"""What a reader gets in place of the chunks that were found: parents, neighbours, sentence windows, a summary's sources.

Small chunks are found more precisely, larger ones are read better. A hit that was expanded is still the document's
text[start:end], so that quotes from it are exact. Pure functions; texts come from the catalog through ExpandParts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from rag.text import sentences, words
from rag.types import Hit

MODES = ("implied", "none", "parent", "neighbours", "window", "auto")
MERGE_SHARE = 0.5  # of a parent's text that hits must cover before it replaces them
AROUND = 2000  # characters on each side in which a sentence window is looked for
SOURCE_CHARS = 1200  # of the text that stands in for a summary


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpandParts:
    """text: a document's text. spans: (start, end) of its chunks of level 0, in order."""

    text: Callable[[str], str]
    spans: Callable[[str], Sequence[tuple[int, int]]]


def implied(strategy: str) -> str:
    """The mode that a chunking strategy is made for."""
    return {"sentence-window": "window", "parent-child": "auto"}.get(strategy, "none")


def changes(hits: Sequence[Hit], mode: str) -> bool:
    """Whether expanding may change any of the hits: without summaries "none" changes nothing."""
    return mode != "none" or any(hit.level for hit in hits)


def expand(hits: Sequence[Hit], *, mode: str, parts: ExpandParts, question: str = "", n: int = 1) -> tuple[Hit, ...]:
    """The hits as a reader gets them, in their order, ranked anew; of hits that become the same text the first stays.

    mode: parent: the parent of each hit that has one. auto: the parent where hits cover half of it, else the hit.
    neighbours: with n chunks on each side. window: the parent, else n sentences on each side. none: as it is.
    Hits of level 1 and above are summaries: in every mode the sentences of their span that are about the question take
    their place. A hit whose document is gone stays as it is, unless it is a summary.
    """
    text, spans = cache(parts.text), cache(parts.spans)
    merged = _merged(hits) if mode == "auto" else frozenset()
    shown: dict[tuple[str, int, int], Hit] = {}
    for hit in hits:
        whole = text(hit.doc_id) if hit.level or mode != "none" else ""
        if hit.level:
            start, end = best_stretch(whole, hit.start, hit.end, question)
        else:
            start, end = _span(hit, mode, whole, merged, n, spans)
        if hit.level and start >= end:
            continue
        if not any(key[0] == hit.doc_id and key[1] <= start and end <= key[2] for key in shown):
            shown[hit.doc_id, start, end] = _at(hit, start, end, whole)
    return tuple(replace(hit, rank=rank) for rank, hit in enumerate(shown.values(), start=1))


def _at(hit: Hit, start: int, end: int, whole: str) -> Hit:
    if (start, end) == (hit.start, hit.end) and not hit.level:
        return hit
    return replace(hit, start=start, end=end, text=whole[start:end], level=0)


def _span(
    hit: Hit,
    mode: str,
    whole: str,
    merged: frozenset[tuple[str, int, int]],
    n: int,
    spans: Callable[[str], Sequence[tuple[int, int]]],
) -> tuple[int, int]:
    start, end = hit.start, hit.end
    if whole[start:end] != hit.text:
        return start, end  # the document has changed since
    parent = _parent(hit)
    if parent and (mode in ("parent", "window") or (mode == "auto" and (hit.doc_id, *parent) in merged)):
        start, end = min(parent[0], start), max(parent[1], end)
    elif mode == "neighbours":
        there = spans(hit.doc_id)
        at = next((index for index, one in enumerate(there) if one == (start, end)), None)
        if at is not None:
            start, end = there[max(at - n, 0)][0], max(one[1] for one in there[at : at + n + 1])
    elif mode == "window":
        before = [
            start - len(whole[max(0, start - AROUND) : start]) + a
            for a, _ in sentences(whole[max(0, start - AROUND) : start])
        ]
        after = [end + b for _, b in sentences(whole[end : end + AROUND])]
        start = before[-n:][0] if n and before else start
        end = after[:n][-1] if n and after else end
    return start, end


def _parent(hit: Hit) -> tuple[int, int] | None:
    return None if hit.parent_start is None or hit.parent_end is None else (hit.parent_start, hit.parent_end)


def _merged(hits: Sequence[Hit]) -> frozenset[tuple[str, int, int]]:
    """The parents of which hits cover more than MERGE_SHARE, so that they replace them."""
    covered: dict[tuple[str, int, int], set[tuple[int, int]]] = {}
    for hit in hits:
        if (parent := _parent(hit)) and not hit.level:
            covered.setdefault((hit.doc_id, *parent), set()).add((hit.start, hit.end))
    return frozenset(
        key for key, found in covered.items() if sum(b - a for a, b in found) > MERGE_SHARE * (key[2] - key[1])
    )


def best_stretch(whole: str, start: int, end: int, question: str) -> tuple[int, int]:
    """The neighbouring sentences of whole[start:end], about SOURCE_CHARS long, that hold most of the question's words."""
    spans = [(start + a, start + b) for a, b in sentences(whole[start:end])]
    if not spans:
        return start, start
    asked = set(words(question))
    held = [asked & set(words(whole[a:b])) for a, b in spans]
    best, best_key, last = (0, 1), (-1, -1), 0
    for first in range(len(spans)):
        last = max(last, first + 1)
        while last < len(spans) and spans[last][1] - spans[first][0] <= SOURCE_CHARS:
            last += 1
        inside = held[first:last]
        key = (len(set().union(*inside)), sum(map(len, inside)))
        if key > best_key:
            best, best_key = (first, last), key
    return spans[best[0]][0], min(spans[best[1] - 1][1], spans[best[0]][0] + 2 * SOURCE_CHARS)
