"""The worker: does the jobs that the API accepted, one after the other. One per home, in the API's process or its own."""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from rag import originals
from rag.errors import LockedError, RagstoneError, StoreError
from rag.jobs import Job, Jobs
from rag.knowledge_base import KnowledgeBase
from rag.principals import Principal
from rag.types import Document, IngestReport

if TYPE_CHECKING:  # what imports documents is loaded with the first job: the page's first frame does not wait for it
    from rag.ingest import Progress
    from rag.sources import FoundFile

POLL_S = 1.0  # a job that another process added is seen within
RETRY_S = 2.0  # between tries while something else writes, or Milvus is away
NOTE_S = 0.5  # between two notes of a job's progress
PATIENCE_S = 600.0  # so long a job waits for Milvus before it fails

log = logging.getLogger("ragstone.worker")


def job_folder(home: Path, job_id: str) -> Path:
    """Where a job's uploads lie until it has ended."""
    return home / "uploads" / job_id


class Worker:
    """Works on jobs from `start` until `stop`. A job that is stopped goes on with the next worker of the home."""

    def __init__(self, kb: KnowledgeBase, jobs: Jobs, wake: threading.Event) -> None:
        self._kb, self._jobs, self._wake = kb, jobs, wake
        self._stop = threading.Event()
        self._end_job = threading.Event()  # of the job that is being done: this worker stops, or somebody called it off
        self._thread = threading.Thread(target=self.run, name="worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float | None = None) -> None:
        """End after the documents that are being written. Returns when it has, or after the time."""
        self._stop.set()
        self._end_job.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def run(self) -> None:
        """Wait for being the home's one worker, then work. Runs until `stop`."""
        lock = FileLock(self._kb.home / "worker.lock")
        while not self._stop.is_set():
            try:
                with lock.acquire(timeout=0):
                    for job_id in self._jobs.end_stopping():
                        shutil.rmtree(job_folder(self._kb.home, job_id), ignore_errors=True)
                    self._jobs.requeue_running()
                    self._work()
            except Timeout:  # another process is the worker
                self._stop.wait(POLL_S)
            except RagstoneError as error:  # the catalog is away
                log.warning("the worker waits: %s", error)
                self._stop.wait(RETRY_S)

    def _work(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            job = self._jobs.take()
            if job is None:
                self._wake.wait(POLL_S)
            else:
                self._do(job)

    def _do(self, job: Job) -> None:
        """One job to its end, or back into the queue."""
        deadline = time.monotonic() + PATIENCE_S
        self._end_job.clear()
        if self._stop.is_set():
            self._end_job.set()
        while True:
            try:
                outcome = ("cancelled", {}) if self._jobs.is_stopping(job.job_id) else self._result(job)
            except (LockedError, StoreError) as error:
                if time.monotonic() < deadline and not self._stop.is_set():
                    self._jobs.note(job.job_id, {"waiting_for": str(error)})
                    self._stop.wait(RETRY_S)
                    continue
                if self._stop.is_set():
                    self._jobs.put_back(job.job_id)
                    return
                state, result = "failed", _failed(error)
            except RagstoneError as error:
                state, result = "failed", _failed(error)
            except Exception as error:  # the edge: a job must not end the worker
                log.exception("job %s failed", job.job_id)
                state, result = "failed", {"error": {"code": "E_BUG", "message": f"{type(error).__name__}: see the server's log."}}  # fmt: skip
            else:
                if outcome is None:
                    self._jobs.put_back(job.job_id)
                    return
                state, result = outcome
            self._jobs.end(job.job_id, state, result)
            shutil.rmtree(job_folder(self._kb.home, job.job_id), ignore_errors=True)
            log.info("job %s: %s %s", job.job_id, job.kind, state)
            return

    def _result(self, job: Job) -> tuple[str, dict[str, Any]] | None:
        """The job's last state and what came of it; None when this worker stops."""
        kb = self._kb.view(collection=job.collection, principal=_principal(job.request))
        if job.kind == "delete":
            return "done", {"deleted": kb.delete(*job.request["doc_ids"])}
        report = kb.ingest(
            self._sources(job), acl=job.request.get("acl", ()), stop=self._end_job, progress=self._progress(job)
        )
        if report.stopped and self._stop.is_set():
            return None
        self._keep_originals(job)
        return "cancelled" if report.stopped else "done", report_json(report)

    def _keep_originals(self, job: Job) -> None:
        """The uploads of a job that has ended, so that they can be shown beside their text."""
        if not self._kb.settings.ingest.keep_uploads:
            return
        folder = job_folder(self._kb.home, job.job_id)
        for one in job.request.get("files", ()):
            originals.keep(self._kb.home, folder / one["stored"])
        originals.sweep(self._kb.home, self._kb.catalog.content_hashes())

    def _sources(self, job: Job) -> list[Any]:
        folder = job_folder(self._kb.home, job.job_id)
        if "files" in job.request:
            return [_upload(folder / one["stored"], one["name"]) for one in job.request["files"]]
        if places := job.request.get("urls") or job.request.get("paths"):
            return list(places)
        documents = json.loads((folder / "documents.json").read_text(encoding="utf-8"))
        return [Document(**one) for one in documents]

    def _progress(self, job: Job) -> Callable[[Progress], None]:
        last = [0.0]

        def note(progress: Progress) -> None:
            if time.monotonic() - last[0] >= NOTE_S:
                last[0] = time.monotonic()
                self._jobs.note(job.job_id, {"done": progress.n_done, "total": progress.n_total, "chunks": progress.n_chunks,
                                             "source": progress.source, "seconds_left": progress.seconds_left})  # fmt: skip
                if self._jobs.is_stopping(job.job_id):
                    self._end_job.set()

        return note


def upload_source(name: str) -> str:
    """Under which name an uploaded file is known. The name is a label; nothing is ever opened by it."""
    return f"upload:/{name}"


def report_json(report: IngestReport) -> dict[str, Any]:
    """What an import did, for its client."""
    return {
        "documents": {"added": report.added, "updated": report.updated, "unchanged": report.unchanged,
                      "deleted": report.deleted, "failed": report.failed},
        "chunks": report.n_chunks, "failures": [asdict(failure) for failure in report.failures],
        "warnings": list(report.warnings), "seconds": report.seconds,
    }  # fmt: skip


def _upload(path: Path, name: str) -> FoundFile:
    from rag.sources import FoundFile

    stat = path.stat()
    return FoundFile(path=str(path), source=upload_source(name), size=stat.st_size, mtime_ns=stat.st_mtime_ns)


def _principal(request: Mapping[str, Any]) -> Principal | None:
    found = request.get("principal")
    return None if found is None else Principal(tenant=found["tenant"], names=tuple(found["names"]))


def _failed(error: RagstoneError) -> dict[str, Any]:
    return {"error": {"code": error.code, "message": str(error)}}
