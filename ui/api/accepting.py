"""Accepting imports and deletions: once a function here returns, the work is on disk and will be done, whatever comes.

The HTTP API and the page take uploads through here; the worker does the work.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from rag.errors import LockedError, UsageError
from rag.ingest import file_doc_id
from rag.jobs import Job, new_job_id
from rag.knowledge_base import KnowledgeBase
from rag.principals import shown_name
from ui.api.service import Refused, Service
from ui.api.worker import job_folder, upload_source

PIECE = 1 << 20
MAX_LABEL = 200
MAX_PATH = 1000


def accept(
    service: Service,
    kb: KnowledgeBase,
    *,
    key_id: str,
    request: Mapping[str, Any],
    doc_ids: Iterable[str] = (),
    keep: Callable[[Path], None] = lambda _folder: None,
) -> Job:
    """Queue an import into `kb`, a view of the service's home as somebody sees it.

    request: what the worker needs (files, urls, paths or documents). keep: puts the content into the job's folder.
    Raises: Refused for somebody who may only read, and for a document that this person cannot see and would replace.
    """
    if kb.principal and not kb.principal.writes:
        raise Refused(403, "E_ACCESS", "You may read here, and change nothing. Ask an admin for the role editor.")
    for doc_id in doc_ids:
        if kb.principal and not kb.documents(doc_id) and service.kb.catalog.documents(kb.collection, doc_id):
            raise Refused(403, "E_ACCESS", f"The name {doc_id[:100]!r} is taken. Choose another doc_id.")
    job_id = new_job_id()
    folder = job_folder(service.kb.home, job_id)
    folder.mkdir(parents=True)
    try:
        keep(folder)
        job = service.jobs.add(
            "import",
            key_id=key_id,
            collection=shown_name(kb.collection),
            request={**request, **_who(kb)},
            job_id=job_id,
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    service.wake.set()
    return job


def accept_files(
    service: Service,
    kb: KnowledgeBase,
    files: Sequence[tuple[str, BinaryIO]],
    *,
    key_id: str,
    acl: Sequence[str] = (),
) -> Job:
    """Queue the import of files, each with its label; a label that is known already means an update."""

    def keep(folder: Path) -> None:
        for at, (_, file) in enumerate(files):
            file.seek(0)
            write(folder / stored_name(at), iter(lambda file=file: file.read(PIECE), b""))  # type: ignore[misc]

    names = [name for name, _ in files]
    request = {"acl": list(acl), "files": [{"name": name, "stored": stored_name(at)} for at, name in enumerate(names)]}
    return accept(
        service, kb, key_id=key_id, request=request, keep=keep,
        doc_ids=[file_doc_id(upload_source(name)) for name in names],
    )  # fmt: skip


def accept_documents(
    service: Service, kb: KnowledgeBase, documents: Sequence[Mapping[str, Any]], *, key_id: str, acl: Sequence[str] = ()
) -> Job:
    """Queue the import of texts, each with the fields of a Document."""

    def keep(folder: Path) -> None:
        encoded = json.dumps(list(documents), ensure_ascii=False).encode("utf-8", "surrogatepass")
        write(folder / "documents.json", [encoded])

    return accept(
        service, kb, key_id=key_id, request={"acl": list(acl)}, keep=keep,
        doc_ids=[one["doc_id"] for one in documents],
    )  # fmt: skip


def delete(service: Service, kb: KnowledgeBase, doc_ids: Sequence[str], *, key_id: str) -> Job | None:
    """Remove documents now; while something else is writing the deletion is queued, and comes right after it."""
    try:
        kb.delete(*doc_ids)
        return None
    except LockedError:
        request = {"doc_ids": list(doc_ids), **_who(kb)}
        job = service.jobs.add("delete", key_id=key_id, collection=shown_name(kb.collection), request=request)
    service.wake.set()
    return job


def label(name: str, at: int) -> str:
    """A file's name as people know it: its last part, one line. It is never opened by it."""
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(char for char in last if char.isprintable()).strip()[-MAX_LABEL:]
    return kept if kept.strip(".") else f"file-{at}"


def labels(names: Sequence[str]) -> list[str]:
    """Labels of files that are sent together, with the folders they lay in; where two are the same, the later one is numbered.

    So no file takes the place of another of the same batch.
    """
    found: list[str] = []
    for at, name in enumerate(names, start=1):
        *folders, last = name.replace("\\", "/").split("/")
        parts = [label(folder, 0) for folder in folders if folder.strip(". ")]
        whole = "/".join([*parts, label(last, at)])[-MAX_PATH:].lstrip("/")
        found.append(_free(whole, set(found)))
    return found


def allowed_folder(path: str, allowed: Sequence[str], *, anywhere: bool) -> str:
    """The real path of a folder or file on this machine that may be imported. anywhere: without looking at `allowed`.

    Raises: UsageError for a path that is not there, or outside of the folders that the settings allow.
    """
    if not path.strip():
        raise UsageError("Name a path on the machine that runs ragstone, such as /home/ann/papers.")
    real = os.path.realpath(os.path.expanduser(path.strip()))
    roots = [os.path.realpath(os.path.expanduser(one)) for one in allowed]
    inside = any(real == root or real.startswith(root.rstrip(os.sep) + os.sep) for root in roots)
    if not anywhere and not inside:
        where = ", ".join(roots) or "none; an administrator sets ui.import_folders"
        raise UsageError(f"Folders of the server can be imported from here: {where}. Choose one of those.")
    if not os.path.exists(real):
        raise UsageError(f"There is no {real} on the machine that runs ragstone. Check the path.")
    return real


def stored_name(at: int) -> str:
    """What the file at this place of a job is called on disk."""
    return f"{at:03d}"


def write(path: Path, pieces: Iterable[bytes]) -> None:
    """On disk when this returns, for the job will be acknowledged."""
    with open(path, "xb") as out:
        for piece in pieces:
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())


def _free(name: str, taken: set[str]) -> str:
    stem, dot, end = name.rpartition(".")
    n = 2
    free = name
    while free in taken:
        free = f"{stem} ({n}).{end}" if dot and "/" not in end else f"{name} ({n})"
        n += 1
    return free


def _who(kb: KnowledgeBase) -> dict[str, Any]:
    """The principal, for the worker."""
    principal = kb.principal
    return {"principal": None if principal is None else {"tenant": principal.tenant, "names": list(principal.names)}}
