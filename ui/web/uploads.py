"""Streamlit's uploader in the page's language: its own words are English.

They are put aside by the style, and ours come as its generated content, which browsers draw and read out like text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import streamlit as st

from ui.web.view import View

UPLOADER = "[data-testid=stFileUploaderDropzone]"


def uploader(
    view: View, label: str, *, key: str, max_mb: int, types: Sequence[str] | None = None, many: bool | Literal["directory"] = False
) -> Any:  # fmt: skip
    """One file or None; with `many` a list of files. key: also in the name of a class, so letters, digits and hyphens."""
    if view.language != "en":
        st.html(f"<style>{style(view, key, max_mb, types or (), many)}</style>")
    return st.file_uploader(label, type=types, accept_multiple_files=many, key=key, max_upload_size=max_mb)


def style(view: View, key: str, max_mb: int, types: Sequence[str], many: bool | Literal["directory"]) -> str:
    here = f".st-key-{key} {UPLOADER}"
    folder = "_folder" if many == "directory" else ""
    limit = view.word("common.upload_limit", mb=max_mb) + "".join(f" • {one.upper()}" for one in types)
    ours = {
        f"{here} [data-testid=stBaseButton-secondary] [data-testid=stMarkdownContainer]": view.word(f"common.upload{folder}"),
        f"{here} [data-testid=stFileUploaderDropzoneInstructions] > div": limit,
        f"{here} > div:not([data-testid]) > span:only-child": view.word(f"common.drop{folder}"),
    }  # fmt: skip
    aside = (
        f"{here} [data-testid=stBaseButton-secondary] p, {here} [data-testid=stFileUploaderDropzoneInstructions] span"
    )
    return (
        f"{aside} {{ display: none; }} {here} > div:not([data-testid]) > span:only-child {{ font-size: 0; }}"
        + "".join(f'{place}::after {{ content: "{text}"; font-size: 0.875rem; }}' for place, text in ours.items())
    )
