"""The list of conversations, and what can be done with one: name, find, export, delete."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Any

import streamlit as st

from rag.citations import strip_markers
from rag.threads import Thread, Turn
from rag.types import Citation
from ui.web.failures import parted
from ui.web.markup import plain
from ui.web.view import View

SHOWN = 40


def chosen(view: View) -> Thread | None:
    """The thread in the address, or the one this tab last looked at; None: a new one."""
    wanted = st.query_params.get("thread") or st.session_state.get("thread", "")
    thread = view.home.threads.get(wanted, view.user.name) if wanted else None
    if thread is None:
        choose(None)
    elif st.query_params.get("thread") != thread.thread_id:
        choose(thread)
    else:
        st.session_state["thread"] = thread.thread_id
    return thread


def choose(thread: Thread | None) -> None:
    """Go to a thread, or to a new one: it is in the address from then on."""
    for key in ("thread", "source"):
        st.query_params.pop(key, None)
    st.session_state["thread"] = "" if thread is None else thread.thread_id
    if thread is not None:
        st.query_params["thread"] = thread.thread_id


def sidebar(view: View, thread: Thread | None) -> None:
    """New, search, and the list."""
    word, threads = view.word, view.home.threads
    with st.sidebar:
        st.button(
            word("chat.new"),
            icon=":material/edit_square:",
            width="stretch",
            key="new-thread",
            on_click=choose,
            args=(None,),
        )
        search = st.session_state.get("thread-search", "")
        found = threads.find(view.user.name, search, SHOWN)
        if found or search:
            st.text_input(
                word("chat.search"), key="thread-search", placeholder=word("chat.search"), type="search",
                label_visibility="collapsed", icon=":material/search:", live=True,
            )  # fmt: skip
        if search and not found:
            st.caption(word("chat.none_found"))
        with st.container(key="thread-list", gap=None):
            for one in found:
                here = thread is not None and one.thread_id == thread.thread_id
                st.button(
                    plain(one.title), key=f"thread-{one.thread_id}", width="stretch", wrap=False,
                    type="secondary" if here else "tertiary", on_click=view.still(_open), args=(view, one),
                )  # fmt: skip
        _feedback_export(view)


def _open(view: View, thread: Thread) -> None:
    choose(thread)
    turns = view.home.threads.turns(thread.thread_id)
    if turns and turns[-1].collection in view.kb.collections():
        st.session_state["collection"] = turns[-1].collection


def menu(view: View, thread: Thread, turns: Sequence[Turn]) -> None:
    """What can be done with the thread that is open."""
    word = view.word
    with st.popover(word("chat.thread_menu"), icon=":material/more_horiz:", key="thread-menu"):
        key = f"title-{thread.thread_id}"
        st.text_input(word("chat.name"), thread.title, key=key, on_change=view.still(_rename), args=(view, thread, key))
        stem = re.sub(r"[^\w-]+", "-", thread.title).strip("-")[:60] or "chat"
        st.download_button(
            word("chat.export_md"), as_markdown(thread, turns, view).encode(), file_name=f"{stem}.md", mime="text/markdown",
            icon=":material/download:", width="stretch", on_click="ignore", key="export-md",
        )  # fmt: skip
        st.download_button(
            word("chat.export_json"), as_json(thread, turns).encode(), file_name=f"{stem}.json", mime="application/json",
            icon=":material/data_object:", width="stretch", on_click="ignore", key="export-json",
        )  # fmt: skip
        if st.button(word("chat.delete"), icon=":material/delete:", width="stretch", key="delete-thread"):
            _confirm(view, thread)


def _rename(view: View, thread: Thread, key: str) -> None:
    if title := str(st.session_state.get(key, "")).strip():
        view.home.threads.rename(thread.thread_id, title)


def _confirm(view: View, thread: Thread) -> None:
    @st.dialog(view.word("chat.delete_title"))
    def ask() -> None:
        view.check()
        st.markdown(plain(view.word("chat.delete_text", title=thread.title)))
        with st.container(horizontal=True):
            if st.button(view.word("chat.delete"), type="primary", key="delete-really"):
                view.home.threads.delete(thread.thread_id)
                choose(None)
                st.rerun()
            if st.button(view.word("chat.cancel"), key="delete-not"):
                st.rerun()

    ask()


def _feedback_export(view: View) -> None:
    rated = view.home.threads.rated(view.user.name)
    if not rated:
        return
    with st.popover(view.word("chat.feedback_n", n=len(rated)), icon=":material/thumbs_up_down:", width="stretch"):
        st.caption(view.word("chat.feedback_help"))
        st.download_button(
            view.word("chat.feedback_export"), as_questions(rated).encode("utf-8-sig"), file_name="feedback.csv",
            mime="text/csv", icon=":material/download:", width="stretch", on_click="ignore", key="feedback-export",
        )  # fmt: skip


# ---------------------------------------------------------------- exports


def as_markdown(thread: Thread, turns: Sequence[Turn], view: View) -> str:
    """The conversation to read: questions as headings, answers, and below each its sources with their quotes."""
    parts = [f"# {_quiet(thread.title)}"]
    for turn in turns:
        parts.append(f"## {_quiet(' '.join(turn.question.split()))}")
        if turn.answer is not None:
            parts.append(_quiet(turn.answer.text))
            parts += [_quoted(one, view) for one in turn.answer.citations]
        if turn.error:
            parts.append(f"*{_quiet(parted(turn.error)[1])}*")
    return "\n\n".join(parts) + "\n"


def _quoted(citation: Citation, view: View) -> str:
    page = f", {view.word('chat.page', n=citation.page)}" if citation.page else ""
    quote = " ".join(citation.quote.split())
    return f"> [{citation.marker}] {_quiet(citation.title or citation.source)}{page}: {_quiet(quote)}"


def _quiet(text: str) -> str:
    """No image of it is loaded and no HTML of it works where the file is shown."""
    return text.replace("![", "!\\[").replace("<", "\\<")


def as_json(thread: Thread, turns: Sequence[Turn]) -> str:
    """All that is kept of the conversation."""
    return json.dumps(
        {"thread_id": thread.thread_id, "title": thread.title, "created_at": thread.created_at, "turns": [_turn(one) for one in turns]},
        ensure_ascii=False, indent=2,
    )  # fmt: skip


def _turn(turn: Turn) -> dict[str, Any]:
    answer = turn.answer
    return {
        "question": turn.question, "asked_at": turn.created_at, "collection": turn.collection, "mode": turn.mode, "state": turn.state,
        "answer": answer.text if answer else "", "abstained": bool(answer and answer.abstained),
        "citations": [
            {"marker": one.marker, "source": one.source, "title": one.title, "page": one.page, "quote": one.quote,
             "start": one.start, "end": one.end, "doc_id": one.doc_id, "supported": one.supported}
            for one in (answer.citations if answer else ())
        ],
        "unsupported": list(answer.unsupported if answer else ()), "seconds": round(turn.seconds, 3),
        "tokens": {"prompt": answer.usage.n_prompt_tokens, "answer": answer.usage.n_answer_tokens} if answer else {},
        "rating": {None: "", 0: "bad", 1: "good"}[turn.rating], "comment": turn.comment,
    }  # fmt: skip


def as_questions(turns: Sequence[Turn]) -> str:
    """Rated answers as a table that `ragstone eval` reads: question, answer, source; what was rated bad has keep = no.

    A good answer that cites nothing says that the documents hold none, and becomes a question without an answer.
    """
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["id", "question", "answer", "source", "kind", "keep", "comment"])
    for turn in turns:
        answer = turn.answer
        text = strip_markers(answer.text, {one.marker for one in answer.citations})[0] if answer else ""
        sources = list(dict.fromkeys(one.source for one in answer.citations)) if answer else []
        kind = "" if sources else "unanswerable"
        for source in sources or [""]:
            keep = "yes" if turn.rating else "no"
            rows.writerow([_cell(one) for one in (turn.turn_id, turn.question, text, source, kind, keep, turn.comment)])
    return out.getvalue()


def _cell(text: str) -> str:
    """A spreadsheet takes what begins so for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
