"""Who looks at the page. The form itself is the door's (`ui/web/door.py`)."""

from __future__ import annotations

import streamlit as st

from ui.web import door
from ui.web.markup import plain
from ui.web.view import Home, User
from ui.web.words import word


def current_user(home: Home, language: str) -> User | None:
    """The person who looks; None after showing where to sign in. Without accounts everybody is the owner.

    Read anew at every run of the script: rights that were taken are gone with the next click.
    """
    if not door.needed():
        return User()
    account = door.users().signed_in(st.context.cookies.get(door.COOKIE, ""))
    if account is None:
        st.title(word("sign_in.signed_out", language))
        st.html(_link("/sign-in", word("sign_in.sign_in", language)))
        return None
    with st.sidebar.container(key="frame-who", horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/person: {plain(account.name)}", width="stretch")
        st.html(_link("/sign-out", word("sign_in.sign_out", language)), width="content")
    return User(name=account.name, role=account.role, principal=account.principal)


def _link(path: str, words: str) -> str:
    """In this tab, which Markdown's links would leave."""
    return f'<a href="{path}" target="_self" style="color: inherit">{words}</a>'
