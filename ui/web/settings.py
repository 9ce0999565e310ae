"""The settings page: models with a test each, health, usage, the settings in effect, and who has access.

Everybody sees whether the parts work; the rest is for admins, because it names machines, people and keys.
"""

from __future__ import annotations

import streamlit as st

from ui.web.settings_access import access, forget_secret
from ui.web.settings_account import account
from ui.web.settings_health import health
from ui.web.settings_models import models
from ui.web.settings_values import usage, values
from ui.web.view import View

PARTS = {"models": models, "health": health, "usage": usage, "values": values, "access": access, "account": account}
ADMINS = ("models", "usage", "values", "access")


def show(view: View) -> None:
    word = view.word
    st.title(word("settings.menu"))
    parts = parts_for(view)
    if not view.user.is_admin:
        st.caption(word("settings.reader"))
    chosen = st.segmented_control(
        word("settings.menu"), parts, default=parts[0], required=True, label_visibility="collapsed",
        format_func=lambda name: word(f"settings.part_{name}"), key="settings-part", persist_state="session",
    )  # fmt: skip
    if chosen != "access":
        forget_secret()
    PARTS[chosen if chosen in parts else parts[0]](view)


def parts_for(view: View) -> list[str]:
    """What this person may look at. Nobody has an account while nobody has to sign in."""
    parts = [*ADMINS, "health"] if view.user.is_admin else ["health"]
    parts = [name for name in PARTS if name in parts]
    return [*parts, "account"] if view.user.name else parts
