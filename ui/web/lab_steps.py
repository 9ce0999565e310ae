"""The steps of a search on the page: milliseconds, candidates in and out, and each step's first candidates with scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from rag.types import Step
from ui.web.markup import plain
from ui.web.view import View


def steps(view: View, trace: Sequence[Step], titles: Mapping[str, str], key: str) -> None:
    """A table of the steps; below it the candidates of the step that is chosen. titles: of documents by id."""
    word = view.word
    rows = [{word("lab.step"): step_word(view, step.name), word("lab.ms"): round(step.ms, 1),
             word("lab.in"): _count(step.n_in), word("lab.out"): _count(step.n_out), word("lab.detail"): detail_of(step)} for step in trace]  # fmt: skip
    st.dataframe(rows, hide_index=True, key=f"steps-{key}")
    shown = [step for step in trace if step.detail.get("candidates")]
    if not shown:
        return
    names = [step.name for step in shown]
    chosen = st.selectbox(
        word("lab.candidates_of"),
        names,
        index=len(names) - 1,
        format_func=lambda name: step_word(view, name),
        key=f"step-{key}",
    )
    candidates = next(step.detail["candidates"] for step in shown if step.name == chosen)
    lines = []
    for rank, one in enumerate(candidates, start=1):
        doc_id, _, span = one["chunk_id"].rpartition("#")
        lines.append(f"{rank}. {plain(titles.get(doc_id, doc_id))} :gray[{plain(span)}] `{one['score']:.4f}`")
    st.markdown("\n".join(lines))


def _count(n: int | None) -> str:
    return "" if n is None else str(n)


def step_word(view: View, name: str) -> str:
    """A step as people would say it: `recall:dense:rewrite` is what the vectors found for a reworded question."""
    first, _, rest = name.partition(":")
    known = view.word(f"lab.step_{first.replace('-', '_')}") if first in _KNOWN else first
    return f"{known}: {rest}" if rest else known


def detail_of(step: Step) -> str:
    """What else a step notes of itself, in one line."""
    kept: dict[str, Any] = {
        key: value for key, value in step.detail.items() if key != "candidates" and value not in ("", {}, [])
    }
    return " · ".join(f"{key}: {value}" for key, value in kept.items())[:300]


_KNOWN = (
    "recall",
    "resolve",
    "fuse",
    "rerank",
    "boost",
    "collapse",
    "mmr",
    "load",
    "understand",
    "top_k",
    "filter",
    "analyser",
    "summaries",
    "auto-filter",
    "access",
    "disabled",
    "graph",
    "escalated",
    "sufficient",
    "expand",
)
