"""The form that changes a document: its title, its metadata, how it is cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from rag.errors import RagstoneError
from rag.ingest import chunk_size
from rag.types import DocumentInfo
from ui.web.documents_names import as_text, typed
from ui.web.failures import told
from ui.web.view import View


def edit(view: View, info: DocumentInfo) -> None:
    """Open the form over the page."""
    word = view.word

    @st.dialog(word("documents.edit_title"), width="medium", icon=":material/edit:")
    def form() -> None:
        view.check()
        title = st.text_input(word("documents.name"), info.title, key=f"edit-title-{info.version}")
        st.caption(word("documents.metadata_help"))
        rows = [{"key": key, "value": as_text(value)} for key, value in info.metadata.items()]
        edited = st.data_editor(
            rows or [{"key": "", "value": ""}], num_rows="dynamic", hide_index=True, key=f"edit-metadata-{info.version}",
            column_config={"key": st.column_config.TextColumn(word("documents.key")), "value": st.column_config.TextColumn(word("documents.value"))},
        )  # fmt: skip
        again, size, overlap = _sizes(view, info)
        if st.button(word("documents.save"), type="primary", key="document-save"):
            change: dict[str, Any] = {"metadata": changes(info.metadata, edited)}
            change |= {"title": title} if title != info.title else {}
            change |= {"chunk_size": size, "overlap": overlap} if again else {}
            try:
                with st.spinner(word("documents.saving")):
                    view.kb.edit(info.doc_id, **change)
            except RagstoneError as error:
                st.error(told(view, error))
                return
            st.toast(word("documents.saved"))
            st.rerun()

    form()


def _sizes(view: View, info: DocumentInfo) -> tuple[bool, int, int]:
    """Whether to cut anew, and the sizes."""
    word, settings = view.word, view.home.kb.settings.chunk
    again = st.toggle(word("documents.sizes"), key=f"edit-again-{info.version}")
    if not again:
        return False, 0, 0
    embedder = view.home.kb.embedder
    now = info.edits.get("chunk", {})
    left, right = st.columns(2)
    size = left.number_input(
        word("documents.size"),
        16,
        embedder.max_tokens,
        now.get("size", chunk_size(settings, embedder)),
        step=16,
        key=f"edit-size-{info.version}",
    )
    overlap = right.number_input(
        word("documents.overlap"),
        0,
        embedder.max_tokens // 2,
        now.get("overlap", settings.overlap),
        step=8,
        key=f"edit-overlap-{info.version}",
    )
    return True, int(size), int(overlap)


def changes(before: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """What a table of fields and values changes: values that are new or other ones, and None for fields that are gone."""
    after = {
        str(row["key"]).strip(): str(row["value"] or "") for row in rows if row.get("key") and str(row["key"]).strip()
    }
    new = {key: typed(text, before.get(key)) for key, text in after.items() if text.strip()}
    changed: dict[str, object] = {
        key: value for key, value in new.items() if key not in before or before[key] is not value
    }
    return changed | {key: None for key in before if key not in new}
