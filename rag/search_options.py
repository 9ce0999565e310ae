"""From settings and what a caller asks for to the options of one search, checked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from rag import filters
from rag.errors import UsageError
from rag.pipeline import Recency, SearchOptions
from rag.settings import MODES, SENTENCES, SUMMARIES, RerankSettings, SearchSettings

MAX_TOP_K = 16_384
SENTENCES_WEIGHT, SENTENCES_DENSE, TOKENS_WEIGHT = 0.1, 0.1, 0.4  # docs/ablation.md; the fused scores get the rest
OTHER_WEIGHT = 0.5  # of a retriever beside dense and BM25, unless search.weights has one


def search_options(
    search: SearchSettings,
    rerank: RerankSettings | None,
    *,
    mode: str,
    top_k: int | None,
    filter: str | None,
    mmr: float | None,
    explain: bool,
    summaries: str | None = None,
) -> SearchOptions:
    """rerank: None leaves the step out. Raises: UsageError, FilterError."""
    weak = rerank is not None and rerank.model == SENTENCES and not rerank.base_url
    weight = SENTENCES_WEIGHT if weak else 1.0
    if rerank is not None and rerank.weight is not None:
        weight = rerank.weight
    dense = min(SENTENCES_DENSE, 1.0 - weight) if weak else 0.0
    recency = Recency(weight=search.recency, half_life_days=search.recency_days, key=search.recency_field)
    return SearchOptions(
        retrievers=weights(mode, search), top_k=_check_top_k(search.top_k if top_k is None else top_k), depth=search.depth,
        depths=search.depths, fusion=search.fusion, rrf_k=search.rrf_k,
        rerank_depth=rerank.depth if rerank else 0, rerank_weight=weight,
        rerank_dense=dense,
        rerank_tokens=min(TOKENS_WEIGHT, 1.0 - weight - dense) if weak else 0.0,
        rerank_threshold=rerank.threshold if rerank else None,
        boosts=tuple((filters.parse(text), gain) for text, gain in search.boosts.items()),
        recency=recency if search.recency else None, collapse=search.collapse if search.collapse < 1 else None,
        mmr=_check_mmr(search.mmr if mmr is None else mmr),
        filter=filters.parse(filter) if filter and filter.strip() else None, explain=explain,
        summaries=_check_summaries(search.summaries if summaries is None else summaries),
    )  # fmt: skip


def weights(mode: str, search: SearchSettings) -> Mapping[str, float]:
    """The retrievers of a mode with their weights; `hybrid` and `auto` stand for dense and BM25. Raises: UsageError."""
    found: dict[str, float] = {}
    for name in mode.split("+"):
        if name in ("hybrid", "auto"):
            found |= {"dense": search.dense_weight, "bm25": 1.0 - search.dense_weight}
        elif name in MODES:
            alone = {"dense": 1.0, "bm25": 1.0}
            found[name] = search.weights.get(name, alone.get(name, OTHER_WEIGHT))
        else:
            near = difflib.get_close_matches(name, MODES, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise UsageError(
                f"Unknown mode {mode!r}.{hint} Known: {', '.join(MODES)}, and several of them joined by +."
            )
    if "graph" in found and len(found) > 1:
        del found["graph"]
        return with_graph(found, search.weights.get("graph", search.graph_weight))
    return found


def with_graph(weights: Mapping[str, float], graph_weight: float) -> dict[str, float]:
    """Retrievers with their weights, and the graph beside them, which takes its weight from theirs."""
    return {name: weight * (1.0 - graph_weight) for name, weight in weights.items()} | {"graph": graph_weight}


def _check_top_k(top_k: Any) -> int:
    if not isinstance(top_k, int) or isinstance(top_k, bool) or not 1 <= top_k <= MAX_TOP_K:
        raise UsageError(f"top_k must be a whole number from 1 to {MAX_TOP_K}, not {top_k!r}.")
    return top_k


def _check_summaries(which: str) -> str:
    if which not in SUMMARIES:
        raise UsageError(f"summaries must be one of {', '.join(SUMMARIES)}, not {which!r}.")
    return which


def _check_mmr(trade_off: float) -> float | None:
    if not 0.0 <= trade_off <= 1.0:
        raise UsageError(f"MMR's λ must lie between 0 and 1, not {trade_off}.")
    return None if trade_off == 1.0 else trade_off  # 1 keeps the order: off
