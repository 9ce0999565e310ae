"""The graph in numbers: entities, chunks and the edges between them as arrays, worked out from a graph's file."""

from __future__ import annotations

import gc
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from graph import merging, names
from graph.merging import Keys, Merge
from graph.store import GraphFile
from graph.types import Extraction, Relation


@dataclass(frozen=True, slots=True)
class Fact:
    """A relation of two entities, by number, in a chunk."""

    subject: int
    object: int
    chunk: int
    relation: Relation


@dataclass(frozen=True, kw_only=True)
class Network:
    """A graph that is read. Entities and chunks are numbered; everything is in order of their ids.

    entity_ids, entity_names (as shown), types: per entity. chunk_ids: `doc_id#start-end` per chunk.
    mentions: rows (entity, chunk, how often). about: rows (entity, chunk): the chunk stands under that title or heading.
    facts: relations with their chunks. near: pairs of entities whose names belong together without being one.
    """

    entity_ids: Sequence[str]
    entity_names: Sequence[str]
    types: Sequence[str]
    chunk_ids: Sequence[str]
    mentions: np.ndarray
    about: np.ndarray
    facts: Sequence[Fact]
    near: np.ndarray
    merges: Sequence[Merge]
    descriptions: Mapping[int, tuple[str, ...]]
    problems: Mapping[str, int]
    merged: Mapping[str, str] = field(default_factory=dict)  # id → the id of the entity it became

    @cached_property
    def at(self) -> dict[str, int]:
        """Entity id → its number; ids that were merged lead to what they became."""
        own = {entity_id: n for n, entity_id in enumerate(self.entity_ids)}
        return own | {one: own[root] for one, root in self.merged.items() if root in own}

    @cached_property
    def chunk_at(self) -> dict[str, int]:
        return {chunk_id: n for n, chunk_id in enumerate(self.chunk_ids)}

    @cached_property
    def doc_ids(self) -> list[str]:
        """The document of each chunk."""
        return [chunk_id.rpartition("#")[0] for chunk_id in self.chunk_ids]

    @cached_property
    def n_chunks_of(self) -> np.ndarray:
        """In how many chunks each entity occurs, as int array."""
        pairs = np.unique(np.concatenate([self.mentions[:, :2], self.about]), axis=0) if len(self.chunk_ids) else None
        return np.bincount(pairs[:, 0], minlength=len(self.entity_ids)) if pairs is not None else np.zeros(0, int)

    @cached_property
    def rarity(self) -> np.ndarray:
        """1 for an entity of one chunk, towards 0 for one of all chunks."""
        n = len(self.chunk_ids)
        return np.maximum(np.log((n + 1) / (self.n_chunks_of + 0.5)) / np.log(n + 1), 0.02) if n else np.zeros(0)

    @cached_property
    def is_title(self) -> np.ndarray:
        """Which entities are what a document is about."""
        found = np.zeros(len(self.entity_ids), bool)
        found[self.about[:, 0]] = True
        return found

    @cached_property
    def chunks_of(self) -> dict[int, list[int]]:
        """Entity → the chunks that name it or are about it, the latter first."""
        found: dict[int, dict[int, None]] = defaultdict(dict)
        for entity, chunk in self.about.tolist():
            found[entity][chunk] = None
        for entity, chunk, _ in self.mentions.tolist():
            found[entity][chunk] = None
        return {entity: list(chunks) for entity, chunks in found.items()}

    @cached_property
    def entities_of(self) -> list[list[int]]:
        """The entities of each chunk, in order."""
        found: list[set[int]] = [set() for _ in self.chunk_ids]
        for entity, chunk in self.about.tolist():
            found[chunk].add(entity)
        for entity, chunk, _ in self.mentions.tolist():
            found[chunk].add(entity)
        return [sorted(entities) for entities in found]

    @cached_property
    def fact_rows(self) -> np.ndarray:
        """Rows (subject, object, chunk), one a fact."""
        return _rows([(fact.subject, fact.object, fact.chunk) for fact in self.facts], 3)

    @cached_property
    def facts_of(self) -> dict[int, list[int]]:
        """Entity → its facts, by number."""
        found: dict[int, list[int]] = defaultdict(list)
        for n, fact in enumerate(self.facts):
            found[fact.subject].append(n)
            found[fact.object].append(n)
        return found


def assemble(graph: GraphFile) -> Network:
    """Work out entities, edges and merges. A function of the file alone."""
    with _collecting_later():
        return _assembled(graph)


@contextmanager
def _collecting_later() -> Iterator[None]:
    """Without garbage collection: a million records that all stay would be gone through over and over, twice the time."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def _assembled(graph: GraphFile) -> Network:
    keys = Keys(graph.header)
    gathered = _Gathered(keys)
    for _, document in graph.documents():
        for chunk_id, found in document:
            gathered.add(chunk_id, found)
    merged, records = merging.aliases(gathered.stated, graph.header, keys)
    gathered.problems.update(["contradictory_merge"] * sum(one.reason == "contradiction" for one in records))
    return gathered.network(merged, records)


class _Gathered:
    """What the chunks say, under numbers that their names get as they come. Numbers alone are kept where there are millions."""

    def __init__(self, keys: Keys) -> None:
        self.stated: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.problems: Counter[str] = Counter()
        self._keys = keys
        self._ids: list[str] = []  # number → id
        self._number_of: dict[str, int] = {}
        self._number: dict[str, int] = {}  # name → number; -1: it is none
        self._written: Counter[str] = Counter()
        self._types: Counter[tuple[int, str]] = Counter()
        self._described: dict[tuple[int, str], None] = {}
        self._chunk_ids: list[str] = []
        self._mentions, self._about, self._ends = array("q"), array("q"), array("q")  # rows of 3, 2 and 3
        self._relations: list[Relation] = []
        self._sure: set[int] = set()

    def add(self, chunk_id: str, found: Extraction) -> None:
        chunk = len(self._chunk_ids)
        self._chunk_ids.append(chunk_id)
        self.problems.update(kind for kind, _ in found.problems)
        for pair in found.aliases:
            self.stated[pair].append(chunk_id)
        for name in found.about:
            plain, inside = names.without_brackets(name)
            if inside and names.is_name(plain):
                self.stated[name, plain].append(chunk_id)
            self._sure.add(self._numbered(plain))
            one = self._noted(name)
            if one >= 0:
                self._about.extend((one, chunk))
                self._mentions.extend((one, chunk, 0))
        for mention in found.mentions:
            one = self._numbered(mention.name)
            if one < 0:
                continue
            self._written[mention.name] += 1
            self._mentions.extend((one, chunk, 1))
            if mention.type != "candidate":
                self._sure.add(one)
                if mention.type:
                    self._types[one, mention.type] += 1
        for relation in found.relations:
            subject, object_ = self._noted(relation.subject), self._noted(relation.object)
            if subject >= 0 and object_ >= 0:
                self._ends.extend((subject, object_, chunk))
                self._relations.append(relation)
        for name, what in found.descriptions:
            self._described[self._numbered(name), what] = None

    def _numbered(self, name: str) -> int:
        one = self._number.get(name)
        if one is None:
            own = self._keys(name)
            one = self._number[name] = self._number_of_id(own) if own else -1
        return one

    def _number_of_id(self, entity_id: str) -> int:
        one = self._number_of.setdefault(entity_id, len(self._ids))
        if one == len(self._ids):
            self._ids.append(entity_id)
        return one

    def _noted(self, name: str) -> int:
        """The number of a name that is sure to be one."""
        one = self._numbered(name)
        if one >= 0:
            self._written[name] += 1
            self._sure.add(one)
        return one

    def network(self, merged: Mapping[str, str], records: Sequence[Merge]) -> Network:
        root = self._roots(merged)
        ends = _table(self._ends, 3)
        ends[:, :2] = root[ends[:, :2]]
        kept = np.flatnonzero(ends[:, 0] != ends[:, 1])  # a self-loop says nothing
        ends = ends[kept]
        mentions = self._mentioned(root, ends)
        used = sorted(np.unique(mentions[:, 0]).tolist(), key=self._ids.__getitem__)
        number = np.full(len(self._ids), -1, np.int64)  # of an entity, in order of the ids; -1: nothing is known of it
        number[used] = np.arange(len(used))
        mentions[:, 0], ends[:, :2] = number[mentions[:, 0]], number[ends[:, :2]]
        about = _table(self._about, 2)
        about[:, 0] = number[root[about[:, 0]]]
        ids, place = [self._ids[one] for one in used], number[root]
        written, types = self._forms(place, len(ids))
        facts = zip(ends.tolist(), kept.tolist(), strict=True)
        return Network(
            entity_ids=ids,
            entity_names=[merging.best(forms) for forms in written],
            types=[merging.best(kinds) if kinds else "" for kinds in types],
            chunk_ids=self._chunk_ids,
            mentions=_counted(mentions, len(self._chunk_ids)),
            about=np.unique(about, axis=0).reshape(-1, 2),
            facts=[Fact(left, right, chunk, self._relations[n]) for (left, right, chunk), n in facts],
            near=self._near(records, merged, place),
            merges=[*records, *merging.spellings(dict(zip(ids, written, strict=True)), lambda one: one)],
            descriptions=self._descriptions(place),
            problems=dict(sorted(self.problems.items())),
            merged=merged,
        )

    def _roots(self, merged: Mapping[str, str]) -> np.ndarray:
        """Number → the number of the entity that it became."""
        roots = [self._number_of_id(merged.get(one, one)) for one in list(self._ids)]
        return np.array([*roots, *range(len(roots), len(self._ids))], np.int64)

    def _mentioned(self, root: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Rows (entity, chunk, how often) of the names that are sure to be some, and of the ends of facts."""
        sure = np.zeros(len(self._ids), bool)
        sure[root[sorted(self._sure - {-1})]] = True
        rows = _table(self._mentions, 3)
        rows[:, 0] = root[rows[:, 0]]
        nothing = np.zeros(len(ends), np.int64)
        related = [np.column_stack([ends[:, side], ends[:, 2], nothing]) for side in (0, 1)]
        return np.concatenate([rows[sure[rows[:, 0]]], *related])

    def _forms(self, place: np.ndarray, n: int) -> tuple[list[Counter[str]], list[Counter[str]]]:
        """How each entity is written, and its types, with how often."""
        written: list[Counter[str]] = [Counter() for _ in range(n)]
        types: list[Counter[str]] = [Counter() for _ in range(n)]
        for name, count in self._written.items():
            if (at := place[self._number[name]]) >= 0:
                written[at][name] = count
        for (one, kind), count in self._types.items():
            if (at := place[one]) >= 0:
                types[at][kind] += count
        return written, types

    def _descriptions(self, place: np.ndarray) -> dict[int, tuple[str, ...]]:
        found: dict[int, dict[str, None]] = defaultdict(dict)
        for one, what in self._described:
            if one >= 0 and (at := int(place[one])) >= 0:
                found[at][what] = None
        return {one: tuple(said) for one, said in found.items()}

    def _near(self, records: Sequence[Merge], merged: Mapping[str, str], place: np.ndarray) -> np.ndarray:
        """Pairs that a record names without merging them."""
        found = set()
        for record in records:
            if record.applied or self._keys.are_apart(*record.names):
                continue
            ids = [merged.get(one, one) for one in map(self._keys, record.names)]
            left, right = sorted(int(place[self._number_of[one]]) if one in self._number_of else -1 for one in ids)
            if 0 <= left != right:
                found.add((left, right))
        return _rows(sorted(found), 2)


def _counted(rows: np.ndarray, n_chunks: int) -> np.ndarray:
    """Rows (entity, chunk, n) with those of one entity and chunk added up, in order."""
    keys, place = np.unique(rows[:, 0] * max(n_chunks, 1) + rows[:, 1], return_inverse=True)
    counts = np.bincount(place, rows[:, 2], len(keys)).astype(np.int64)
    return np.column_stack([keys // max(n_chunks, 1), keys % max(n_chunks, 1), counts])


def _table(flat: array[int], width: int) -> np.ndarray:
    return np.array(flat, np.int64).reshape(-1, width)


def _rows(rows: Sequence[tuple[int, ...]], width: int) -> np.ndarray:
    return np.array(rows, np.int64).reshape(-1, width)
