"""The graph in numbers: entities, chunks and the edges between them as arrays, worked out from a graph's file."""

from __future__ import annotations

import gc
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    chunks = [(chunk_id, found) for _, document in graph.documents() for chunk_id, found in document]
    stated: dict[tuple[str, str], list[str]] = defaultdict(list)
    problems: Counter[str] = Counter()
    for chunk_id, found in chunks:
        for pair in [*found.aliases, *_brackets(found)]:
            stated[pair].append(chunk_id)
        problems.update(kind for kind, _ in found.problems)
    merged, records = merging.aliases(stated, graph.header, keys)
    problems.update(["contradictory_merge"] * sum(one.reason == "contradiction" for one in records))
    builder = _Builder(keys, merged)
    builder.read(chunks)
    return builder.network(records, problems)


def _brackets(found: Extraction) -> Iterable[tuple[str, str]]:
    for name in found.about:
        plain, inside = names.without_brackets(name)
        if inside and names.is_name(plain):
            yield name, plain


class _Builder:
    """Collects what the chunks say under the ids of their entities."""

    def __init__(self, keys: Keys, merged: Mapping[str, str]) -> None:
        self._keys, self._merged = keys, merged
        self._ids: dict[str, str] = {}
        self._written: dict[str, Counter[str]] = defaultdict(Counter)
        self._types: dict[str, Counter[str]] = defaultdict(Counter)
        self._describing: dict[str, dict[str, None]] = defaultdict(dict)

    def _id(self, name: str) -> str:
        one = self._ids.get(name)
        if one is None:
            own = self._keys(name)
            one = self._ids[name] = self._merged.get(own, own)
        return one

    def read(self, chunks: Sequence[tuple[str, Extraction]]) -> None:
        self._chunk_ids = [chunk_id for chunk_id, _ in chunks]
        sure = {self._id(name) for _, found in chunks for name in _sure_names(found)} - {""}
        self._mentions: Counter[tuple[str, int]] = Counter()
        self._about: dict[tuple[str, int], None] = {}
        self._facts: list[tuple[str, str, int, Relation]] = []
        for chunk, (_, found) in enumerate(chunks):
            for name in found.about:
                if (one := self._note(name)) in sure:
                    self._about[one, chunk] = None
                    self._mentions[one, chunk] += 0
            for mention in found.mentions:
                if (one := self._id(mention.name)) in sure:
                    self._written[one][mention.name] += 1
                    self._mentions[one, chunk] += 1
                    if mention.type and mention.type != "candidate":
                        self._types[one][mention.type] += 1
            for relation in found.relations:
                subject, object_ = self._note(relation.subject), self._note(relation.object)
                if subject != object_ and subject in sure and object_ in sure:  # a self-loop says nothing
                    self._facts.append((subject, object_, chunk, relation))
                    self._mentions[subject, chunk] += 0
                    self._mentions[object_, chunk] += 0
            for name, what in found.descriptions:
                self._describing[self._id(name)][what] = None

    def _note(self, name: str) -> str:
        one = self._id(name)
        if one:
            self._written[one][name] += 1
        return one

    def network(self, records: Sequence[Merge], problems: Mapping[str, int]) -> Network:
        ids = sorted({one for one, _ in self._mentions} | {one for one, _ in self._about})
        number = {one: n for n, one in enumerate(ids)}
        mentions = [(number[one], chunk, n) for (one, chunk), n in self._mentions.items()]
        about = [(number[one], chunk) for one, chunk in self._about]
        near = {
            (number[a], number[b])
            for record in records
            if not record.applied and not self._keys.are_apart(*record.names)
            for a, b in [sorted(map(self._id, record.names))]
            if a in number and b in number and a != b
        }
        spelled = merging.spellings({one: self._written[one] for one in ids}, lambda one: one)
        return Network(
            entity_ids=ids,
            entity_names=[merging.best(self._written[one]) for one in ids],
            types=[merging.best(self._types[one]) if one in self._types else "" for one in ids],
            chunk_ids=self._chunk_ids,
            mentions=_rows(sorted(mentions), 3),
            about=_rows(sorted(about), 2),
            facts=[Fact(number[s], number[o], chunk, relation) for s, o, chunk, relation in self._facts],
            near=_rows(sorted(near), 2),
            merges=[*records, *spelled],
            descriptions={number[one]: tuple(said) for one, said in self._describing.items() if one in number},
            problems=dict(sorted(problems.items())),
            merged=self._merged,
        )


def _sure_names(found: Extraction) -> Iterable[str]:
    yield from found.about
    yield from (mention.name for mention in found.mentions if mention.type != "candidate")
    for relation in found.relations:
        yield relation.subject
        yield relation.object
    for name in found.about:
        yield names.without_brackets(name)[0]


def _rows(rows: Sequence[tuple[int, ...]], width: int) -> np.ndarray:
    return np.array(rows, np.int64).reshape(-1, width)
