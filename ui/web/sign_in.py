"""Who looks at the page. The form itself is the door's (`ui/web/door.py`)."""

from __future__ import annotations

import logging

import streamlit as st
from streamlit.errors import StreamlitAPIException

from rag import users
from ui.web import door
from ui.web.markup import plain
from ui.web.view import Home, User
from ui.web.words import word

log = logging.getLogger("ragstone.page")


def looking() -> User | None:
    """Who looks at this moment, with the rights of now; None for nobody who may. Without accounts everybody is the owner."""
    if not door.needed():
        return User()
    account, _ = _account()
    return None if account is None else User(name=account.name, role=account.role, principal=account.principal)


def _account() -> tuple[users.Account | None, bool]:
    """(whose session this is, whether the identity provider says so)"""
    account = door.users().signed_in(st.context.cookies.get(door.COOKIE, ""))
    if account is None and (roles := door.oidc_roles()) and st.user.get("is_logged_in"):
        return users.by_oidc(st.user.to_dict(), roles, door.users().get), True
    return account, False


def current_user(home: Home, language: str) -> User | None:
    """The person who looks; None after showing where to sign in. Without accounts everybody is the owner.

    Read anew at every run of the script: rights that were taken are gone with the next click.
    """
    if not door.needed():
        return User()
    account, by_oidc = _account()
    if account is None:
        _way_in(door.oidc_roles(), language, unknown=by_oidc)
        return None
    with st.sidebar.container(key="frame-who", horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/person: {plain(account.name)}", width="stretch")
        if by_oidc:
            _sign_out_of_provider(language)
        else:
            st.html(_link("/sign-out", word("sign_in.sign_out", language)), width="content")
    return User(name=account.name, role=account.role, principal=account.principal)


def _way_in(roles: list[str], language: str, *, unknown: bool) -> None:
    """What somebody sees who is not signed in. unknown: the provider knows them, and we do not."""
    st.title(word("sign_in.sign_in" if roles else "sign_in.signed_out", language))
    if unknown:
        st.warning(word("sign_in.unknown", language, name=plain(str(st.user.get("email") or "?"))))
        _sign_out_of_provider(language)
        return
    if not roles:
        st.html(_link("/sign-in", word("sign_in.sign_in", language)))
        return
    if st.button(word("sign_in.provider", language), type="primary", key="sign-in-provider"):
        try:
            st.login()
        except StreamlitAPIException as error:
            log.error("sign-in by OIDC is not set up: %s", error)
            st.error(word("sign_in.not_set_up", language))
    if door.users().any():
        st.html(_link("/sign-in", word("sign_in.with_password", language)))


def _sign_out_of_provider(language: str) -> None:
    if st.button(word("sign_in.sign_out", language), type="tertiary", key="sign-out-provider"):
        st.logout()


def _link(path: str, words: str) -> str:
    """In this tab, which Markdown's links would leave."""
    return f'<a href="{path}" target="_self" style="color: inherit">{words}</a>'
