"""Near duplicates: groups of documents that say almost the same, found in time that grows with the number of documents.

Every document is a set of shingles, three words or Chinese characters in a row. Sets are compared by what they share:
the Jaccard similarity. MinHash signatures cut into bands say which pairs are worth comparing at all; each of those is
then compared exactly, so a similarity that is shown is never an estimate.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rag.errors import UsageError
from rag.types import DocumentInfo

SHINGLE = 3
N_BINS = 256  # values of a signature
LOWEST_THRESHOLD = 0.3  # below, nearly every pair has to be compared
_MISS = 1e-4  # how often a pair exactly at the threshold may be overlooked
_NEIGHBOURS = 16  # documents of one bucket that each is compared with, so that a thousand equal forms stay linear
_TRIES = 64
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_UNIT = re.compile(rf"[{_HAN}]|(?:(?![{_HAN}])\w)+")
_PROBES = np.random.default_rng(1).integers(0, N_BINS, (_TRIES, N_BINS))  # where an empty bin looks for a value


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two documents and the share of their shingles that both have, 0 to 1."""

    doc_id: str
    other: str
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateGroup:
    """Documents that are alike, in order of their source. Each is in a pair with another one of the group.

    pairs: those that tie the group together, one fewer than documents; the most similar first.
    """

    documents: tuple[DocumentInfo, ...]
    pairs: tuple[Pair, ...]


def near_duplicates(
    texts: Iterable[tuple[str, str]], *, load: Callable[[str], str], threshold: float
) -> list[tuple[Pair, ...]]:
    """Pairs of documents whose similarity is at least `threshold`, one tuple per group of documents that hang together.

    texts: (doc_id, text), read once; a text without words is left out. load: the text of a doc_id, for comparing.
    A group of n documents has n - 1 pairs. A pair at the threshold is missed about once in 10,000 times.
    Raises: UsageError for a threshold that is not from 0.3 to 1.
    """
    if not LOWEST_THRESHOLD <= threshold <= 1:
        raise UsageError(f"The threshold must lie between {LOWEST_THRESHOLD} and 1, not {threshold}.")
    doc_ids: list[str] = []
    signatures: list[np.ndarray] = []
    for doc_id, text in texts:
        shingled = shingles(text)
        if shingled.size:
            doc_ids.append(doc_id)
            signatures.append(signature(shingled))
    if len(doc_ids) < 2:
        return []

    kept = lru_cache(maxsize=512)(lambda at: shingles(load(doc_ids[at])))
    groups = _Groups(len(doc_ids))
    ties: list[tuple[int, Pair]] = []
    for left, right in _candidates(np.stack(signatures), threshold):
        if groups.of(left) == groups.of(right):
            continue
        similarity = jaccard(kept(left), kept(right))
        if similarity >= threshold:
            groups.join(left, right)
            ties.append((left, Pair(doc_id=doc_ids[left], other=doc_ids[right], similarity=round(similarity, 4))))
    found: dict[int, list[Pair]] = {}
    for left, pair in ties:
        found.setdefault(groups.of(left), []).append(pair)
    return [tuple(sorted(pairs, key=lambda pair: -pair.similarity)) for pairs in found.values()]


def shingles(text: str) -> np.ndarray:
    """The hashes of a text's shingles, sorted, each once: uint64. A text of fewer units than a shingle is one shingle."""
    units = [zlib.crc32(unit.encode("utf-8", "replace")) for unit in _UNIT.findall(text.casefold())]
    if not units:
        return np.empty(0, np.uint64)
    values = np.array(units + [0] * (SHINGLE - len(units)), np.uint64)
    n = len(values) - SHINGLE + 1
    hashes = np.zeros(n, np.uint64)
    for at in range(SHINGLE):
        hashes = _mixed(hashes + values[at : at + n])
    return np.unique(hashes)


def jaccard(left: np.ndarray, right: np.ndarray) -> float:
    """The share of two sets that both have. 0 when both are empty."""
    n_both = np.intersect1d(left, right, assume_unique=True).size
    return n_both / max(left.size + right.size - n_both, 1)


def signature(shingled: np.ndarray) -> np.ndarray:
    """A set's MinHash signature: two sets agree in a place with the probability of their similarity. uint64, N_BINS long.

    One hash per shingle, its high bits choose the bin and the lowest value of a bin stays; an empty bin takes the value
    of another one, and every set looks for it in the same order.
    Source: Shrivastava, ICML 2017, arXiv:1703.04664.
    """
    bins = (shingled >> np.uint64(56)).astype(np.intp)
    filled, first = np.unique(bins, return_index=True)
    source = np.full(N_BINS, -1, np.intp)
    source[filled] = filled
    values = np.zeros(N_BINS, np.uint64)
    values[filled] = shingled[first]
    there = source >= 0
    for probe in _PROBES:
        empty = np.flatnonzero(source < 0)
        if not empty.size:
            break
        asked = probe[empty]
        source[empty] = np.where(there[asked], asked, -1)
    empty = np.flatnonzero(source < 0)
    source[empty] = filled[np.searchsorted(filled, empty) % filled.size]  # a very short text: the next bin with a value
    return np.asarray(values[source])


def rows_per_band(threshold: float) -> int:
    """The longest bands with which a pair at the threshold still agrees in one of them, save once in 10,000 times."""
    fits = [rows for rows in range(1, 65) if (1 - threshold**rows) ** (N_BINS // rows) <= _MISS]
    return fits[-1] if fits else 1


def _candidates(signatures: np.ndarray, threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs that agree in a whole band, each once, the earlier document first."""
    seen: set[tuple[int, int]] = set()
    rows = rows_per_band(threshold)
    for start in range(0, N_BINS - rows + 1, rows):
        buckets: dict[bytes, list[int]] = {}
        for at, band in enumerate(signatures[:, start : start + rows]):
            before = buckets.setdefault(band.tobytes(), [])
            for other in before[-_NEIGHBOURS:]:
                if (other, at) not in seen:
                    seen.add((other, at))
                    yield other, at
            before.append(at)


class _Groups:
    """Which documents hang together (union-find)."""

    def __init__(self, n: int) -> None:
        self._parents = list(range(n))

    def of(self, at: int) -> int:
        while self._parents[at] != at:
            self._parents[at] = self._parents[self._parents[at]]
            at = self._parents[at]
        return at

    def join(self, left: int, right: int) -> None:
        self._parents[self.of(right)] = self.of(left)


def _mixed(values: np.ndarray) -> np.ndarray:
    """Every bit of the result depends on every bit of the value (the finaliser of splitmix64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))  # type: ignore[no-any-return]


def grouped(groups: Sequence[Sequence[Pair]], documents: Iterable[DocumentInfo]) -> list[DuplicateGroup]:
    """The pairs' groups with what is known of their documents, the largest group first, then by source."""
    by_id = {info.doc_id: info for info in documents}
    made = []
    for pairs in groups:
        members = {doc_id for pair in pairs for doc_id in (pair.doc_id, pair.other)} & by_id.keys()
        infos = sorted((by_id[doc_id] for doc_id in members), key=lambda info: (info.source, info.doc_id))
        made.append(DuplicateGroup(documents=tuple(infos), pairs=tuple(pairs)))
    return sorted(made, key=lambda group: (-len(group.documents), group.documents[0].source))
