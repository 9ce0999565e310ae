"""How the figures of each system changed from run to run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import streamlit as st

from eval import commands
from eval.comparison import HEADLINE
from rag.errors import RagstoneError
from ui.web.failures import told
from ui.web.markup import plain
from ui.web.view import View


def history(view: View, folder: Path) -> None:
    word = view.word
    metric = st.selectbox(word("evaluation.metric"), HEADLINE, key="history-metric")
    try:
        tree, _ = commands.history(folder / "results", metric=metric)
    except RagstoneError as error:
        st.error(told(view, error))
        return
    runs = tree["runs"]
    points = [
        {
            "at": datetime.fromisoformat(one["at"]),
            "value": one["value"],
            word("evaluation.system"): f"{one['system']} · {one['dataset']}",
        }
        for one in runs
    ]
    if len({one["at"] for one in points}) > 1:  # a line needs two ends
        st.line_chart(
            points,
            x="at",
            y="value",
            color=word("evaluation.system"),
            x_label=word("evaluation.when"),
            y_label=metric,
            height=320,
        )
    st.caption(word("evaluation.history_note"))
    st.table([{
        word("evaluation.when"): one["at"][:16].replace("T", " "), word("evaluation.set"): plain(one["dataset"]),
        word("evaluation.system"): plain(one["system"]), plain(metric): f"{one['value']:.3f}",
        word("evaluation.change"): "" if one["change"] is None else f"{one['change']:+.3f}",
        word("evaluation.changed_settings"): plain(", ".join(one["settings_changed"][:5])),
    } for one in reversed(runs)])  # fmt: skip
