"""Why is this passage not found? Choose one or paste a sentence of it; every step says where it stood."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from eval.systems import parse_system
from rag.errors import RagstoneError
from rag.explaining import Explanation, written
from rag.principals import Principal
from rag.types import Hit
from rag.users import Users
from ui.web.failures import told
from ui.web.lab_search import Outcome, holds, passages, passages_with, seen_as
from ui.web.lab_steps import step_word
from ui.web.markup import excerpt, plain
from ui.web.view import View

SNIPPET = 140


def why(view: View, query: str, outcomes: Sequence[Outcome]) -> None:
    word = view.word
    st.subheader(word("lab.why"), anchor=False)
    st.caption(word("lab.why_intro"))
    sentence = st.text_area(word("lab.sentence"), key="lab-sentence", persist_state="session", height=80)
    try:
        found = passages_with(view.kb, sentence) if sentence.strip() else [hit for hit, _ in passages(outcomes)]
    except RagstoneError as error:
        st.error(told(view, error))
        return
    if not found:
        st.info(word("lab.why_nothing"))
        return
    if sentence.strip() and not holds(found[0], sentence):
        st.warning(word("lab.why_near"))
    by_id = {hit.chunk_id: hit for hit in found}
    people = _people(view)
    left, right, *more = st.columns([3, 1, 1] if people else [3, 1])
    chunk_id = left.selectbox(
        word("lab.passage"),
        list(by_id),
        format_func=lambda one: snippet(by_id[one]),
        key=f"lab-passage-{hash(tuple(by_id))}",
    )
    name = right.selectbox(
        word("lab.strategy"),
        [one.name for one in outcomes if not one.error],
        key="lab-why-strategy",
        persist_state="session",
    )
    somebody = ""
    if people:
        somebody = more[0].selectbox(
            word("lab.as"),
            ["", *people],
            format_func=lambda one: one or word("lab.as_myself"),
            help=word("lab.as_help"),
            key="lab-why-as",
        )
    asked = (view.kb.collection, query, chunk_id, name, somebody, st.session_state.get("lab-asked"))
    if name and st.button(word("lab.why_ask"), type="primary", key="lab-why-ask"):
        try:
            st.session_state["lab-told"] = (asked, _explained(view, query, chunk_id, name, people.get(somebody)))
        except RagstoneError as error:
            st.error(told(view, error))
    known = st.session_state.get("lab-told")
    if known is not None and known[0] == asked:
        _told(view, known[1])


def _people(view: View) -> dict[str, Principal]:
    """For whom the home's owner may ask, by name: everybody with an account who may be let into these collections."""
    if view.kb.principal is not None:
        return {}
    accounts = Users(view.home.kb.catalog.engine).all()
    return {one.name: one.principal for one in accounts if one.principal is not None and not one.tenant}


def _explained(view: View, query: str, chunk_id: str, name: str, somebody: Principal | None) -> Explanation:
    """Asked as the comparison above was: as many results, the same filter. somebody: who else looks for it."""
    system = parse_system(name)
    top_k, condition = st.session_state.get("lab-asked", (None, ""))
    seen = seen_as(view.kb, system)
    return seen.explain(query, chunk_id, principal=somebody, top_k=top_k, filter=condition or None, **system.options)


def snippet(hit: Hit) -> str:
    return f"{hit.title or hit.source} · {excerpt(hit.text, SNIPPET)}"


def _told(view: View, told: Explanation) -> None:
    word, lost = view.word, told.lost_at
    if told.rank:
        st.success(word("lab.found_at", rank=told.rank), icon=":material/check:")
    else:
        st.warning(word("lab.lost_at", step=step_word(view, lost)), icon=":material/call_missed:")
        st.markdown(plain(reason(view, told)))
        for one in advice(view, told):
            st.markdown(f"- {plain(one)}")
    if not told.standings:  # nobody searched
        return
    rows = [{word("lab.step"): step_word(view, one.step), word("lab.rank"): str(one.rank or "–"), word("lab.of"): one.n,
             word("lab.score"): one.score, word("lab.detail"): one.note} for one in told.standings]  # fmt: skip
    st.dataframe(rows, hide_index=True, key="lab-standings")
    none = word("lab.none")
    shared, missing = (", ".join(words) or none for words in (told.shared_words, told.missing_words))
    dropped = word("lab.dropped", words=", ".join(told.dropped_words)) if told.dropped_words else ""
    st.caption(plain(word("lab.words", shared=shared, missing=missing) + dropped))


def reason(view: View, told: Explanation) -> str:
    """The explanation's own sentence; in Chinese the one for its step."""
    if view.language != "zh":
        return told.reason
    key = f"lost_{told.lost_at.replace('-', '_')}"
    return view.word(f"lab.{key}") if key in _TOLD else told.reason


def advice(view: View, told: Explanation) -> Sequence[str]:
    if view.language != "zh":
        return told.advice
    tried = [view.word("lab.tried", change=written(one)) for one in told.remedies]
    key = f"do_{told.lost_at.replace('-', '_')}"
    return [*tried, *([view.word(f"lab.{key}")] if key.replace("do_", "lost_") in _TOLD else ())] or told.advice


_TOLD = ("lost_filter", "lost_auto_filter", "lost_recall", "lost_rerank", "lost_collapse", "lost_mmr", "lost_top_k", "lost_analyser",
         "lost_boost", "lost_fuse", "lost_summaries", "lost_access", "lost_disabled", "lost_graph", "lost_escalated")  # fmt: skip
