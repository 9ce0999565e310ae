"""Names whose vectors are near enough to count as one entity: spellings and variants that no sentence states."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from graph import names

MOST_NAMES = 50_000  # of a collection: every name is compared with every other
_BLOCK = 1024
_NUMBERS = re.compile(r"\d+|\b[ivxlcdm]+\b")

Neighbour = tuple[str, str, float]


def neighbours(
    known: Sequence[str], vectors_of: Callable[[Sequence[str]], np.ndarray], threshold: float
) -> list[Neighbour]:
    """Pairs of names with a cosine of at least `threshold`, each name with its nearest one alone, in order of the names.

    known: names as they are shown. vectors_of: float32 of shape (n, dim), each row of length 1. Names with other numbers
    ("Apollo 11", "Apollo 12") are never a pair, near as their vectors are; nor are those of more than 50,000 names.
    """
    known = sorted({name for name in known if names.is_name(name)})
    if len(known) < 2 or len(known) > MOST_NAMES:
        return []
    vectors = vectors_of(known)
    numbers = [_numbers(name) for name in known]
    best: dict[int, tuple[float, int]] = {}
    for first in range(0, len(known), _BLOCK):
        cosines = vectors[first : first + _BLOCK] @ vectors.T
        for row, column in np.argwhere(cosines >= threshold).tolist():
            left = first + row
            if left != column and numbers[left] == numbers[column]:
                best[left] = max(best.get(left, (-1.0, -1)), (round(float(cosines[row, column]), 3), -column))
    pairs = {
        (min(left, -right), max(left, -right)): cosine
        for left, (cosine, right) in best.items()
        if best.get(-right, (0.0, 1))[1] == -left  # each is the other's nearest
    }
    return [(known[left], known[right], cosine) for (left, right), cosine in sorted(pairs.items())]


def cached(
    keys: Sequence[str],
    texts: Sequence[str],
    *,
    load: Callable[[Sequence[str]], Mapping[str, np.ndarray]],
    keep: Callable[[Mapping[str, np.ndarray]], None],
    embed: Callable[[Sequence[str]], np.ndarray],
) -> np.ndarray:
    """The vectors of texts, those that are cached not computed again."""
    found = dict(load(keys))
    missing = [at for at, key in enumerate(keys) if key not in found]
    if missing:
        made = {keys[at]: vector for at, vector in zip(missing, embed([texts[at] for at in missing]), strict=True)}
        keep(made)
        found |= made
    return np.stack([found[key] for key in keys])


def _numbers(name: str) -> list[str]:
    return sorted(_NUMBERS.findall(names.key(name)))
