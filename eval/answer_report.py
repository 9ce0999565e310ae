"""The report of an evaluation of answers: one HTML page that needs nothing else, and the same in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval import plots
from eval.answers import ANSWER_METRICS, AnswerEvaluation, Given
from eval.report import (
    Cell,
    Table,
    comparison_table,
    html_page,
    markdown_page,
    problem_table,
    settings_table,
)

_SHORT = 240  # characters of an answer shown in a table
_N_SHOWN = 5
_FOOTER = (
    "How to read it: a question that failed, or that a system did not answer although the documents do, counts 0 in every "
    "figure of quality. Evidence is checked against the stored text by rules, without a model: numbers, dates, names, "
    "negation and the share of words. Failures are counted apart."
)


def answers_html(evaluation: AnswerEvaluation, judge: Mapping[str, Any] | None = None) -> str:
    """The report as one page. judge: the judge's part of the JSON document."""
    figures = [_figures(evaluation)]
    tables = _tables(evaluation, judge or {})
    return html_page(
        evaluation.dataset.name, _subtitle(evaluation), _verdict(evaluation), figures, tables, footer=_FOOTER
    )


def answers_markdown(evaluation: AnswerEvaluation, judge: Mapping[str, Any] | None = None) -> str:
    title = f"Answers: {evaluation.dataset.name}"
    return markdown_page(title, _subtitle(evaluation), _verdict(evaluation), _tables(evaluation, judge or {}))


def _subtitle(evaluation: AnswerEvaluation) -> str:
    dataset = evaluation.dataset
    return (
        f"answers · {len(dataset.questions):,} questions, {len(dataset.unanswerable):,} that the documents do not answer "
        f"· seed {evaluation.seed} · {', '.join(dict.fromkeys(dataset.files.values()))}"
    )


def _main(evaluation: AnswerEvaluation) -> str:
    known = next(iter(evaluation.systems.values())).means()
    return "F1" if "F1" in known else "groundedness"


def _verdict(evaluation: AnswerEvaluation) -> str:
    metric = _main(evaluation)
    means = {name: result.means().get(metric, 0.0) for name, result in evaluation.systems.items()}
    best = max(means, key=lambda name: means[name])
    low, high = evaluation.systems[best].bounds.get(metric, (0.0, 0.0))
    failed = f" {evaluation.n_failures} questions failed." if evaluation.n_failures else ""
    return f"{best} reaches {metric} {means[best]:.3f} (95 % interval {low:.3f} to {high:.3f}).{failed}"


def _figures(evaluation: AnswerEvaluation) -> str:
    drawn = []
    for metric in dict.fromkeys((_main(evaluation), "citation-precision", "groundedness")):
        rows = [
            plots.Interval(
                name=name, value=result.means()[metric], low=result.bounds[metric][0], high=result.bounds[metric][1]
            )
            for name, result in evaluation.systems.items()
            if metric in result.bounds
        ]
        if rows:
            picture = plots.interval_plot(f"{metric} with its 95 % interval", rows)
            drawn.append(f"<figure><figcaption>{metric}</figcaption>{picture}</figure>")
    return f"<section class=figures>{''.join(drawn)}</section>" if drawn else ""


def _tables(evaluation: AnswerEvaluation, judge: Mapping[str, Any]) -> list[Table]:
    return [
        _quality(evaluation),
        _abstention(evaluation),
        *_judged(judge),
        comparison_table(evaluation.comparisons),
        _failures(evaluation),
        *(_worst(evaluation, name) for name in list(evaluation.systems)[:2]),
        problem_table(evaluation.problems),
        settings_table(evaluation.settings),
    ]


def _quality(evaluation: AnswerEvaluation) -> Table:
    names = [name for name in ANSWER_METRICS if name in next(iter(evaluation.systems.values())).means()]
    rows = []
    for system, result in evaluation.systems.items():
        cells = [Cell(text=system)]
        for name in names:
            low, high = result.bounds[name]
            cells.append(Cell(text=f"{result.means()[name]:.3f} ({low:.3f}–{high:.3f})", number=True))
        n_broken = sum(given.n_broken for given in result.given.values())
        cells.append(Cell(text=str(len(result.failures)), number=True, strong=bool(result.failures)))
        cells.append(Cell(text=str(n_broken), number=True, strong=bool(n_broken)))
        rows.append(tuple(cells))
    note = "Means over the questions, with the 95 % bootstrap interval; failures and citations that do not resolve are counted."
    return Table(title="Quality", note=note, head=("system", *names, "failed", "broken citations"), rows=tuple(rows))


def _abstention(evaluation: AnswerEvaluation) -> Table:
    rows = []
    for system, result in evaluation.systems.items():
        found = result.abstention
        shares = (f"{found.precision:.3f}", f"{found.recall:.3f}")
        counts = (str(found.n_right), str(found.n_wrong), str(found.n_missed))
        rows.append((Cell(text=system), *(Cell(text=text, number=True) for text in (*shares, *counts))))
    note = (
        "Right: abstained where the documents do not answer. Wrong: abstained although they do. "
        "Missed: answered although they do not."
    )
    head = ("system", "precision", "recall", "right", "wrong", "missed")
    return Table(title="Abstention", note=note, head=head, rows=tuple(rows))


def _judged(judge: Mapping[str, Any]) -> list[Table]:
    grades = judge.get("grades") or {}
    if not grades:
        return []
    rows = tuple(
        (
            Cell(text=name),
            Cell(text=f"{one['mean']:.3f}", number=True),
            Cell(text=f"{one['lowest']:.3f} to {one['highest']:.3f}", number=True),
            Cell(text=str(one["n_judged"]), number=True),
            Cell(text=str(one["n_failed"]), number=True, strong=one["n_failed"] > 0),
            Cell(text=f"{one['agreement']['kappa']:.2f} of {one['agreement']['n']}" if "agreement" in one else "–"),
        )
        for name, one in grades.items()
    )
    note = f"Grades of {judge.get('model', 'a model')}, 0 to 1; the range is where the mean lies whatever the failed ones would be."
    head = ("system", "mean grade", "range", "judged", "failed", "agreement with people (kappa)")
    tables = [Table(title="Model judge", note=note, head=head, rows=rows)]
    if judge.get("pairs"):
        columns = ("wins", "ties", "losses", "inconsistent", "n_failed", "p")
        pairs = tuple(
            (Cell(text=one["a"]), Cell(text=one["b"]), *(Cell(text=str(one[key]), number=True) for key in columns))
            for one in judge["pairs"]
        )
        note = "Each question twice, the answers in both orders; orders that disagree are a tie and counted as inconsistent."
        tables.append(Table(title="Model judge, pairs", note=note, head=("system", "against", *columns), rows=pairs))
    return tables


def _failures(evaluation: AnswerEvaluation) -> Table:
    rows = tuple(
        (Cell(text=name), Cell(text=query_id), Cell(text=given.code), Cell(text=given.message))
        for name, result in evaluation.systems.items()
        for query_id, given in list(result.failures.items())[:_N_SHOWN]
    )
    if not rows:
        return Table(title="Failures", note="Every question was answered or declined.")
    note = f"The first {_N_SHOWN} of each system."
    return Table(title="Failures", note=note, head=("system", "question", "code", "message"), rows=rows)


def _worst(evaluation: AnswerEvaluation, system: str) -> Table:
    metric, result = _main(evaluation), evaluation.systems[system]
    scores = result.references if metric in result.references.values else result.evidence
    values = scores.per_query(metric) if metric in scores.values else {}
    order = sorted(values, key=lambda query_id: (values[query_id], query_id))[: 2 * _N_SHOWN]
    rows = tuple(
        (
            Cell(text=query_id),
            Cell(text=evaluation.dataset.questions[query_id]),
            Cell(text=" / ".join(evaluation.dataset.answers.get(query_id, ()))),
            Cell(text=_said(result.given.get(query_id))),
            Cell(text=f"{values[query_id]:.2f}", number=True),
        )
        for query_id in order
    )
    head = ("id", "question", "reference", "answer", metric)
    note = f"The questions with the lowest {metric}."
    return Table(title=f"Weakest answers of {system}", note=note, head=head, rows=rows, folded=True)


def _said(given: Given | None) -> str:
    if given is None or given.code:
        return f"({given.code})" if given else "(no answer)"
    text = ("(declined) " if given.abstained else "") + " ".join(given.text.split())
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"
