"""The documents page."""

from __future__ import annotations

import streamlit as st

from ui.web.view import View


def show(view: View) -> None:
    st.title(view.word("documents.menu"))
