"""From settings and what a caller asks for to the options of one search, checked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from rag import filters
from rag.errors import UsageError
from rag.pipeline import Recency, SearchOptions
from rag.settings import MODES, MOST_CANDIDATES, SENTENCES, SUMMARIES, RerankSettings, SearchSettings

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
    if filter is not None and not isinstance(filter, str):
        raise UsageError(f"filter must be a condition as text, such as \"type == 'pdf'\", not {filter!r}.")
    weak = rerank is not None and rerank.model == SENTENCES and not rerank.base_url
    weight = SENTENCES_WEIGHT if weak else 1.0
    if rerank is not None and rerank.weight is not None:
        weight = rerank.weight
    dense = min(SENTENCES_DENSE, 1.0 - weight) if weak else 0.0
    recency = Recency(weight=search.recency, half_life_days=search.recency_days, key=search.recency_field)
    return SearchOptions(
        retrievers=weights(mode, search), top_k=_check_top_k(search.top_k if top_k is None else top_k), depth=search.depth,
        depths=search.depths, fusion=search.fusion, rrf_k=search.rrf_k, dense_trust=search.dense_trust,
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


_OPTIONS = {"mode", "top_k", "mmr", "summaries", "expand"}  # settings that are options of their own
PER_SEARCH = frozenset(SearchSettings.model_fields) - _OPTIONS


def with_options(search: SearchSettings, asked: Mapping[str, Any]) -> tuple[SearchSettings, dict[str, Any]]:
    """The settings with those of them that a caller asked for, and what else was asked for. Raises: UsageError."""
    changes = {name: value for name, value in asked.items() if name in PER_SEARCH and value is not None}
    others = {name: value for name, value in asked.items() if name not in PER_SEARCH}
    if not changes:
        return search, others
    try:
        return SearchSettings.model_validate({**search.model_dump(), **changes}), others
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}.") from None


def weights(mode: str, search: SearchSettings) -> Mapping[str, float]:
    """The retrievers of a mode with their weights; `hybrid` and `auto` stand for dense and BM25. Raises: UsageError."""
    if not isinstance(mode, str):
        raise UsageError(f"mode must be a name, such as hybrid, not {mode!r}.")
    found: dict[str, float] = {}
    given = search.weights
    for name in mode.split("+"):
        if name in ("hybrid", "auto"):
            of_words = 1.0 - search.dense_weight
            found |= {"dense": given.get("dense", search.dense_weight), "bm25": given.get("bm25", of_words)}
        elif name in MODES:
            alone = {"dense": 1.0, "bm25": 1.0}
            found[name] = given.get(name, alone.get(name, OTHER_WEIGHT))
        else:
            near = difflib.get_close_matches(name, MODES, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise UsageError(
                f"Unknown mode {mode!r}.{hint} Known: {', '.join(MODES)}, and several of them joined by +."
            )
    if "graph" in found and len(found) > 1:
        del found["graph"]
        return with_graph(found, given.get("graph", search.graph_weight))
    return found


def with_graph(weights: Mapping[str, float], graph_weight: float) -> dict[str, float]:
    """Retrievers with their weights, and the graph beside them, which takes its weight from theirs."""
    return {name: weight * (1.0 - graph_weight) for name, weight in weights.items()} | {"graph": graph_weight}


def _check_top_k(top_k: Any) -> int:
    if not isinstance(top_k, int) or isinstance(top_k, bool) or not 1 <= top_k <= MOST_CANDIDATES:
        raise UsageError(f"top_k must be a whole number from 1 to {MOST_CANDIDATES}, not {top_k!r}.")
    return top_k


def _check_summaries(which: str) -> str:
    if which not in SUMMARIES:
        raise UsageError(f"summaries must be one of {', '.join(SUMMARIES)}, not {which!r}.")
    return which


def _check_mmr(trade_off: Any) -> float | None:
    if not isinstance(trade_off, (int, float)) or not 0.0 <= trade_off <= 1.0:
        raise UsageError(f"MMR's λ must be a number between 0 and 1, not {trade_off!r}.")
    return None if trade_off == 1.0 else trade_off  # 1 keeps the order: off
