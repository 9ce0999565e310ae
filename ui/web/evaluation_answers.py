"""A stored evaluation of answers: whether they are borne out and complete, when nothing was answered, what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from eval.answers import EVIDENCE_METRICS
from eval.library import StoredAnswers
from ui.web.evaluation_results import differences, downloads, metric_name, plotted, result_name
from ui.web.markup import plain
from ui.web.view import View

SHOWN_REFERENCE = (
    "F1",
    "holds-answer",
)  # of the metrics that compare with a reference answer; the report has the others
MOST_SHOWN = 50  # answers in the table
LONG = 300  # characters of an answer in the table


def answers(view: View, found: Sequence[StoredAnswers]) -> None:
    word, by_name = view.word, {one.name: one for one in found}
    if st.session_state.get("evaluation-answered") not in by_name:
        st.session_state["evaluation-answered"] = found[0].name
    name = st.selectbox(
        word("evaluation.which"), list(by_name), key="evaluation-answered", persist_state="session",
        format_func=lambda one: result_name(view, by_name[one]),
    )  # fmt: skip
    result = by_name[name]
    tree = result.tree
    st.caption(word(
        "evaluation.answer_facts", questions=tree["n_queries"], unanswerable=tree["n_unanswerable"], references=tree["n_with_reference"]
    ))  # fmt: skip
    st.table(quality(view, tree))
    plotted(view, tree, shown_metrics(tree))
    st.markdown(f"**{word('evaluation.abstained')}**")
    st.table(abstention(view, tree))
    st.caption(word("evaluation.abstained_note"))
    differences(view, tree)
    _given(view, result)
    _problems(view, tree)
    downloads(view, result, "answers.md", "answers")


def shown_metrics(tree: Mapping[str, Any]) -> list[str]:
    """The metrics that were worked out and are shown, evidence first."""
    there = next(iter(tree["systems"].values()))["ci"]
    return [name for name in (*EVIDENCE_METRICS, *SHOWN_REFERENCE) if name in there]


def quality(view: View, tree: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row for each system: means with their intervals; what failed, and citations that lead nowhere, counted apart."""
    rows = []
    for name, values in tree["systems"].items():
        row = {
            view.word("evaluation.system"): plain(name),
            view.word("evaluation.failed"): str(values["failures"]["n"]),
        }
        for metric in shown_metrics(tree):
            low, high = values["ci"][metric]
            row[metric_name(view, metric)] = f"{values[metric]:.3f} ({low:.2f}–{high:.2f})"
        row[view.word("evaluation.broken")] = str(values["broken_citations"])
        rows.append(row)
    return rows


def abstention(view: View, tree: Mapping[str, Any]) -> list[dict[str, str]]:
    """When a system did not answer: rightly, wrongly, and when it should not have."""
    rows = []
    for name, values in tree["systems"].items():
        one = values["abstention"]
        row = {view.word("evaluation.system"): plain(name)}
        row |= {view.word(f"evaluation.abstained_{key}"): str(one[key]) for key in ("right", "wrong", "missed")}
        # a share of nothing is none
        shares = {"precision": one["right"] + one["wrong"], "recall": one["right"] + one["missed"]}
        row |= {
            view.word(f"evaluation.abstained_{key}"): f"{one[key]:.3f}" if of else "–" for key, of in shares.items()
        }
        rows.append(row)
    return rows


def _given(view: View, result: StoredAnswers) -> None:
    word = view.word
    with st.expander(word("evaluation.all_answers"), icon=":material/chat:", key="evaluation-given"):
        systems = result.systems
        system = systems[0]
        if len(systems) > 1:
            system = st.selectbox(word("evaluation.system"), systems, key=f"evaluation-given-{result.name}")
        rows = result.given(system)
        st.table([{
            word("evaluation.question"): plain(one["question"]), word("evaluation.answer"): _said(view, one),
            word("evaluation.failed"): plain(one.get("error", {}).get("code", "")),
        } for one in rows[:MOST_SHOWN]])  # fmt: skip
        if len(rows) > MOST_SHOWN:
            st.caption(word("evaluation.more_answers", n=len(rows) - MOST_SHOWN))


def _said(view: View, given: Mapping[str, Any]) -> str:
    text = " ".join(given["answer"].split())
    shown = plain(text if len(text) <= LONG else f"{text[: LONG - 1]}…")
    return f":gray[{view.word('evaluation.declined')}] {shown}" if given["abstained"] else shown


def _problems(view: View, tree: Mapping[str, Any]) -> None:
    lines = [
        f"{plain(name)}: {plain(one['message'])}" for name, values in tree["systems"].items() for one in values["failures"]["examples"]
    ]  # fmt: skip
    lines += [plain(problem["message"]) for problem in tree["problems"]]
    if lines:
        with st.expander(view.word("evaluation.problems", n=len(lines)), icon=":material/warning:"):
            st.markdown("\n".join(f"- {line}" for line in lines))
