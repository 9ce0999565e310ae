"""Imports as they go on: progress, failures with what to do, calling off. The worker does them, with or without this tab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from rag.jobs import Job
from rag.principals import shown_name
from rag.types import DocumentInfo
from ui.web.documents_names import advice, counted, name_of
from ui.web.markup import plain
from ui.web.view import View

REFRESH_S = 1.0
FILES_SHOWN = 100
EARLIER = 10
_ORDER = ("failed", "writing", "waiting", "done", "unchanged")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """A file of an import. state: failed, writing, waiting, done or unchanged. code: of a failure."""

    name: str
    state: str
    code: str = ""


def running(view: View) -> None:
    """The imports that are not done, and those that ended while this tab looked; refreshed while there are some."""
    mine = _mine(view)
    seen: list[str] = st.session_state.setdefault("documents-jobs", [])
    seen += [job.job_id for job in mine if not job.ended and job.job_id not in seen]
    active = any(not job.ended for job in mine)
    if seen:
        view.part(_cards, view, active, run_every=REFRESH_S if active else None)


def _mine(view: View) -> list[Job]:
    name = shown_name(view.kb.collection)
    return [job for job in view.home.jobs.list(view.user.name) if job.collection == name]


def _cards(view: View, was_active: bool) -> None:
    seen: list[str] = st.session_state["documents-jobs"]
    jobs = [job for job in _mine(view) if job.job_id in seen]
    for job in jobs:
        with st.container(border=True, key=f"job-{job.job_id}"):
            card(view, job)
    if was_active and all(job.ended for job in jobs):
        st.rerun()  # the list below is another one now


def card(view: View, job: Job) -> None:
    """One import: how far it is, or how it ended."""
    word = view.word
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(title(view, job))}**", width="stretch")
        if job.ended:
            st.button(
                word("documents.close"),
                key=f"close-{job.job_id}",
                type="tertiary",
                on_click=_dismiss,
                args=(job.job_id,),
            )
        elif job.state != "stopping":
            st.button(
                word("documents.cancel"),
                key=f"cancel-{job.job_id}",
                on_click=view.still(_call_off),
                args=(view, job.job_id),
            )
    if not job.ended:
        done, total = job.progress.get("done", 0), job.progress.get("total", 0)
        st.progress(min(done / total, 1.0) if total else 0.0, text=plain(progress_line(view, job)))
        st.caption(word("documents.goes_on"))
    else:
        ending(view, job)
    if "files" in job.request and not (job.ended and job.state == "done"):
        states = file_states(job, _documents_of(view, job))
        with st.expander(word("documents.files"), key=f"files-{job.job_id}"):
            _files(view, states)


def title(view: View, job: Job) -> str:
    if job.kind == "delete":
        return view.word("documents.deletion" if job.ended else "documents.deleting", n=len(job.request["doc_ids"]))
    names = [one["name"] for one in job.request.get("files", ())]
    names = names or [*job.request.get("urls", ()), *job.request.get("paths", ())]
    if len(names) == 1:
        return view.word("documents.imported" if job.ended else "documents.importing", name=names[0])
    return view.word("documents.imported_files" if job.ended else "documents.importing_files", n=len(names))


def progress_line(view: View, job: Job) -> str:
    """What is happening, how many are done and how long it will take."""
    word, progress = view.word, job.progress
    if job.state in ("queued", "stopping"):
        return word(f"documents.{job.state}")
    if progress.get("waiting_for"):
        return word("documents.waits", why=progress["waiting_for"])
    if not progress.get("total"):
        return word("documents.starting")
    parts = [word("documents.so_far", done=progress["done"], total=progress["total"])]
    if (left := progress.get("seconds_left")) is not None:
        parts.append(word("documents.left_min", n=round(left / 60)) if left >= 60 else word("documents.left_s"))
    if progress.get("source"):
        parts.append(name_of(progress["source"]))
    return " · ".join(parts)


def ending(view: View, job: Job) -> None:
    word, result = view.word, job.result
    if "error" in result:
        st.error(word("documents.job_failed", why=plain(result["error"]["message"])))
        return
    if job.kind == "delete":
        st.success(counted(view, "deleted", result.get("deleted", 0)))
        return
    counts = result.get("documents", {"added": 0, "updated": 0, "unchanged": 0, "failed": 0})
    text = word("documents.ended_failed" if counts["failed"] else "documents.ended", **counts)
    if job.state == "cancelled":
        st.warning(word("documents.cancelled", what=text))
    elif counts["failed"]:
        st.warning(text)
    else:
        st.success(text)
    failures(view, result.get("failures", ()))


def failures(view: View, found: Sequence[Mapping[str, Any]]) -> None:
    """What could not be read, and what helps."""
    for failure in found[:FILES_SHOWN]:
        st.markdown(
            f":red[:material/error:] **{plain(name_of(failure['source']))}** — {plain(advice(view, failure['code'], failure['message']))}"
        )
    if len(found) > FILES_SHOWN:
        st.caption(view.word("documents.more_files", n=len(found) - FILES_SHOWN))


def file_states(job: Job, infos: Sequence[DocumentInfo]) -> list[FileState]:
    """The files of an import of uploads, those that need somebody first. A document that is older waits for its turn."""
    by_id = {info.doc_id: info for info in infos}
    found = []
    for one in job.request.get("files", ()):
        info = by_id.get(_doc_id(one["name"]))
        fresh = info is not None and info.updated_at >= job.created_at
        if info is not None and info.code and fresh:
            found.append(FileState(name=one["name"], state="failed", code=info.code))
        elif info is not None and info.state == "importing":
            found.append(FileState(name=one["name"], state="writing"))
        elif info is not None and fresh and (info.version or info.copy_of):
            found.append(FileState(name=one["name"], state="done"))
        else:
            old = job.ended and info is not None and bool(info.version)
            found.append(FileState(name=one["name"], state="unchanged" if old else "waiting"))
    return sorted(found, key=lambda state: _ORDER.index(state.state))


def earlier(view: View) -> None:
    """Imports that ended before this tab was opened."""
    seen = st.session_state.get("documents-jobs", ())
    jobs = [job for job in _mine(view) if job.ended and job.job_id not in seen][:EARLIER]
    if not jobs:
        return
    with st.expander(view.word("documents.earlier"), key="documents-earlier"):
        for job in jobs:
            st.markdown(f"**{plain(title(view, job))}** · {plain(job.updated_at[:16].replace('T', ' '))}")
            ending(view, job)


def _doc_id(name: str) -> str:
    """Of an uploaded file's document. What imports is not loaded before: the first page is waited for."""
    from rag.ingest import file_doc_id
    from ui.api.worker import upload_source

    return file_doc_id(upload_source(name))


def _documents_of(view: View, job: Job) -> list[DocumentInfo]:
    doc_ids = [_doc_id(one["name"]) for one in job.request["files"]]
    return view.kb.catalog.find_documents(
        view.kb.collection, text="", state="", type="", limit=None, offset=0, doc_ids=doc_ids
    )[0]


def _files(view: View, states: Sequence[FileState]) -> None:
    for one in states[:FILES_SHOWN]:
        colour = {"failed": "red", "done": "green", "writing": "blue"}.get(one.state, "gray")
        more = f" — {plain(advice(view, one.code, ''))}" if one.code else ""
        st.markdown(f"{plain(one.name)} :{colour}[{view.word(f'documents.file_{one.state}')}]{more}")
    if len(states) > FILES_SHOWN:
        st.caption(view.word("documents.more_files", n=len(states) - FILES_SHOWN))


def _call_off(view: View, job_id: str) -> None:
    view.home.jobs.stop(job_id)


def _dismiss(job_id: str) -> None:
    st.session_state["documents-jobs"].remove(job_id)
