"""Where sources contradict each other: what each says, side by side, the newest first."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from rag.types import Answer, Citation, Side
from ui.web import source
from ui.web.markup import highlighted, plain
from ui.web.view import View

SIDES = 4  # of a conflict that are shown
_COLUMNS = 2  # more would be too narrow to read


def show(view: View, at: int, answer: Answer) -> None:
    """The conflicts of a thread's answer number `at`."""
    for n, conflict in enumerate(answer.conflicts):
        with st.container(border=True, key=f"conflict-{at}-{n}"):
            st.markdown(f":orange[:material/balance:] **{view.word(f'chat.conflict_{conflict.kind}')}**")
            _sides(view, at, n, conflict.sides[:SIDES])
            if all(side.date for side in conflict.sides):
                st.caption(view.word("chat.conflict_newest"))


def _sides(view: View, at: int, n: int, sides: Sequence[Side]) -> None:
    for first in range(0, len(sides), _COLUMNS):
        row = sides[first : first + _COLUMNS]
        for which, (column, side) in enumerate(zip(st.columns(_COLUMNS, gap="medium"), row, strict=False), start=first):
            with column:
                st.caption(plain(side.date) if side.date else view.word("chat.no_date"))
                st.markdown(highlighted(side.quote, *_values(side)))
                page = f" · {view.word('chat.page', n=side.page)}" if side.page else ""
                st.button(
                    plain(f"{source.label(as_citation(side))[:60]}{page}"), key=f"conflict-{at}-{n}-{which}",
                    icon=":material/description:", on_click=_open, args=(at, n, which),
                )  # fmt: skip


def _values(side: Side) -> list[tuple[int, int]]:
    """Where the values that differ stand in the quote, each at its first place, none inside another."""
    found: list[tuple[int, int]] = []
    for value in sorted(side.values, key=len, reverse=True):
        start = side.quote.find(value) if value else -1
        if start >= 0 and all(start + len(value) <= low or high <= start for low, high in found):
            found.append((start, start + len(value)))
    return found


def cited(answer: Answer, which: str) -> list[Citation]:
    """The side that an address such as `c0-1` names, as a citation; [] for an address of another kind."""
    conflict, _, side = which.removeprefix("c").partition("-")
    if not which.startswith("c") or not conflict.isdecimal() or not side.isdecimal():
        return []
    sides = [one for found in answer.conflicts[int(conflict) :][:1] for one in found.sides[int(side) :][:1]]
    return [as_citation(one) for one in sides]


def as_citation(side: Side) -> Citation:
    """What a document says in a conflict, to be opened as a source; 0 is no marker of an answer."""
    return Citation(
        marker=0, chunk_id=side.chunk_id, doc_id=side.doc_id, source=side.source, title=side.title, quote=side.quote,
        start=side.start, end=side.end, page=side.page, supported=True,
    )  # fmt: skip


def _open(at: int, n: int, side: int) -> None:
    st.query_params["source"] = f"{at}.c{n}-{side}"
