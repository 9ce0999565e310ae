"""A stored result: figures with intervals, which differences are more than chance, what went wrong, and the report."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from eval import library, plots
from eval.comparison import HEADLINE
from eval.library import StoredAnswers, StoredResult
from ui.web.markup import plain
from ui.web.view import View
from ui.web.words.evaluation import WORDS


def results(view: View, found: Sequence[StoredResult]) -> None:
    by_name = {one.name: one for one in found}
    if st.session_state.get("evaluation-result") not in by_name:
        st.session_state["evaluation-result"] = found[0].name
    name = st.selectbox(
        view.word("evaluation.which"),
        list(by_name),
        format_func=lambda one: result_name(view, by_name[one]),
        key="evaluation-result",
        persist_state="session",
    )
    result = by_name[name]
    tree = result.tree
    st.caption(view.word("evaluation.facts", questions=tree["n_queries"], depth=tree["depth"], seed=tree["seed"]))
    verdict(view, tree)
    st.table(quality_rows(view, tree, _timings(result.folder)))
    plotted(view, tree, headline(tree))
    differences(view, tree)
    _faults(view, tree)
    downloads(view, result, "report.md", "evaluation")


def result_name(view: View, result: StoredResult | StoredAnswers) -> str:
    dataset = result.tree["dataset"]
    shown = view.word("evaluation.saved_set") if f"{dataset}.csv" == library.SAVED else dataset
    return f"{result.at:%Y-%m-%d %H:%M} · {shown} · {', '.join(result.systems)}"


def headline(tree: Mapping[str, Any]) -> list[str]:
    """The metrics that are shown first: those of the headline that were worked out, else the first ones."""
    there = [name for name in next(iter(tree["systems"].values())) if name != "ci"]
    return [name for name in HEADLINE if name in there] or there[:3]


def quality_rows(
    view: View, tree: Mapping[str, Any], timings: Mapping[str, Mapping[str, float]]
) -> list[dict[str, str]]:
    """A row for each system: means with their intervals, the best in bold, failures, and the median time."""
    metrics = headline(tree)
    best = {metric: max(values[metric] for values in tree["systems"].values()) for metric in metrics}
    rows = []
    for name, values in tree["systems"].items():
        row = {view.word("evaluation.system"): plain(name)}
        for metric in metrics:
            low, high = values["ci"][metric]
            mean = f"{values[metric]:.3f}"
            row[metric] = f"{f'**{mean}**' if values[metric] == best[metric] else mean} ({low:.2f}–{high:.2f})"
        row[view.word("evaluation.failed")] = str(tree["failures"][name]["n"])
        row[view.word("evaluation.median_ms")] = f"{timings.get(name, {}).get('p50', 0.0):.0f}"
        rows.append(row)
    return rows


def verdict(view: View, tree: Mapping[str, Any]) -> None:
    """The one sentence that people came for."""
    word, metric = view.word, headline(tree)[0]
    order = sorted(tree["systems"], key=lambda name: -tree["systems"][name][metric])
    if len(order) < 2:
        return
    pair = next((c for c in tree["comparisons"] if c["metric"] == metric and {c["a"], c["b"]} == set(order[:2])), None)
    if pair is not None:
        key = "best_clear" if pair["differs"] else "best_chance" if pair["difference"] else "best_equal"
        st.markdown(
            word(f"evaluation.{key}", best=f"**{plain(order[0])}**", second=plain(order[1]), metric=plain(metric))
        )


def plotted(view: View, tree: Mapping[str, Any], metrics: Sequence[str]) -> None:
    """A plot with intervals for each metric."""
    word = view.word
    for start in range(0, len(metrics), 2):  # in pairs, so that a narrow screen keeps the order
        for column, metric in zip(st.columns(2), metrics[start : start + 2], strict=False):
            with column:
                _plot(view, tree, metric)
    st.caption(word("evaluation.interval"))


def _plot(view: View, tree: Mapping[str, Any], metric: str) -> None:
    rows = [
        plots.Interval(name=name, value=values[metric], low=values["ci"][metric][0], high=values["ci"][metric][1])
        for name, values in tree["systems"].items()
    ]
    st.markdown(f"**{metric_name(view, metric)}**")
    picture = plots.standalone(plots.interval_plot(metric, rows)).strip()
    st.image(picture, width="stretch", alt=view.word("evaluation.plot", metric=metric))


def metric_name(view: View, metric: str) -> str:
    """What a metric is called: in words where it has some, else by the name the literature knows."""
    return view.word(f"evaluation.{metric}") if metric in WORDS else plain(metric)


def differences(view: View, tree: Mapping[str, Any]) -> None:
    """Every pair of systems with the interval of their difference."""
    word = view.word
    if not tree["comparisons"]:
        return
    with st.expander(word("evaluation.differences"), icon=":material/compare_arrows:"):
        st.table([{
            word("evaluation.metric"): metric_name(view, one["metric"]), word("evaluation.pair"): plain(f"{one['a']} − {one['b']}"),
            word("evaluation.difference"): plain(f"{one['difference']:+.3f} ({one['ci'][0]:+.3f} … {one['ci'][1]:+.3f})"),
            "p": f"{one['p_holm']:.3f}", word("evaluation.won"): f"{one['wins']} / {one['ties']} / {one['losses']}",
            word("evaluation.verdict"): word("evaluation.differs" if one["differs"] else "evaluation.may_be_chance"),
        } for one in tree["comparisons"]])  # fmt: skip


def _faults(view: View, tree: Mapping[str, Any]) -> None:
    word = view.word
    lines = [
        f"{plain(name)}: {plain(one['message'])}"
        for name, found in tree["failures"].items()
        for one in found["examples"]
    ]
    lines += [plain(problem["message"]) for problem in tree["problems"]]
    if lines:
        with st.expander(word("evaluation.problems", n=len(lines)), icon=":material/warning:"):
            st.markdown("\n".join(f"- {line}" for line in lines))


def downloads(view: View, result: StoredResult | StoredAnswers, report: str, key: str) -> None:
    """Buttons for a result's report (its file's name), for all of its files, and to remove it. key: of the buttons."""
    word = view.word
    with st.container(horizontal=True):
        st.download_button(
            word("evaluation.report"), (result.folder / report).read_bytes(), file_name=f"{result.name}.md", mime="text/markdown",
            icon=":material/download:", on_click="ignore", key=f"{key}-report",
        )  # fmt: skip
        st.download_button(
            word("evaluation.all_files"), zipped(result.folder), file_name=f"{result.name}.zip", mime="application/zip",
            icon=":material/folder_zip:", on_click="ignore", key=f"{key}-zip",
        )  # fmt: skip
        if view.user.may_edit and st.button(
            word("evaluation.remove_result"), icon=":material/delete:", key=f"{key}-remove"
        ):
            confirm_removal(view, result)


def confirm_removal(view: View, result: StoredResult | StoredAnswers) -> None:
    """Ask, then delete a stored result."""
    word = view.word

    @st.dialog(word("evaluation.remove_title"), icon=":material/delete:")
    def ask() -> None:
        view.check()
        st.markdown(plain(result_name(view, result)))
        if st.button(word("evaluation.remove_sure"), type="primary", key="result-remove-sure"):
            library.remove(result)
            st.rerun()

    ask()


def zipped(folder: Path) -> bytes:
    """Everything in a result's folder: the report as a page with its pictures, the runs, the figures."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return out.getvalue()


def _timings(folder: Path) -> dict[str, dict[str, float]]:
    try:
        found: dict[str, dict[str, float]] = json.loads((folder / "timings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found
