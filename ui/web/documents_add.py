"""Adding documents: files and folders of one's own computer, web pages, folders of the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from rag.errors import RagstoneError
from ui.api.accepting import accept, accept_files, allowed_folder, labels
from ui.web.documents_names import counted
from ui.web.failures import told
from ui.web.markup import plain
from ui.web.uploads import uploader
from ui.web.view import View

PER_JOB = 900  # files of one job; more become several


def add(view: View, *, opened: bool) -> None:
    """The form, open where there is nothing yet."""
    word = view.word
    with st.expander(word("documents.add"), expanded=opened, icon=":material/add:", key="documents-add"):
        ways = ["files", "folder", "web", *(["server"] if may_name_paths(view) else [])]
        way = st.segmented_control(
            word("documents.add"), ways, default="files", required=True, label_visibility="collapsed",
            format_func=lambda name: word(f"documents.from_{name}"), key="documents-way", persist_state="session",
        )  # fmt: skip
        if way == "web":
            _web(view)
        elif way == "server":
            _server(view)
        else:
            _upload(view, whole_folder=way == "folder")


def may_name_paths(view: View) -> bool:
    """Whether this person may import folders of the server's machine: an administrator, inside the folders allowed."""
    return view.user.is_admin and (anywhere(view) or bool(view.home.kb.settings.ui.import_folders))


def anywhere(view: View) -> bool:
    """Without sign-in and proxy the page is its owner's alone, who can read these files anyway."""
    settings = view.home.kb.settings.ui
    return not view.user.name and not settings.behind_proxy and not settings.import_folders


def addresses(text: str) -> tuple[list[str], str]:
    """The addresses in a text, each once, and the first line that is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    bad = next((line for line in lines if not _bare(line).startswith(("https://", "http://"))), "")
    return list(dict.fromkeys(lines)), bad


def _bare(line: str) -> str:
    return line.lower().removeprefix("sitemap:").strip()


def _upload(view: View, *, whole_folder: bool) -> None:
    word = view.word
    n = st.session_state.setdefault("documents-uploads", 0)  # another key empties the widget
    files: Sequence[Any] = uploader(
        view,
        word("documents.drop_folder" if whole_folder else "documents.drop_files"),
        many="directory" if whole_folder else True,
        key=f"documents-upload-{whole_folder}-{n}",
        max_mb=int(view.home.kb.settings.parse.max_file_mb),
    )
    if files and st.button(counted(view, "import_files", len(files)), type="primary", key="documents-import"):
        named = list(zip(labels([file.name for file in files]), files, strict=True))
        for start in range(0, len(named), PER_JOB):
            _tell(
                view,
                accept_files(view.home.service, view.kb, named[start : start + PER_JOB], key_id=view.user.name).job_id,
            )
        st.session_state["documents-uploads"] = n + 1
        st.rerun()


def _web(view: View) -> None:
    word = view.word
    with st.form("documents-web", clear_on_submit=False, border=False):
        text = st.text_area(
            word("documents.urls"),
            help=word("documents.urls_help"),
            placeholder="https://example.org/handbook.html",
            key="documents-urls",
            persist_state="session",
        )
        sent = st.form_submit_button(word("documents.import"), type="primary")
    if not sent:
        return
    urls, bad = addresses(text)
    if bad:
        st.error(word("documents.bad_url", url=plain(bad[:200])))
    elif urls:
        _queue(view, {"urls": urls})


def _server(view: View) -> None:
    word, allowed = view.word, view.home.kb.settings.ui.import_folders
    with st.form("documents-server", clear_on_submit=False, border=False):
        path = st.text_input(
            word("documents.server_path"),
            help=word("documents.server_help"),
            key="documents-path",
            persist_state="session",
        )
        sent = st.form_submit_button(word("documents.import"), type="primary")
    if allowed:
        st.caption(word("documents.server_only", folders=plain(", ".join(allowed))))
    if sent and path.strip():
        try:
            real = allowed_folder(path, allowed, anywhere=anywhere(view))
        except RagstoneError as error:
            st.error(told(view, error))
            return
        _queue(view, {"paths": [real]})


def _queue(view: View, request: dict[str, Any]) -> None:
    _tell(view, accept(view.home.service, view.kb, key_id=view.user.name, request=request).job_id)
    st.rerun()


def _tell(view: View, job_id: str) -> None:
    """This tab shows how the job ends."""
    st.session_state.setdefault("documents-jobs", []).append(job_id)
