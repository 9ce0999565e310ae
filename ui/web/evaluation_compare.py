"""Two runs, question by question: who won where, both rankings, and how each search went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from eval.library import StoredResult
from eval.metrics import score
from eval.runs import Ranking
from eval.systems import parse_system
from rag.errors import RagstoneError
from ui.web.documents_names import name_of, shown_title
from ui.web.evaluation_results import headline, result_name
from ui.web.evaluation_run import searched
from ui.web.failures import told
from ui.web.lab import titles_of
from ui.web.lab_search import Outcome
from ui.web.lab_steps import steps
from ui.web.markup import plain
from ui.web.view import View

SHOWN = 10  # of a ranking
TOP_K = 20  # of the search whose steps are shown
_SAME = 1e-12


@dataclass(frozen=True, slots=True)
class Side:
    """A system of a stored result."""

    result: StoredResult
    system: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """One question in two runs. a, b: the metric of each."""

    query_id: str
    question: str
    a: float
    b: float

    @property
    def winner(self) -> str:
        return "tie" if abs(self.a - self.b) < _SAME else "a" if self.a > self.b else "b"


def compared(view: View, found: Sequence[StoredResult]) -> None:
    word = view.word
    sides = {f"{one.name}\n{system}": Side(one, system) for one in found for system in one.systems}
    if len(sides) < 2:
        st.info(word("evaluation.need_two"), icon=":material/info:")
        return

    def name(key: str) -> str:
        return f"{sides[key].system} · {result_name(view, sides[key].result).rpartition(' · ')[0]}"

    keys = list(sides)
    left, right = st.columns(2)
    a = sides[
        left.selectbox(word("evaluation.run_a"), keys, format_func=name, key="compare-a", persist_state="session")
    ]
    b = sides[
        right.selectbox(
            word("evaluation.run_b"), keys, index=1, format_func=name, key="compare-b", persist_state="session"
        )
    ]
    metric = st.selectbox(
        word("evaluation.metric"), headline(a.result.tree), key="compare-metric", persist_state="session"
    )
    duels = question_by_question(a, b, metric)
    if not duels:
        st.warning(word("evaluation.other_questions"))
        return
    counts = {side: sum(one.winner == side for one in duels) for side in ("a", "tie", "b")}
    st.markdown(
        word(
            "evaluation.score",
            a=plain(a.system),
            b=plain(b.system),
            a_n=counts["a"],
            b_n=counts["b"],
            tie_n=counts["tie"],
        )
    )
    which = st.segmented_control(
        word("evaluation.show"), [side for side, n in counts.items() if n], default=next(side for side in ("a", "b", "tie") if counts[side]),
        format_func=lambda side: word(f"evaluation.won_{side}", n=counts[side]), required=True, key=f"compare-side-{counts}",
    )  # fmt: skip
    shown = {one.query_id: one for one in duels if one.winner == which}
    query_id = st.selectbox(
        word("evaluation.question"), list(shown), key=f"compare-question-{which}",
        format_func=lambda one: f"{shown[one].a - shown[one].b:+.2f} · {shown[one].question}",
    )  # fmt: skip
    _duel(view, shown[query_id], a, b)


def question_by_question(a: Side, b: Side, metric: str) -> list[Duel]:
    """The questions that both were asked, the clearest difference first."""
    values: list[Mapping[str, float]] = [
        score(side.result.run(side.system), side.result.qrels(), [metric]).per_query(metric) for side in (a, b)
    ]
    both = [
        query_id
        for query_id in values[0]
        if query_id in values[1] and a.result.questions.get(query_id) == b.result.questions.get(query_id)
    ]
    duels = [
        Duel(query_id=one, question=a.result.questions.get(one, one), a=values[0][one], b=values[1][one])
        for one in both
    ]
    return sorted(duels, key=lambda one: (-abs(one.a - one.b), one.query_id))


def _duel(view: View, duel: Duel, a: Side, b: Side) -> None:
    word = view.word
    st.markdown(f"#### {plain(duel.question)}")
    titles = _titles(view, duel, a, b)
    columns = st.columns(2, gap="medium")
    for column, side, value in zip(columns, (a, b), (duel.a, duel.b), strict=True):
        grades = side.result.qrels().get(duel.query_id, {})
        with column:
            st.markdown(f"**{plain(side.system)}** `{value:.3f}`")
            _ranking(view, side.result.run(side.system).get(duel.query_id, []), grades, titles)
    if st.toggle(word("evaluation.traces"), key="compare-traces"):
        for column, side, key in zip(st.columns(2, gap="medium"), (a, b), "ab", strict=True):
            with column:
                _trace(view, side, duel.question, key)


def _titles(view: View, duel: Duel, a: Side, b: Side) -> Mapping[str, str]:
    """What the documents of two rankings are called, where they are named by their ids."""
    doc_ids = {doc_id for side in (a, b) for doc_id, _ in side.result.run(side.system).get(duel.query_id, [])[:SHOWN]}
    kb = searched(view.kb, a.result.collection, {})
    found, _ = kb.catalog.find_documents(
        kb.collection, text="", state="", type="", limit=None, offset=0, doc_ids=sorted(doc_ids)
    )
    return {info.doc_id: shown_title(info) for info in found}


def _ranking(view: View, ranking: Ranking, grades: Mapping[str, int], titles: Mapping[str, str]) -> None:
    if not ranking:
        st.caption(view.word("evaluation.nothing_found"))
    lines = []
    for rank, (doc_id, value) in enumerate(ranking[:SHOWN], start=1):
        mark = ":green-badge[✓] " if grades.get(doc_id, 0) >= 1 else ""
        lines.append(f"{rank}. {mark}{plain(titles.get(doc_id) or name_of(doc_id))} `{value:.3f}`")
    st.markdown("\n".join(lines))
    found = {doc_id for doc_id, _ in ranking[:SHOWN]}
    for missed in [doc_id for doc_id, grade in grades.items() if grade >= 1 and doc_id not in found]:
        place = next((at for at, (doc_id, _) in enumerate(ranking, start=1) if doc_id == missed), None)
        st.markdown(f":red-badge[{place or '–'}] {plain(name_of(missed))}")


def _trace(view: View, side: Side, question: str, key: str) -> None:
    """Search again, as the collection is now, and show the steps."""
    st.markdown(f"**{plain(side.system)}**")
    try:
        system = parse_system(side.system)
        kb = searched(view.kb, side.result.collection, system.settings)
        hits = kb.search(question, top_k=min(TOP_K, system.most_hits or TOP_K), explain=True, **system.options)
    except RagstoneError as error:
        st.error(told(view, error))
        return
    steps(view, hits.trace, titles_of(kb, [Outcome(name=side.system, hits=hits)]), f"compare-{key}")
