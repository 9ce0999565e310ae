"""The settings in effect with where each comes from, and what was used today."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from rag.accounts import Accounts
from rag.errors import SettingsError
from rag.settings import Settings, load_with_origins, walk
from rag.threads import Threads
from ui.web.failures import said
from ui.web.markup import plain
from ui.web.settings_models import without_secrets
from ui.web.view import View
from ui.web.words.setting import CHINESE


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A setting as it is in effect. waiting: the file or the environment has another value by now."""

    key: str
    value: str
    origin: str
    description: str
    waiting: bool = False


def rows(settings: Settings, now: Settings, origins: Mapping[str, str], language: str = "en") -> list[Row]:
    """Every setting in effect. now, origins: what the file and the environment say at this moment."""
    later = dict(walk(now))
    return [
        Row(key=key, value=shown(value), origin=origins[key], description=_description(key, language), waiting=later[key] != value)
        for key, value in walk(settings)
    ]  # fmt: skip


def shown(value: Any) -> str:
    """A value as text, without the secrets in it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {shown(one)}" for key, one in value.items())
    return "" if value is None else without_secrets(str(value))  # a secret's own text is stars


def _description(key: str, language: str) -> str:
    if language == "zh":
        return CHINESE.get(key, "")
    section, _, name = key.partition(".")
    part: Any = Settings.model_fields[section].annotation
    return part.model_fields[name].description or ""


def values(view: View) -> None:
    """A table to search in; first what somebody set."""
    word = view.word
    st.caption(word("settings.values_intro"))
    try:
        now, origins = load_with_origins(os.environ.get("RAGSTONE_PAGE_CONFIG"))
    except SettingsError as error:
        st.warning(word("settings.values_broken", why=said(view.language, without_secrets(str(error)), error.code)))
        now, origins = view.home.kb.settings, {key: "?" for key, _ in walk(view.home.kb.settings)}
    found = rows(view.home.kb.settings, now, origins, view.language)
    if waiting := [row.key for row in found if row.waiting]:
        st.warning(word("settings.values_waiting", keys=plain(", ".join(waiting))), icon=":material/restart_alt:")
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    search = left.text_input(word("settings.values_search"), key="values-search", icon=":material/search:")
    everything = right.toggle(word("settings.values_all"), key="values-all")
    wanted = [
        row for row in found
        if (everything or search or row.origin != "default") and search.lower() in f"{row.key} {row.value} {row.description}".lower()
    ]  # fmt: skip
    if not wanted:
        st.info(word("settings.values_none" if search else "settings.values_defaults"), icon=":material/info:")
        return
    st.table([{
        word("settings.key"): f"{plain(row.key)}  \n:gray[:small[{plain(row.description)}]]" if row.description else plain(row.key),
        word("settings.value"): plain(row.value) or "–",
        word("settings.origin"): word("settings.default") if row.origin == "default" else plain(row.origin),
    } for row in wanted])  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What one key or person used today. kind: key or person. budget: tokens a day; 0: no limit."""

    kind: str
    name: str
    n_requests: int
    n_tokens: int
    budget: int = 0


def used_today(accounts: Accounts, threads: Threads) -> list[Used]:
    """Of keys over HTTP and of people on the page, the most tokens first; who used nothing is left out."""
    found = []
    for key in accounts.all():
        n_requests, n_tokens = accounts.spent(key.key_id)
        found.append(Used(kind="key", name=key.name, n_requests=n_requests, n_tokens=n_tokens, budget=key.tokens_per_day))  # fmt: skip
    for owner, (n_turns, n_tokens) in threads.used(datetime.now(UTC).date().isoformat()).items():
        found.append(Used(kind="person", name=owner, n_requests=n_turns, n_tokens=n_tokens))
    return sorted((one for one in found if one.n_requests), key=lambda one: (-one.n_tokens, -one.n_requests, one.name))


def usage(view: View) -> None:
    word = view.word
    st.caption(word("settings.usage_intro"))
    found = used_today(view.home.service.accounts, view.home.threads)
    if not found:
        st.info(word("settings.usage_none"), icon=":material/info:")
        return
    left, right = st.columns(2)
    left.metric(word("settings.requests"), f"{sum(one.n_requests for one in found):,}", border=True)
    right.metric(word("settings.tokens"), f"{sum(one.n_tokens for one in found):,}", border=True)
    st.table([{
        word("settings.who"): plain(one.name) or word("settings.owner"), word("settings.kind"): word(f"settings.kind_{one.kind}"),
        word("settings.requests"): f"{one.n_requests:,}", word("settings.tokens"): f"{one.n_tokens:,}",
        word("settings.budget"): f"{one.budget:,}" if one.budget else "–",
    } for one in found])  # fmt: skip
