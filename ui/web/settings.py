# NOTE FROM THE LEAD 14:07: read READ-ME-FIRST-FROM-LEAD-2.md: this page is yours after all. Delete this line.
"""The settings page."""

from __future__ import annotations

import streamlit as st

from ui.web.view import View


def show(view: View) -> None:
    st.title(view.word("settings.menu"))
