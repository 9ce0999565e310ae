"""Which names are one entity. Every merge is recorded with its reason and its chunks, and a person can undo it.

Merges are worked out from all names at once, never step by step, so they do not depend on the order of imports:

    spelling   names with one key (case, width, accents, articles, punctuation)
    alias      a second name that the text states, when it belongs to one entity alone
    decided    a person put two names together
    neighbour  the two names' vectors are near each other (`graph.neighbours`, off by default)
    bracket    "Theodred II (Bishop of Elmham)" and "Theodred II": near, not merged, for others may bear the name
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from graph import names
from graph.store import Header

MOST_SPELLINGS = 8  # that a record shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Names that count as one entity, why, and the chunks that say so. applied: False: only near, or contradicted."""

    names: tuple[str, ...]
    reason: str
    entity: str
    chunk_ids: tuple[str, ...] = ()
    applied: bool = True


class Keys:
    """Names to the ids of their entities: their key, unless a person keeps two spellings apart."""

    def __init__(self, header: Header) -> None:
        self.apart = {frozenset(pair) for pair in header.apart}
        self._exact = {name for pair in header.apart if names.key(pair[0]) == names.key(pair[1]) for name in pair}

    def __call__(self, name: str) -> str:
        return f"={name}" if name in self._exact else names.key(name)

    def are_apart(self, left: str, right: str) -> bool:
        return frozenset((left, right)) in self.apart


def aliases(
    stated: Mapping[tuple[str, str], list[str]], header: Header, keys: Keys
) -> tuple[dict[str, str], list[Merge]]:
    """(entity id → the entity it is merged into, the records).

    stated: (name, other name) → the chunks that say so. A name that two entities claim is merged with neither: the
    record of each claim says so. What a person decided comes first; what would bring two together that are kept apart,
    also by way of a third, is a contradiction: it is not applied.
    """
    claims: dict[tuple[str, str], list[str]] = {}
    written: dict[str, Counter[str]] = defaultdict(Counter)
    kept_apart: set[tuple[str, str]] = set()
    brackets: set[tuple[str, str]] = set()
    for (name, other), chunk_ids in sorted(stated.items()):
        pair = keys(name), keys(other)
        if not pair[0] or not pair[1] or pair[0] == pair[1]:
            continue
        written[pair[0]][name] += 1
        written[pair[1]][other] += 1
        claims.setdefault(pair, []).extend(chunk_ids)
        if keys.are_apart(name, other):
            kept_apart.add(pair)
        if names.without_brackets(name)[0] == other:
            brackets.add(pair)
    owners: dict[str, set[str]] = defaultdict(set)
    for name, other in claims:
        owners[other].add(name)
    joined = _Joined([(keys(left), keys(right)) for left, right in header.apart])
    records = []
    for left, right in sorted(header.together):
        applied = joined.join(keys(left), keys(right))
        records.append(Merge(names=(left, right), reason="decided" if applied else "contradiction", entity=keys(left), applied=applied))  # fmt: skip
    for (name, other), chunk_ids in claims.items():
        pair_names = written[name].most_common(1)[0][0], written[other].most_common(1)[0][0]
        contradicted = len(owners[other]) > 1 or (name, other) in kept_apart
        reason = "bracket" if (name, other) in brackets else "contradiction" if contradicted else "alias"
        if reason == "alias" and not joined.join(name, other):
            reason = "contradiction"
        applied = reason == "alias"
        records.append(Merge(names=pair_names, reason=reason, entity=name, applied=applied,
                             chunk_ids=tuple(sorted(set(chunk_ids)))))  # fmt: skip
    for left, right, _ in header.neighbours:
        low, high = sorted((keys(left), keys(right)))
        if low and low != high:
            applied = not keys.are_apart(left, right) and joined.join(low, high)
            records.append(Merge(names=(left, right), reason="neighbour" if applied else "contradiction", entity=low, applied=applied))  # fmt: skip
    return joined.roots(), records


def spellings(written: Mapping[str, Counter[str]], shown: Callable[[str], str]) -> list[Merge]:
    """A record for each entity whose name is written in more than one way."""
    return [
        Merge(
            names=tuple(name for name, _ in _ordered(forms)[:MOST_SPELLINGS]), reason="spelling", entity=shown(entity)
        )
        for entity, forms in sorted(written.items())
        if len(forms) > 1
    ]


def best(forms: Counter[str]) -> str:
    """The form of a name that is shown: the most frequent, then the shortest, then the first by letters."""
    return _ordered(forms)[0][0]


def _ordered(forms: Counter[str]) -> list[tuple[str, int]]:
    return sorted(forms.items(), key=lambda item: (-item[1], len(item[0]), item[0]))


class _Joined:
    """Sets of ids that are joined in pairs; the first by letters stands for its set. apart: pairs that never meet in one."""

    def __init__(self, apart: Sequence[tuple[str, str]]) -> None:
        self._parent: dict[str, str] = {}
        self._apart = apart

    def _root(self, one: str) -> str:
        while (up := self._parent.get(one, one)) != one:
            one = up
        return one

    def join(self, left: str, right: str) -> bool:
        """False, and nothing is joined, when two that are kept apart would meet, also by way of others."""
        low, high = sorted((self._root(left), self._root(right)))
        if low == high:
            return True
        if any({self._root(one), self._root(other)} == {low, high} for one, other in self._apart):
            return False
        self._parent[high] = low
        return True

    def roots(self) -> dict[str, str]:
        return {one: self._root(one) for one in self._parent if self._root(one) != one}
