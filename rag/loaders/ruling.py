"""Tables drawn with lines: from line segments to the cells between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_NEAR = 2.5  # points: lines closer than this are one
MAX_SEGMENTS = 4000  # drawings have more


@dataclass(frozen=True, slots=True)
class Segment:
    """A horizontal (y0 = y1) or vertical (x0 = x1) line; x0 <= x1, y0 <= y1, y grows upwards."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def is_vertical(self) -> bool:
        return self.x1 - self.x0 < self.y1 - self.y0


@dataclass(frozen=True, slots=True)
class Area:
    """A cell of a table, from row `row` and column `column` on, maybe over several of them."""

    row: int
    column: int
    x0: float
    y0: float
    x1: float
    y1: float


def tables(segments: Sequence[Segment]) -> list[list[Area]]:
    """The cells of each table of at least two rows and two columns, row by row. Lines that enclose no such grid give none."""
    if not 5 <= len(segments) <= MAX_SEGMENTS:
        return []
    return [areas for group in _connected(_joined(segments)) if (areas := _areas(group))]


def _joined(segments: Iterable[Segment]) -> list[Segment]:
    """Segments on one line that touch, as one."""
    groups: dict[tuple[bool, int], list[Segment]] = {}
    for segment in segments:
        at = segment.x0 if segment.is_vertical else segment.y0
        groups.setdefault((segment.is_vertical, round(at / _NEAR)), []).append(segment)
    joined = []
    for (vertical, _), group in groups.items():
        group.sort(key=lambda one: one.y0 if vertical else one.x0)
        last = group[0]
        for one in group[1:]:
            if vertical and one.y0 <= last.y1 + _NEAR:
                last = Segment(last.x0, last.y0, last.x1, max(last.y1, one.y1))
            elif not vertical and one.x0 <= last.x1 + _NEAR:
                last = Segment(last.x0, last.y0, max(last.x1, one.x1), last.y1)
            else:
                joined.append(last)
                last = one
        joined.append(last)
    return joined


def _connected(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Groups of segments that cross or touch each other."""
    group_of = list(range(len(segments)))

    def root(i: int) -> int:
        while group_of[i] != i:
            group_of[i] = group_of[group_of[i]]
            i = group_of[i]
        return i

    verticals = [i for i, one in enumerate(segments) if one.is_vertical]
    for j, flat in enumerate(segments):
        if not flat.is_vertical:
            for i in verticals:
                up = segments[i]
                if flat.x0 - _NEAR <= up.x0 <= flat.x1 + _NEAR and up.y0 - _NEAR <= flat.y0 <= up.y1 + _NEAR:
                    group_of[root(i)] = root(j)
    groups: dict[int, list[Segment]] = {}
    for i, one in enumerate(segments):
        groups.setdefault(root(i), []).append(one)
    return list(groups.values())


def _areas(segments: Sequence[Segment]) -> list[Area]:
    up = [one for one in segments if one.is_vertical]
    flat = [one for one in segments if not one.is_vertical]
    xs = _places(one.x0 for one in up)
    ys = _places(one.y0 for one in flat)[::-1]
    if len(xs) < 3 or len(ys) < 3 or len(xs) * len(ys) > 20_000:
        return []
    walls = [[_covers_y(up, x, (top + bottom) / 2) for x in xs] for top, bottom in zip(ys, ys[1:], strict=False)]
    floors = [[_covers_x(flat, y, (a + b) / 2) for a, b in zip(xs, xs[1:], strict=False)] for y in ys]
    taken = [[False] * (len(xs) - 1) for _ in range(len(ys) - 1)]
    areas = []
    for row in range(len(ys) - 1):
        for column in range(len(xs) - 1):
            if taken[row][column]:
                continue
            right = column + 1
            while right < len(xs) - 1 and not walls[row][right] and not taken[row][right]:
                right += 1
            below = row + 1
            while below < len(ys) - 1 and not any(floors[below][column:right]):
                below += 1
            for r in range(row, below):
                for c in range(column, right):
                    taken[r][c] = True
            areas.append(Area(row, column, xs[column], ys[below], xs[right], ys[row]))
    n_rows, n_columns = len({area.row for area in areas}), len({area.column for area in areas})
    return areas if n_rows >= 2 and n_columns >= 2 and len(areas) >= 4 else []


def _places(values: Iterable[float]) -> list[float]:
    """Distinct places in rising order."""
    places: list[float] = []
    for value in sorted(values):
        if not places or value - places[-1] > 2 * _NEAR:
            places.append(value)
    return places


def _covers_y(up: Sequence[Segment], x: float, y: float) -> bool:
    return any(abs(one.x0 - x) <= 2 * _NEAR and one.y0 <= y <= one.y1 for one in up)


def _covers_x(flat: Sequence[Segment], y: float, x: float) -> bool:
    return any(abs(one.y0 - y) <= 2 * _NEAR and one.x0 <= x <= one.x1 for one in flat)
