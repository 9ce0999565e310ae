"""Access, for admins: who signs in to the page, and the keys of the HTTP API.

Everything here runs with the whole page, never as a fragment: so the frame has looked at the rights of whoever clicks.
"""

from __future__ import annotations

import streamlit as st

from rag.accounts import SCOPES, Accounts, Key
from rag.errors import RagstoneError, UsageError
from rag.users import MAX_PASSWORD, MIN_PASSWORD, ROLES, Account, Users
from ui.web.failures import told
from ui.web.markup import plain
from ui.web.view import View

MADE = "access-made"  # (name, secret) of a key that was just made
TOLD = "access-told"  # what the last click did; shown once


def access(view: View) -> None:
    told: str | None = st.session_state.pop(TOLD, None)
    if told:
        st.success(told, icon=":material/check_circle:")
    _people(view, Users(view.home.kb.catalog.engine))
    _keys(view, view.home.service.accounts)


def forget_secret() -> None:
    """A key's secret is on screen until its admin goes elsewhere."""
    st.session_state.pop(MADE, None)


# ---------------------------------------------------------------- people


def _people(view: View, users: Users) -> None:
    word, everybody = view.word, users.all()
    st.subheader(word("settings.people"))
    if everybody:
        st.caption(word("settings.people_intro"))
    else:
        st.info(word("settings.people_none"), icon=":material/lock_open:")
    for account in everybody:
        badge = word(f"settings.role_{account.role}")
        with st.expander(f"**{plain(account.name)}** · {badge}", key=f"person-{account.name}"):
            _person(view, users, account)
    with st.expander(
        word("settings.add_person" if everybody else "settings.add_first"), icon=":material/person_add:", key="add-person"
    ):  # fmt: skip
        _new_person(view, users, first=not everybody)


def _person(view: View, users: Users, account: Account) -> None:
    word, times = view.word, f"access-n-{account.name}"
    key = f"person-{account.name}-{st.session_state.setdefault(times, 0)}"  # a new form after each change
    if account.name == view.user.name:
        st.caption(word("settings.yourself"))
    role = account.role
    tenant, names, collections = account.tenant, list(account.names), list(account.collections)
    if account.name != view.user.name:
        role = _role(view, key, account.role)
        tenant, names, collections = _rights(view, key, role, account)
    password = st.text_input(
        word("settings.new_password"), type="password", key=f"{key}-password", help=_password_help(view), autocomplete="new-password",
        max_chars=MAX_PASSWORD,
    )  # fmt: skip
    with st.container(horizontal=True):
        if st.button(word("settings.save"), key=f"save-{account.name}", type="primary"):
            try:
                users.change(account.name, password=password or None, role=role, tenant=tenant, names=names, collections=collections)  # fmt: skip
            except RagstoneError as error:
                st.error(told(view, error))
            else:
                st.session_state[times] += 1
                _tell(word("settings.person_saved", name=plain(account.name)))
        if account.name != view.user.name:
            with st.popover(word("settings.remove"), icon=":material/person_remove:"):
                st.markdown(word("settings.remove_sure", name=plain(account.name)))
                if st.button(word("settings.remove_yes"), key=f"remove-{account.name}", type="primary"):
                    users.remove(account.name)
                    _tell(word("settings.person_removed", name=plain(account.name)))


def _new_person(view: View, users: Users, *, first: bool) -> None:
    """The form for a new account. The first one is an admin's: who makes it has to sign in with it."""
    word = view.word
    key = f"new-person-{st.session_state.setdefault('access-n-people', 0)}"  # a new form after each account
    if first:
        st.caption(word("settings.first_hint"))
    with st.form(key, border=False):  # sent as a whole: nothing that is being typed is missing
        left, right = st.columns(2)
        name = left.text_input(word("settings.user_name"), key=f"{key}-name", autocomplete="off", max_chars=64)
        password = right.text_input(
            word("settings.password"), type="password", key=f"{key}-password", help=_password_help(view), autocomplete="new-password",
            max_chars=MAX_PASSWORD,
        )  # fmt: skip
        role = "admin" if first else _role(view, key, "viewer", live=False)
        tenant, names, collections = _rights(view, key, "admin" if first else "viewer", None)
        sent = st.form_submit_button(word("settings.add"), key="new-person-add", type="primary")
    if sent:
        try:
            users.add(name.strip(), password, role=role, tenant=tenant, names=names, collections=collections)
        except RagstoneError as error:
            st.error(told(view, error))
        else:
            st.session_state["access-n-people"] += 1
            _tell(word("settings.person_added", name=plain(name.strip())))


def _role(view: View, key: str, now: str, *, live: bool = True) -> str:
    """live: say below it what the chosen role may; otherwise a hint says it of each."""
    word = view.word
    every = "\n".join(f"- **{word(f'settings.role_{one}')}**: {word(f'settings.may_{one}')}" for one in ROLES)
    role = st.segmented_control(
        word("settings.role"), ROLES, default=now, required=True, key=f"{key}-role",
        format_func=lambda one: word(f"settings.role_{one}"), help=None if live else every,
    )  # fmt: skip
    if live:
        st.caption(word(f"settings.may_{role or now}"))
    return role or now


def _rights(view: View, key: str, role: str, account: Account | None) -> tuple[str, list[str], list[str]]:
    """(tenant, names, collections) as entered; an admin has none: he sees everything."""
    if role == "admin":
        return "", [], []
    word = view.word
    had = account or Account(name="")
    left, right = st.columns(2)
    tenant = left.text_input(
        word("settings.tenant"), had.tenant, key=f"{key}-tenant", help=word("settings.tenant_help")
    )
    names = right.multiselect(
        word("settings.groups"), list(had.names), default=list(had.names), accept_new_options=True, key=f"{key}-names",
        help=word("settings.groups_help"), placeholder=word("settings.groups_example"),
    )  # fmt: skip
    known = sorted({*had.collections, *view.home.kb.collections()})
    collections = st.multiselect(
        word("settings.collections"), known, default=list(had.collections), accept_new_options=True, key=f"{key}-collections",
        help=word("settings.collections_help"), placeholder=word("settings.collections_all"),
    )  # fmt: skip
    return tenant.strip(), names, collections


def _password_help(view: View) -> str:
    return view.word("settings.password_help", least=MIN_PASSWORD)


# ---------------------------------------------------------------- keys


def _keys(view: View, accounts: Accounts) -> None:
    word = view.word
    st.subheader(word("settings.keys"))
    good = [key for key in accounts.all() if not key.revoked_at]
    st.caption(word("settings.keys_intro" if good or accounts.any_keys() else "settings.keys_none"))
    made: tuple[str, str] | None = st.session_state.get(MADE)
    if made:
        with st.container(border=True, key="new-key"):
            st.markdown(word("settings.secret_once", name=plain(made[0])))
            st.code(made[1], language=None, wrap_lines=True)
            if st.button(word("settings.secret_done"), key="new-key-done"):
                forget_secret()
                st.rerun()
    for key in good:
        with st.container(horizontal=True, vertical_alignment="center", key=f"key-{key.key_id}"):
            st.markdown(_key_line(view, key), width="stretch")
            with st.popover(word("settings.revoke")):
                st.markdown(word("settings.revoke_sure", name=plain(key.name)))
                if st.button(word("settings.revoke_yes"), key=f"key-{key.key_id}-revoke", type="primary"):
                    accounts.revoke(key.key_id)
                    _tell(word("settings.key_revoked", name=plain(key.name)))
    with st.expander(word("settings.add_key"), icon=":material/key:", key="add-key"):
        _new_key(view, accounts)


def _key_line(view: View, key: Key) -> str:
    word = view.word
    what = ", ".join(word(f"settings.scope_{scope}") for scope in key.scopes)
    who = word("settings.owner") if key.owner else " · ".join([key.tenant or word("settings.no_tenant"), *key.names])
    until = word("settings.until", day=key.expires_at[:10]) if key.expires_at else word("settings.no_end")
    return f"**{plain(key.name)}** `{key.key_id}`  \n:gray[{what} · {plain(who)} · {until}]"


def _new_key(view: View, accounts: Accounts) -> None:
    word = view.word
    form = f"new-key-{st.session_state.setdefault('access-n-keys', 0)}"
    name = st.text_input(word("settings.key_name"), key=f"{form}-name", max_chars=100, autocomplete="off")
    scopes = st.pills(
        word("settings.scopes"), SCOPES, default=["read"], selection_mode="multi", key=f"{form}-scopes",
        format_func=lambda one: word(f"settings.scope_{one}"),
    )  # fmt: skip
    owner = st.toggle(word("settings.key_owner"), key=f"{form}-owner", help=word("settings.key_owner_help"))
    tenant, names = "", []
    if not owner:
        left, right = st.columns(2)
        tenant = left.text_input(word("settings.tenant"), key=f"{form}-tenant", help=word("settings.tenant_help"))
        names = right.multiselect(
            word("settings.groups"), [], accept_new_options=True, key=f"{form}-names", help=word("settings.groups_help"),
            placeholder=word("settings.groups_example"),
        )  # fmt: skip
    columns = st.columns(3, vertical_alignment="bottom")
    per_minute = columns[0].number_input(word("settings.per_minute"), 0, value=0, key=f"{form}-minute")
    per_day = columns[1].number_input(word("settings.tokens_per_day"), 0, value=0, step=1000, key=f"{form}-day")
    days = columns[2].number_input(word("settings.days"), 0, 36_499, value=0, key=f"{form}-days")
    st.caption(word("settings.zero"))
    if st.button(word("settings.add"), key="new-key-add", type="primary"):
        try:
            key, secret = accounts.create(
                name.strip(), scopes=scopes, tenant=tenant.strip(), names=names, owner=owner, per_minute=int(per_minute),
                tokens_per_day=int(per_day), days=float(days) or None,
            )  # fmt: skip
        except UsageError as error:
            st.error(told(view, error))
            return
        st.session_state["access-n-keys"] += 1
        st.session_state[MADE] = (key.name, secret)
        st.rerun()


def _tell(text: str) -> None:
    """Say it above the page as it is now."""
    st.session_state[TOLD] = text
    st.rerun()
