"""One's own account: who is signed in, and a new password."""

from __future__ import annotations

import streamlit as st

from rag.errors import RagstoneError
from rag.users import MAX_PASSWORD, MIN_PASSWORD
from ui.web import door
from ui.web.failures import told
from ui.web.markup import plain
from ui.web.view import View

N = "account-n"  # another one empties the form
TOLD = "account-told"


def account(view: View) -> None:
    word, user = view.word, view.user
    st.markdown(word("settings.signed_in_as", name=f"**{plain(user.name)}**", role=word(f"settings.role_{user.role}")))
    token = st.context.cookies.get(door.COOKIE, "")
    if door.users().signed_in(token) is None:  # signed in by an identity provider
        st.caption(word("settings.by_provider"))
        return
    if st.session_state.pop(TOLD, False):
        st.success(word("settings.password_changed"), icon=":material/check_circle:")
    st.subheader(word("settings.change_password"), anchor=False)
    form = f"own-password-{st.session_state.setdefault(N, 0)}"
    with st.form(form, border=False, width=420):
        now = st.text_input(
            word("settings.password_now"), type="password", autocomplete="current-password", max_chars=MAX_PASSWORD
        )
        new = st.text_input(
            word("settings.new_password_own"), type="password", autocomplete="new-password", max_chars=MAX_PASSWORD,
            help=word("settings.password_help", least=MIN_PASSWORD),
        )  # fmt: skip
        again = st.text_input(
            word("settings.password_again"), type="password", autocomplete="new-password", max_chars=MAX_PASSWORD
        )
        sent = st.form_submit_button(word("settings.change_password"), key="own-password-change", type="primary")
    if not sent:
        return
    if new != again:
        st.error(word("settings.password_differs"))
        return
    try:
        door.users().change_own_password(user.name, now, new, token=token)
    except RagstoneError as error:
        st.error(told(view, error))
        return
    st.session_state[N] += 1
    st.session_state[TOLD] = True
    st.rerun()
