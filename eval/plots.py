"""Plots as SVG text: small, without scripts, the same bytes for the same numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

# Okabe and Ito's palette, which people with any colour vision can tell apart; dashes tell apart what repeats a colour.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#a6761d")
_DASHES = ("", "7 4", "2 4")

STYLE = (
    "svg text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif;fill:#57606a}"
    "svg .grid{stroke:#d8dee4;stroke-width:1}svg .axis{stroke:#8c959f;stroke-width:1}"
    "svg .name{fill:#1f2328}svg .value{fill:#1f2328;font-weight:600}svg .label{font-size:12px}"
    "@media (prefers-color-scheme:dark){svg text{fill:#9198a1}svg .grid{stroke:#30363d}svg .axis{stroke:#656c76}"
    "svg .name,svg .value{fill:#f0f6fc}}"
)

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 44


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Where values lie along one side of a plot."""

    label: str
    ticks: tuple[float, ...]
    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """0 at the low end, 1 at the high end."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, max(value, self.low)))
        return 0.5 if high == low else min(1.0, (at - low) / (high - low))


def colour(at: int) -> str:
    return _COLOURS[at % len(_COLOURS)]


def swatch(at: int) -> str:
    """The sample of a line for a legend."""
    return f'<svg class="swatch" width="26" height="10" aria-hidden="true"><path d="M1 5H25" {_stroke(at)}/></svg>'


def unit_axis(label: str) -> Axis:
    return Axis(label=label, ticks=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0), low=0.0, high=1.0)


def linear_axis(label: str, values: Sequence[float]) -> Axis:
    """An axis around the values with ticks at round numbers."""
    low, high = min(values), max(values)
    step = _round_step((high - low) / 4 or 0.05)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    ticks = tuple(round(n * step, 10) for n in range(first, last + 1))
    return Axis(label=label, ticks=ticks, low=ticks[0], high=ticks[-1])


def log_axis(label: str, values: Sequence[float]) -> Axis:
    """A logarithmic axis with ticks at 1, 2, 5, 10, 20, ... around the values, which must be above 0."""
    steps = [digit * 10.0**power for power in range(-4, 9) for digit in (1, 2, 5)]
    low = max((step for step in steps if step <= min(values)), default=steps[0])
    high = min((step for step in steps if step >= max(values) and step > low), default=steps[-1])
    ticks = tuple(step for step in steps if low <= step <= high)
    return Axis(label=label, ticks=ticks, low=low, high=high, log=True)


def line_plot(title: str, x: Axis, y: Axis, series: Sequence[Series]) -> str:
    """Lines with a dot at each point; the legend is the caller's."""
    to_x, to_y = _scales(x, y)
    parts = _frame(x, y)
    for at, line in enumerate(series):
        path = " ".join(f"{to_x(px):.1f},{to_y(py):.1f}" for px, py in line.points)
        parts.append(
            f'<polyline points="{path}" fill="none" {_stroke(at)}><title>{escape(line.name)}</title></polyline>'
        )
        for px, py in line.points:
            tip = f"{line.name}: {_short(px)} → {py:.3f}"
            parts.append(
                f'<circle cx="{to_x(px):.1f}" cy="{to_y(py):.1f}" r="2.8" fill="{colour(at)}"><title>{escape(tip)}</title></circle>'
            )
    return _svg(title, parts, _WIDTH, _HEIGHT)


def scatter_plot(title: str, x: Axis, y: Axis, series: Sequence[Series]) -> str:
    """One named dot for each series' first point; names that would overlap are moved down."""
    to_x, to_y = _scales(x, y)
    parts = _frame(x, y)
    taken: list[tuple[float, float]] = []
    for at, line in enumerate(series):
        px, py = to_x(line.points[0][0]), to_y(line.points[0][1])
        left = px > _WIDTH * 0.62
        label_x, label_y = px + (-9 if left else 9), min(py + 4, _HEIGHT - _BOTTOM - 8)
        step = -14 if label_y > _HEIGHT / 2 else 14  # one direction only, so that it ends
        while any(abs(label_x - other_x) < 110 and abs(label_y - other_y) < 14 for other_x, other_y in taken):
            label_y += step
        taken.append((label_x, label_y))
        anchor = "end" if left else "start"
        parts.append(
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="5" fill="{colour(at)}"><title>{escape(line.name)}</title></circle>'
        )
        parts.append(
            f'<text class="name" x="{label_x:.1f}" y="{label_y:.1f}" text-anchor="{anchor}">{escape(line.name)}</text>'
        )
    return _svg(title, parts, _WIDTH, _HEIGHT)


def interval_plot(title: str, rows: Sequence[Interval]) -> str:
    """One row a system: its value as a dot, its interval as a line."""
    longest = max((len(row.name) for row in rows), default=0)
    left = min(170, 24 + 7 * longest)
    axis = linear_axis("", [bound for row in rows for bound in (row.low, row.high)] or [0.0, 1.0])
    right, height = _WIDTH - 56, 18 + 30 * len(rows) + 26
    parts = []
    for tick in axis.ticks:
        x = left + axis.share(tick) * (right - left)
        parts.append(f'<path class="grid" d="M{x:.1f} 8V{height - 26}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 9}" text-anchor="middle">{_short(tick)}</text>')
    for at, row in enumerate(rows):
        y = 28 + 30 * at
        low, mid, high = (left + axis.share(v) * (right - left) for v in (row.low, row.value, row.high))
        tip = f"{row.name}: {row.value:.4f}, 95 % interval {row.low:.4f} to {row.high:.4f}"
        parts.append(
            f'<g stroke="{colour(at)}" stroke-width="2.5"><title>{escape(tip)}</title><path d="M{low:.1f} {y}H{high:.1f}'
            f'M{low:.1f} {y - 5}V{y + 5}M{high:.1f} {y - 5}V{y + 5}"/><circle cx="{mid:.1f}" cy="{y}" r="4.5" fill="{colour(at)}"/></g>'
        )
        parts.append(
            f'<text class="name" x="{left - 12}" y="{y + 4}" text-anchor="end">{escape(_clip(row.name, 20))}</text>'
        )
        parts.append(f'<text class="value" x="{_WIDTH - 4}" y="{y + 4}" text-anchor="end">{row.value:.3f}</text>')
    return _svg(title, parts, _WIDTH, height)


def standalone(svg: str) -> str:
    """The plot as a file of its own."""
    return svg.replace(">", f"><style>{STYLE}</style>", 1) + "\n"


def _scales(x: Axis, y: Axis) -> tuple[Callable[[float], float], Callable[[float], float]]:
    def to_x(value: float) -> float:
        return _LEFT + x.share(value) * (_WIDTH - _LEFT - _RIGHT)

    def to_y(value: float) -> float:
        return _HEIGHT - _BOTTOM - y.share(value) * (_HEIGHT - _TOP - _BOTTOM)

    return to_x, to_y


def _frame(x: Axis, y: Axis) -> list[str]:
    to_x, to_y = _scales(x, y)
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for tick in y.ticks:
        parts.append(f'<path class="grid" d="M{_LEFT} {to_y(tick):.1f}H{right}"/>')
        parts.append(f'<text x="{_LEFT - 7}" y="{to_y(tick) + 4:.1f}" text-anchor="end">{_short(tick)}</text>')
    for tick in x.ticks:
        parts.append(f'<path class="axis" d="M{to_x(tick):.1f} {bottom}v4"/>')
        parts.append(f'<text x="{to_x(tick):.1f}" y="{bottom + 17}" text-anchor="middle">{_short(tick)}</text>')
    parts.append(f'<path class="axis" d="M{_LEFT} {bottom}H{right}"/>')
    middle = (_TOP + bottom) / 2
    parts.append(
        f'<text class="label" x="{(_LEFT + right) / 2:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(x.label)}</text>'
    )
    parts.append(
        f'<text class="label" x="13" y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 13 {middle:.1f})">{escape(y.label)}</text>'
    )
    return parts


def _svg(title: str, parts: Sequence[str], width: int, height: int) -> str:
    name = escape(title, quote=True)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{name}">'
    return head + "".join(parts) + "</svg>"


def _stroke(at: int) -> str:
    dash = _DASHES[(at // len(_COLOURS)) % len(_DASHES)]
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'stroke="{colour(at)}" stroke-width="2.2"{dashes}'


def _round_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= raw * 0.999)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 and value == int(value) else f"{value:.4g}"


def _clip(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
