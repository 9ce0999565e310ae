"""The page's frame: who looks, in which language, at which collection, and the menu."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module

import streamlit as st

from rag.errors import RagstoneError
from ui.web import first_page
from ui.web.assets import ICON
from ui.web.failures import said
from ui.web.sign_in import current_user, looking
from ui.web.view import View, open_home
from ui.web.words import LANGUAGES, word

# module → icon; a module has `show(view)` and a table of words with its `menu` entry
PAGES = {
    "chat": ":material/chat:",
    "documents": ":material/folder_open:",
    "lab": ":material/science:",
    "graph": ":material/hub:",
    "agents": ":material/smart_toy:",
    "evaluation": ":material/monitoring:",
    "settings": ":material/settings:",
}

log = logging.getLogger("ragstone.page")


STYLE = """<style>
[data-testid="stLayoutWrapper"]:has(> .st-key-frame-foot) { order: 90; }
[data-testid="stMainBlockContainer"] { max-width: 80rem; padding-top: 3.5rem; }
[data-testid="stSidebarUserContent"] { padding-top: 0.75rem; }
[data-testid^="stBaseButton-primary"], .stMultiSelect [data-tag], .stMultiSelect [data-tag] button { color: light-dark(#fff, #10201b); }
.st-key-welcome { max-width: 46rem; margin: 4vh auto 0; }
.st-key-thread-list button { justify-content: flex-start; text-align: left; padding: 0.25rem 0.6rem; min-height: 2rem; }
[class*="st-key-row-"] [class*="st-key-open-"] button > div, .st-key-thread-list button > div, .st-key-examples button > div, .st-key-follow-ups button > div { justify-content: flex-start; text-align: left; }
[class*="st-key-answer-"] .stMarkdownBadge[role="button"] { cursor: pointer; }
[class*="st-key-answer-"] .stMarkdownBadge[role="button"]:hover { text-decoration: underline; }
[class*="st-key-answer-"] .stMarkdownBadge[role="button"]:focus-visible { outline: 2px solid currentColor; outline-offset: 1px; }
@media (max-width: 640px) {
  [data-testid="stMainBlockContainer"] { padding: 3.5rem 1rem 1rem; }
  .st-key-welcome h1 { font-size: 1.9rem; }
}
</style>"""
SKIP = '<style>[data-testid=stSkipToContent] {{ font-size: 0; }} [data-testid=stSkipToContent]::after {{ content: "{words}"; font-size: 1rem; }}</style>'


def main() -> None:
    st.set_page_config(page_title="ragstone", page_icon=ICON, layout="wide")
    language = _language()
    st.html(STYLE + ("" if language == "en" else SKIP.format(words=word("common.skip", language))))
    _guarded(language, lambda: _frame(language))


def _frame(language: str) -> None:
    home = open_home()
    user = current_user(home, language)
    if user is None:  # the form to sign in is on screen
        return
    kb = home.kb.view(principal=user.principal)
    names = kb.collections()
    with st.sidebar:
        if len(names) > 1:
            chosen = st.selectbox(word("common.collection", language), names, key="collection", bind="query-params")
            kb = home.kb.view(collection=chosen, principal=user.principal)
    view = View(home=home, kb=kb, user=user, language=language, look=looking)
    pages = [
        st.Page(_page(name, view), title=view.word(f"{name}.menu"), icon=icon, url_path=name, default=name == "chat")
        for name, icon in PAGES.items()
    ]
    st.navigation(pages).run()
    first_page.sent.set()


def _page(name: str, view: View) -> Callable[[], None]:
    def run() -> None:
        _guarded(view.language, lambda: import_module(f"ui.web.{name}").show(view))

    return run


def _guarded(language: str, work: Callable[[], None]) -> None:
    """The edge: a person reads one sentence, never a traceback."""
    try:
        work()
    except RagstoneError as error:
        st.error(said(language, str(error), error.code))
    except Exception:
        log.exception("the page failed")
        st.error(word("common.bug", language))


def _language() -> str:
    """English or Chinese: as chosen, which the address keeps; else as the browser says."""
    preferred = "zh" if (st.context.locale or "").lower().startswith("zh") else "en"
    names = {code: name for name, code in LANGUAGES.items()}
    with st.sidebar.container(key="frame-foot"):
        chosen = st.segmented_control(
            "Language", list(names), default=preferred, format_func=lambda code: names[code], key="lang", label_visibility="collapsed",
            required=True, bind="query-params",
        )  # fmt: skip
    return chosen or preferred
