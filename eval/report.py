"""The report of an evaluation: one HTML page that needs nothing else, and the same in Markdown.

Both are the same bytes for the same data, systems and seed: measured times are kept in a picture and a file of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from eval import plots
from eval.comparison import HEADLINE, Comparison
from eval.evaluation import Evaluation, SystemResult, TracedStep, by_quality, most_different
from eval.metrics import RECALL_LEVELS, recall_by_depth
from eval.problems import Problem

LATENCY_FILE = "latency.svg"

_DEPTHS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
_N_QUESTIONS = 5  # won and lost, each
_N_SHOWN = 3  # documents shown of a ranking
_SILENT_STEPS = ("resolve", "load", "understand", "expand")  # they rank nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    text: str
    strong: bool = False
    number: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with the sentence that is read before it; without rows only the sentence stands."""

    title: str
    note: str
    head: tuple[str, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    folded: bool = False


def markdown_report(evaluation: Evaluation) -> str:
    """The report as Markdown, without pictures and measured times."""
    return markdown_page(
        f"Evaluation: {evaluation.dataset.name}", _subtitle(evaluation), _verdict(evaluation), _tables(evaluation)
    )


def html_report(evaluation: Evaluation, *, latency: str = "linked") -> str:
    """The report as one page.

    latency: "linked" shows the picture in LATENCY_FILE beside the page, so that the page holds nothing that changes
        from run to run; "inline" puts it into the page; "none" leaves it out.
    """
    return html_page(
        evaluation.dataset.name,
        _subtitle(evaluation),
        _verdict(evaluation),
        [_figures(evaluation, latency)],
        _tables(evaluation),
    )


def markdown_page(title: str, subtitle: str, verdict: str, tables: Sequence[Table]) -> str:
    """A report of tables as Markdown."""
    lines = [f"# {_markdown(title)}", "", _markdown(subtitle), "", f"**{_markdown(verdict)}**", ""]
    for table in tables:
        lines += [f"## {table.title}", "", _markdown(table.note), ""]
        if table.rows:
            numbers = [cell.number for cell in table.rows[0]]
            lines.append("| " + " | ".join(map(_markdown, table.head)) + " |")
            lines.append("| " + " | ".join("---:" if number else "---" for number in numbers) + " |")
            lines += ["| " + " | ".join(map(_markdown_cell, row)) + " |" for row in table.rows]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def html_page(
    title: str, subtitle: str, verdict: str, figures: Sequence[str], tables: Sequence[Table], footer: str | None = None
) -> str:
    """A report as one page that needs nothing else. figures: HTML."""
    name = escape(title)
    body = [
        f"<header><p class=eyebrow>ragstone evaluation</p><h1>{name}</h1><p>{escape(subtitle)}</p>"
        f"<p class=verdict>{escape(verdict)}</p></header>",
        *figures,
        *(_html_table(table) for table in tables),
        _READING if footer is None else f"<footer><p>{escape(footer)}</p></footer>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src 'self' data: file:; "
        "style-src 'unsafe-inline'\">"
        f"<title>Evaluation: {name}</title><style>{_CSS}{plots.STYLE}</style></head><body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def latency_plot(evaluation: Evaluation) -> str:
    """Latency against quality as an SVG file; changes from run to run, as times do."""
    return plots.standalone(_latency_svg(evaluation))


# ---------------------------------------------------------------- words


def _subtitle(evaluation: Evaluation) -> str:
    dataset = evaluation.dataset
    documents = f"{dataset.n_documents:,} documents · " if dataset.n_documents else ""
    files = ", ".join(dict.fromkeys(dataset.files.values()))
    return (
        f"{len(dataset.questions):,} questions · {documents}depth {evaluation.depth} · seed {evaluation.seed} · {files}"
    )


def _verdict(evaluation: Evaluation) -> str:
    metric = evaluation.metrics[0]
    order = by_quality(evaluation)
    best = order[0]
    result = evaluation.systems[best]
    low, high = result.intervals[metric]
    value = result.scores.mean(metric)
    lead = f"{best} reaches {metric} {value:.3f} (95 % interval {low:.3f} to {high:.3f})."
    if len(order) == 1:
        return lead
    pair = _pair(evaluation.comparisons, metric, best, order[1])
    if pair is None:
        return f"Best: {lead}"
    if pair.differs:
        return f"Best: {lead} It is ahead of {order[1]} by more than chance explains ({_p(pair.p_holm)})."
    return f"Best: {lead} Its lead over {order[1]} may be chance ({_p(pair.p_holm)}): treat the two as equal."


def _pair(comparisons: Sequence[Comparison], metric: str, a: str, b: str) -> Comparison | None:
    return next((c for c in comparisons if c.metric == metric and {c.a, c.b} == {a, b}), None)


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _headline(evaluation: Evaluation) -> list[str]:
    wanted = (evaluation.metrics[0], *HEADLINE, "MAP")
    return [name for name in dict.fromkeys(wanted) if name in evaluation.metrics][:5]


# ---------------------------------------------------------------- tables


def _tables(evaluation: Evaluation) -> list[Table]:
    return [
        _headline_table(evaluation),
        comparison_table(evaluation.comparisons),
        _coverage_table(evaluation),
        _failure_table(evaluation),
        *_question_tables(evaluation),
        _all_metrics_table(evaluation),
        problem_table(evaluation.problems),
        settings_table(evaluation.settings),
    ]


def _headline_table(evaluation: Evaluation) -> Table:
    metrics = _headline(evaluation)
    best = _best_values(evaluation, metrics)
    rows = []
    for name, result in evaluation.systems.items():
        cells = [Cell(text=name)]
        for metric in metrics:
            low, high = result.intervals[metric]
            value = result.scores.mean(metric)
            cells.append(Cell(text=f"{value:.3f} ({low:.3f}–{high:.3f})", strong=value == best[metric], number=True))
        cells.append(Cell(text=str(len(result.failures)), number=True, strong=bool(result.failures)))
        rows.append(tuple(cells))
    note = (
        "Mean over all questions, with the 95 % bootstrap interval, and how many searches failed. "
        "A question without an answer counts 0."
    )
    return Table(title="Quality", note=note, head=("system", *metrics, "failed"), rows=tuple(rows))


def _best_values(evaluation: Evaluation, metrics: Iterable[str]) -> dict[str, float]:
    results = evaluation.systems.values()
    return {metric: max(result.scores.mean(metric) for result in results) for metric in metrics}


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    title = "Comparison"
    if not comparisons:
        return Table(title=title, note="There is one system only, so there is nothing to compare.")
    rows = tuple(
        (
            Cell(text=c.metric),
            Cell(text=c.a, strong=c.differs and c.difference > 0),
            Cell(text=c.b, strong=c.differs and c.difference < 0),
            Cell(text=f"{c.difference:+.3f}", number=True),
            Cell(text=f"{c.ci[0]:+.3f} to {c.ci[1]:+.3f}", number=True),
            Cell(text=f"{c.p_holm:.3f}" if c.p_holm >= 0.001 else "< 0.001", number=True),
            Cell(text=f"{c.wins} / {c.ties} / {c.losses}", number=True),
            Cell(text="differs" if c.differs else "no difference shown"),
        )
        for c in comparisons
    )
    note = (
        "First system minus second, over the same questions: difference of the means, its paired 95 % bootstrap interval, "
        "p of the sign-flip randomization test after Holm's correction, and questions won, tied and lost."
    )
    head = ("metric", "system", "against", "difference", "95 % interval", "p (Holm)", "won / tied / lost", "verdict")
    return Table(title=title, note=note, head=head, rows=rows)


def _coverage_table(evaluation: Evaluation) -> Table:
    cutoffs = sorted({cutoff for result in evaluation.systems.values() for cutoff in result.unjudged})
    rows = tuple(
        (
            Cell(text=name),
            Cell(text=str(len(result.scores.unanswered)), number=True),
            Cell(text=str(len(result.failures)), number=True, strong=bool(result.failures)),
            *(Cell(text=f"{100 * result.unjudged[cutoff]:.1f} %", number=True) for cutoff in cutoffs),
        )
        for name, result in evaluation.systems.items()
    )
    note = (
        "Questions without any result, searches that failed, and the share of the results that nobody judged. "
        "What was not judged counts as not relevant, so a system that finds other good documents is underrated."
    )
    head = ("system", "unanswered", "failed", *(f"unjudged in the first {cutoff}" for cutoff in cutoffs))
    return Table(title="Coverage", note=note, head=head, rows=rows)


def _failure_table(evaluation: Evaluation) -> Table:
    rows = tuple(
        (Cell(text=name), Cell(text=failure.query_id), Cell(text=failure.code), Cell(text=failure.message))
        for name, result in evaluation.systems.items()
        for failure in result.failures[:_N_QUESTIONS]
    )
    if not rows:
        return Table(title="Failures", note="No search failed.")
    note = f"The first {_N_QUESTIONS} of each system. Failed searches count 0."
    return Table(title="Failures", note=note, head=("system", "question", "code", "message"), rows=rows)


def _question_tables(evaluation: Evaluation) -> list[Table]:
    metric, order = evaluation.metrics[0], by_quality(evaluation)
    tables = []
    if len(order) > 1:
        a, b = order[:2]
        for title, better, worse in ((f"Where {a} wins", a, b), (f"Where {b} wins", b, a)):
            won = most_different(evaluation, better, worse, len(evaluation.dataset.questions))
            note = f"{len(won)} questions on which {better} has the higher {metric} than {worse}; the clearest first."
            tables.append(_questions_table(evaluation, title, note, won[:_N_QUESTIONS], (a, b)))
    best = evaluation.systems[order[0]]
    missed = [query_id for query_id, value in best.scores.per_query(metric).items() if value == 0.0]
    missed = [q for q in missed if all(r.scores.per_query(metric)[q] == 0.0 for r in evaluation.systems.values())]
    note = f"{len(missed)} of {len(best.scores.query_ids)} questions have {metric} 0 in every system."
    tables.append(_questions_table(evaluation, "Found by nobody", note, missed[:_N_QUESTIONS], order[:2]))
    return tables


def _questions_table(
    evaluation: Evaluation, title: str, note: str, query_ids: Sequence[str], systems: Sequence[str]
) -> Table:
    rows = tuple(
        (
            Cell(text=query_id),
            Cell(text=evaluation.dataset.questions[query_id]),
            *(
                Cell(
                    text=_outcome(evaluation.systems[name], query_id, evaluation.dataset.qrels[query_id])
                    + _trace(evaluation.traces.get(name, {}).get(query_id, ()))
                )
                for name in systems
            ),
        )  # fmt: skip
        for query_id in query_ids
    )
    return Table(title=title, note=note, head=("id", "question", *systems), rows=rows, folded=True)


def _outcome(result: SystemResult, query_id: str, grades: Mapping[str, int]) -> str:
    hits = result.run.get(query_id, [])
    rank = next((at for at, (doc_id, _) in enumerate(hits, start=1) if grades.get(doc_id, 0) >= 1), None)
    first = f"first relevant at {rank}" if rank else f"nothing relevant in {len(hits)}" if hits else "no result"
    shown = ", ".join(doc_id + ("✓" if grades.get(doc_id, 0) >= 1 else "") for doc_id, _ in hits[:_N_SHOWN])
    return f"{first}: {shown}" if shown else first


def _trace(steps: Sequence[TracedStep]) -> str:
    """The way of the first relevant document through a search: its rank after each step that ranks."""
    ranked = [step for step in steps if step.name not in _SILENT_STEPS]
    shown = [f"{step.name.removeprefix('recall:')} {'#' + str(step.rank) if step.rank else '–'}" for step in ranked]
    return " · " + " → ".join(shown) if shown else ""


def _all_metrics_table(evaluation: Evaluation) -> Table:
    best = _best_values(evaluation, evaluation.metrics)
    rows = []
    for metric in evaluation.metrics:
        cells = [Cell(text=metric)]
        for result in evaluation.systems.values():
            value = result.scores.mean(metric)
            cells.append(
                Cell(text=f"{value:.4f}", strong=value == best[metric] and len(evaluation.systems) > 1, number=True)
            )
        rows.append(tuple(cells))
    note = "Every metric that was worked out. The best of each row stands out."
    return Table(title="All metrics", note=note, head=("metric", *evaluation.systems), rows=tuple(rows), folded=True)


def problem_table(problems: Sequence[Problem]) -> Table:
    if not problems:
        return Table(title="Problems in the data", note="None was found.")
    rows = tuple((Cell(text=problem.kind), Cell(text=problem.message)) for problem in problems)
    return Table(
        title="Problems in the data", note="Counted, never dropped silently.", head=("kind", "what"), rows=rows
    )


def settings_table(settings: Mapping[str, object]) -> Table:
    rows = tuple((Cell(text=key), Cell(text=str(value))) for key, value in settings.items())
    note = (
        "What the systems were built with."
        if rows
        else "The systems were given as functions; no settings were recorded."
    )
    return Table(title="Settings", note=note, head=("setting", "value") if rows else (), rows=rows, folded=bool(rows))


# ---------------------------------------------------------------- figures


def _figures(evaluation: Evaluation, latency: str) -> str:
    legend = "".join(f"<span>{plots.swatch(at)}{escape(name)}</span>" for at, name in enumerate(evaluation.systems))
    figures = [
        *(_figure(metric, _interval_svg(evaluation, metric)) for metric in _headline(evaluation)[:4]),
        _figure("Precision–recall", _precision_recall_svg(evaluation)),
        _figure("Recall by depth", _depth_svg(evaluation)),
    ]
    if latency == "inline":
        figures.append(_figure("Latency against quality", _latency_svg(evaluation)))
    elif latency == "linked":
        alt = f"Measured times differ from run to run; they are in {LATENCY_FILE} and timings.json beside this page."
        figures.append(_figure("Latency against quality", f'<img src="{LATENCY_FILE}" alt="{alt}" width="460">'))
    return f"<section><h2>At a glance</h2><p class=legend>{legend}</p><div class=figures>{''.join(figures)}</div></section>"


def _figure(title: str, picture: str) -> str:
    return f"<figure><figcaption>{escape(title)}</figcaption>{picture}</figure>"


def _interval_svg(evaluation: Evaluation, metric: str) -> str:
    rows = []
    for name, result in evaluation.systems.items():
        low, high = result.intervals[metric]
        rows.append(plots.Interval(name=name, value=result.scores.mean(metric), low=low, high=high))
    return plots.interval_plot(f"{metric} with 95 % interval", rows)


def _precision_recall_svg(evaluation: Evaluation) -> str:
    series = [
        plots.Series(name=name, points=tuple(zip(RECALL_LEVELS, result.scores.precision_at_recall, strict=True)))
        for name, result in evaluation.systems.items()
    ]
    return plots.line_plot("Precision–recall curve", plots.unit_axis("recall"), plots.unit_axis("precision"), series)


def _depth_svg(evaluation: Evaluation) -> str:
    depths = sorted({*(depth for depth in _DEPTHS if depth < evaluation.depth), evaluation.depth})
    series = [
        plots.Series(
            name=name,
            points=tuple(
                (float(depth), value)
                for depth, value in recall_by_depth(result.run, evaluation.dataset.qrels, depths).items()
            ),
        )
        for name, result in evaluation.systems.items()
    ]
    x = plots.log_axis("documents looked at", [1.0, float(evaluation.depth)])
    return plots.line_plot("Recall by depth", x, plots.unit_axis("recall"), series)


def _latency_svg(evaluation: Evaluation) -> str:
    metric = evaluation.metrics[0]
    measured = {name: max(times["p50"], 0.01) for name, times in evaluation.latency().items()}
    quality = {name: result.scores.mean(metric) for name, result in evaluation.systems.items()}
    series = [plots.Series(name=name, points=((measured[name], quality[name]),)) for name in evaluation.systems]
    x = plots.log_axis("median milliseconds a search", list(measured.values()))
    y = plots.linear_axis(metric, [*quality.values()])
    return plots.scatter_plot("Latency against quality", x, y, series)


# ---------------------------------------------------------------- Markdown and HTML

_MARKDOWN_ESCAPES = str.maketrans(
    {
        "|": "\\|",
        "<": "&lt;",
        ">": "&gt;",
        "[": "\\[",
        "]": "\\]",
        "`": "\\`",
        "*": "\\*",
        "_": "\\_",
        "\n": " ",
        "\r": " ",
    }
)


def _markdown(text: str) -> str:
    return text.translate(_MARKDOWN_ESCAPES)


def _markdown_cell(cell: Cell) -> str:
    return f"**{_markdown(cell.text)}**" if cell.strong else _markdown(cell.text)


def _html_table(table: Table) -> str:
    note = f"<p>{escape(table.note)}</p>"
    if not table.rows:
        return f"<section><h2>{escape(table.title)}</h2>{note}</section>"
    numbers = [cell.number for cell in table.rows[0]]
    head = "".join(
        f"<th{' class=n' if number else ''}>{escape(text)}</th>"
        for text, number in zip(table.head, numbers, strict=True)
    )
    rows = "".join("<tr>" + "".join(map(_html_cell, row)) + "</tr>" for row in table.rows)
    grid = f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    if table.folded:
        return f"<section><details><summary><h2>{escape(table.title)}</h2></summary>{note}{grid}</details></section>"
    return f"<section><h2>{escape(table.title)}</h2>{note}{grid}</section>"


def _html_cell(cell: Cell) -> str:
    text = f"<b>{escape(cell.text)}</b>" if cell.strong else escape(cell.text)
    return f"<td{' class=n' if cell.number else ''}>{text}</td>"


_READING = (
    "<footer><p>How to read it: every figure is a mean over the questions. An interval says where the mean would likely "
    "lie with other questions of the same kind. Two systems whose difference is not marked cannot be told apart with these "
    "questions; more questions, not more decimals, would help. The figures equal trec_eval's.</p></footer>"
)

_CSS = (
    ":root{color-scheme:light dark;--bg:#fff;--panel:#f6f8fa;--ink:#1f2328;--soft:#57606a;--line:#d8dee4;--accent:#0072b2}"
    "@media (prefers-color-scheme:dark){:root{--bg:#0d1117;--panel:#151b23;--ink:#f0f6fc;--soft:#9198a1;--line:#30363d;"
    "--accent:#56b4e9}}"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"
    "'Segoe UI',Roboto,'Noto Sans','Noto Sans CJK SC',sans-serif}main{max-width:1100px;margin:0 auto;padding:40px 24px 64px}"
    "header{border-bottom:1px solid var(--line);padding-bottom:20px}.eyebrow{margin:0;color:var(--accent);font-weight:600;"
    "font-size:13px}h1{margin:2px 0 4px;font-size:30px;line-height:1.2;overflow-wrap:anywhere}"
    "header p{margin:0;color:var(--soft)}header .verdict{margin-top:16px;padding:12px 16px;border-left:4px solid var(--accent);"
    "background:var(--panel);color:var(--ink);font-size:16px;border-radius:0 6px 6px 0}"
    "section{margin-top:34px}h2{font-size:19px;margin:0 0 4px}section>p,details>p{margin:0 0 12px;color:var(--soft)}"
    "summary{cursor:pointer}summary h2{display:inline}details>p{margin-top:6px}"
    ".legend{display:flex;flex-wrap:wrap;gap:6px 18px}.legend span{display:inline-flex;align-items:center;gap:7px;"
    "color:var(--ink)}.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(330px,1fr));gap:16px}"
    "figure{margin:0;padding:12px 14px;border:1px solid var(--line);border-radius:8px;background:var(--panel)}"
    "figcaption{font-weight:600;margin-bottom:4px}figure svg,figure img{width:100%;height:auto;display:block}"
    ".scroll{overflow-x:auto;border:1px solid var(--line);border-radius:8px}table{border-collapse:collapse;width:100%;"
    "font-variant-numeric:tabular-nums;font-size:14px}th,td{padding:7px 10px;text-align:left;vertical-align:top;"
    "border-bottom:1px solid var(--line)}tbody tr:last-child td{border-bottom:0}th{background:var(--panel);font-weight:600;"
    "white-space:nowrap}.n{text-align:right;white-space:nowrap}td:first-child{white-space:nowrap}td b{color:var(--accent)}"
    "footer{margin-top:40px;padding-top:16px;border-top:1px solid var(--line);color:var(--soft);font-size:14px}"
    "@media print{main{max-width:none;padding:0}details>*{display:block}}"
)
