"""Communities: entities that belong together, found by Leiden with a seed, in levels; and what each is about."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from graph.network import Network

MAX_SIZE = 40  # entities; larger communities are divided again on the next level
MIN_SIZE = 2
N_SENTENCES = 4  # of an extractive summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Community:
    """Entities by number, the most central first. level: 0 for the largest; parent: the community it is part of."""

    community_id: str
    level: int
    parent: str
    entities: tuple[int, ...]


def detect(network: Network, *, seed: int) -> list[Community]:
    """Communities on every level, in order of their ids. The same network and seed give the same ones.

    Entities that stand together in a chunk or a fact are tied, the rarer the more, so that common words tie nothing.
    Source: Traag, Waltman and van Eck, Scientific Reports 2019, doi:10.1038/s41598-019-41695-z.
    """
    import graspologic_native

    pairs, weights = _ties(network)
    if not len(pairs):
        return []
    rows = graspologic_native.hierarchical_leiden(
        [(str(a), str(b), weight) for (a, b), weight in zip(pairs.tolist(), weights.tolist(), strict=True)],
        starting_communities=None, resolution=1.0, randomness=0.001, iterations=2, use_modularity=True,
        max_cluster_size=MAX_SIZE, seed=seed,
    )  # fmt: skip
    n_entities = len(network.entity_ids)
    strength = np.bincount(pairs.ravel(), np.repeat(weights, 2), n_entities)
    members: dict[tuple[int, str], list[int]] = defaultdict(list)
    parents: dict[tuple[int, str], str] = {}
    for row in rows:
        place = int(row.level), str(row.cluster)
        members[place].append(int(row.node))
        parents[place] = "" if row.parent_cluster is None else f"{row.level - 1}-{row.parent_cluster}"
    return [
        Community(
            community_id=f"{level}-{cluster}", level=level, parent=parents[level, cluster],
            entities=tuple(sorted(members[level, cluster], key=lambda one: (-strength[one], one))),
        )
        for level, cluster in sorted(members, key=lambda place: (place[0], int(place[1])))
        if len(members[level, cluster]) >= MIN_SIZE
    ]  # fmt: skip


def _ties(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """(pairs of entities as int array of shape (n, 2), their weights). A chunk ties its names to its subject only."""
    n, rarity = len(network.entity_ids), network.rarity
    subject_of = np.full(len(network.chunk_ids), -1, np.int64)
    subject_of[network.about[::-1, 1]] = network.about[::-1, 0]  # of several the first
    entity, subject = network.mentions[:, 0], subject_of[network.mentions[:, 1]]
    beside = (subject >= 0) & (subject != entity)
    facts = network.fact_rows
    left = np.concatenate([facts[:, 0], subject[beside]])
    right = np.concatenate([facts[:, 1], entity[beside]])
    weights = rarity[left] * rarity[right] * np.where(np.arange(len(left)) < len(facts), 1.0, 0.5)
    keys, place = np.unique(np.minimum(left, right) * n + np.maximum(left, right), return_inverse=True)
    pairs = np.column_stack([keys // max(n, 1), keys % max(n, 1)])
    return pairs, np.log1p(np.bincount(place, weights, len(keys)))


def sentences(
    community: Community, network: Network, text_of: Callable[[int, int, int], str], allowed: np.ndarray | None = None
) -> list[tuple[int, str]]:
    """The sentences that say most of a community, as (chunk, sentence), most central first: its summary without a model.

    Only chunks that may be seen are read, so a summary never says what its reader may not know.
    """
    inside = {entity: 1.0 / (place + 1) for place, entity in enumerate(community.entities)}
    scored: dict[tuple[int, int, int], float] = defaultdict(float)
    for entity in community.entities:
        for number in network.facts_of.get(entity, ()):
            fact = network.facts[number]
            if (allowed is None or allowed[fact.chunk]) and fact.subject in inside and fact.object in inside:
                place = fact.chunk, fact.relation.start, fact.relation.end
                scored[place] += inside[entity]
    best: list[tuple[int, str]] = []
    for chunk, start, end in sorted(scored, key=lambda place: (-scored[place], place)):
        sentence = text_of(chunk, start, end)
        if sentence and sentence not in [said for _, said in best]:
            best.append((chunk, sentence))
        if len(best) == N_SENTENCES:
            break
    return best


def title(community: Community, network: Network, allowed: np.ndarray | None = None) -> str:
    """Its most central entities, as a heading."""
    return ", ".join(network.entity_names[entity] for entity in seen(community, network, allowed)[:3])


def seen(community: Community, network: Network, allowed: np.ndarray | None = None) -> list[int]:
    """Its entities, the most central first; with `allowed` those alone that such a chunk names."""
    return [
        one
        for one in community.entities
        if allowed is None or any(allowed[chunk] for chunk in network.chunks_of.get(one, ()))
    ]


def chunks(community: Community, network: Network, allowed: np.ndarray | None = None) -> Sequence[int]:
    """The chunks that name its entities, those that name most of them first."""
    counts = Counter(chunk for entity in community.entities for chunk in network.chunks_of.get(entity, ()))
    seen = [chunk for chunk in counts if allowed is None or allowed[chunk]]
    return sorted(seen, key=lambda chunk: (-counts[chunk], chunk))
