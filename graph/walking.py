"""Personalised PageRank over entities and chunks: where a walk ends up that starts at the question's names and passages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from graph.network import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How strongly the walk is drawn along each kind of edge, and where it starts anew.

    Measured on the development halves of MuSiQue and 2WikiMultiHopQA; bench/graph.py repeats it. damping: the chance
    that the walk goes on. passages: all passages together, against 1 for a rare name of the question.
    """

    about: float = 6.0
    mention: float = 1.0
    relation: float = 0.5
    near: float = 1.0
    damping: float = 0.8
    passages: float = 0.04
    iterations: int = 20


class Walk:
    """A graph made ready for walks. Read-only, so threads may share it."""

    def __init__(self, network: Network, weights: Weights | None = None) -> None:
        self.network, self.weights = network, weights or Weights()

    def prepare(self) -> None:
        """Do what the first walk would do, so that it need not wait."""
        _ = self._steps

    @cached_property
    def _steps(self) -> Any:
        return self._transitions(None)

    def ranked(
        self, entities: Mapping[int, float], passages: Mapping[int, float], allowed: np.ndarray | None = None
    ) -> np.ndarray:
        """The share of the walk that ends in each chunk, float array of shape (n_chunks,).

        entities, passages: where it starts, by number, with weights; all 0 gives all 0. allowed: mask of the chunks that
        may be seen; what stands in others alone is not walked.
        Source: Haveliwala, WWW 2002, doi:10.1145/511446.511513; for passages Gutiérrez et al., arXiv:2502.14802.
        """
        n_entities = len(self.network.entity_ids)
        reset = np.zeros(n_entities + len(self.network.chunk_ids))
        for entity, weight in entities.items():
            reset[entity] += weight
        for chunk, weight in passages.items():
            reset[n_entities + chunk] += weight
        steps = self._steps
        if allowed is not None:
            reset[n_entities:][~allowed] = 0.0
            steps = self._transitions(allowed)
        if reset.sum() <= 0:
            return np.zeros(len(self.network.chunk_ids))
        shares = pagerank(steps, reset / reset.sum(), damping=self.weights.damping, iterations=self.weights.iterations)
        found = shares[n_entities:]
        return found if allowed is None else np.where(allowed, found, 0.0)

    def _transitions(self, allowed: np.ndarray | None) -> Any:
        """Column-stochastic matrix of the steps; with `allowed` only what those chunks say."""
        from scipy import sparse

        net, weights = self.network, self.weights
        n_entities, n_nodes = len(net.entity_ids), len(net.entity_ids) + len(net.chunk_ids)
        facts = net.fact_rows
        mentions, about = net.mentions, net.about
        near = net.near
        if allowed is not None:
            mentions, about, facts = (
                mentions[allowed[mentions[:, 1]]],
                about[allowed[about[:, 1]]],
                facts[allowed[facts[:, 2]]],
            )
            seen = np.zeros(n_entities, bool)
            seen[mentions[:, 0]] = seen[about[:, 0]] = True
            near = near[seen[near].all(axis=1)] if len(near) else near
        keys, counts = np.unique(facts[:, 0] * n_nodes + facts[:, 1], return_counts=True)
        pairs = np.column_stack([keys // max(n_nodes, 1), keys % max(n_nodes, 1)])
        ends = np.concatenate([
            np.column_stack([mentions[:, 0], n_entities + mentions[:, 1]]),
            np.column_stack([about[:, 0], n_entities + about[:, 1]]),
            pairs, near,
        ])  # fmt: skip
        values = np.concatenate([
            weights.mention * (1 + np.log(np.maximum(mentions[:, 2], 1))), np.full(len(about), weights.about),
            weights.relation * (1 + np.log(counts)), np.full(len(near), weights.near),
        ])  # fmt: skip
        edges = sparse.coo_matrix((values, (ends[:, 0], ends[:, 1])), shape=(n_nodes, n_nodes)).tocsr()
        edges = edges + edges.T
        out = np.asarray(edges.sum(axis=1)).ravel()
        return (edges @ sparse.diags(np.divide(1.0, out, out=np.zeros_like(out), where=out > 0))).tocsr()


def pagerank(steps: Any, reset: np.ndarray, *, damping: float, iterations: int) -> np.ndarray:
    """Shares of a walk that starts anew at `reset` with chance 1 - damping, and wherever it cannot go on."""
    shares = reset.copy()
    for _ in range(iterations):
        moved = damping * (steps @ shares)
        shares = moved + (1.0 - moved.sum()) * reset
    return shares
