"""Imports as jobs: accepted, called off while they run, and the uploads kept beside their documents."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import pytest

from rag.jobs import Job
from rag.knowledge_base import KnowledgeBase
from rag.principals import Principal
from ui.api.accepting import accept, accept_files, delete
from ui.api.service import Refused, Service
from ui.api.worker import Worker


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any) -> Any:
    with KnowledgeBase.open(tmp_path_factory.mktemp("jobs") / "home", settings=tiny_settings) as kb:
        yield Service(kb, open_to_all=True)


def work(service: Service, job: Job) -> Job:
    """One worker does the job to its end."""
    worker = Worker(service.kb, service.jobs, service.wake)
    worker.start()
    ended = threading.Event()
    while not (job := service.jobs.get(job.job_id)).ended:  # type: ignore[union-attr, assignment]
        ended.wait(0.05)
    worker.stop()
    return job


def test_uploads_keep_their_names_and_their_bytes(service: Service) -> None:
    files = [("a/x.md", io.BytesIO(b"# One\n\nThe first.")), ("b/x.md", io.BytesIO(b"# Two\n\nThe second."))]
    job = work(service, accept_files(service, service.kb, files, key_id=""))
    assert job.state == "done" and job.result["documents"]["added"] == 2
    by_source = {info.source: info.doc_id for info in service.kb.documents()}
    assert by_source.keys() == {"upload:/a/x.md", "upload:/b/x.md"}
    first = by_source["upload:/a/x.md"]
    assert service.kb.original(first) == b"# One\n\nThe first."
    assert not list((service.kb.home / "uploads").iterdir())

    again = work(
        service, accept_files(service, service.kb, [("a/x.md", io.BytesIO(b"# One\n\nThe third."))], key_id="")
    )
    assert again.result["documents"] == {"added": 0, "updated": 1, "unchanged": 0, "deleted": 0, "failed": 0}
    assert service.kb.original(first) == b"# One\n\nThe third."
    assert len(list((service.kb.home / "originals").glob("*/*"))) == 2, "what was replaced goes"
    assert delete(service, service.kb, list(by_source.values()), key_id="") is None
    assert not list((service.kb.home / "originals").glob("*/*"))


def test_an_original_on_disk_is_shown_while_it_is_the_same(service: Service, tmp_path: Path) -> None:
    (tmp_path / "tea.md").write_text("# Tea\n\nGreen.", encoding="utf-8")
    job = work(service, accept(service, service.kb, key_id="", request={"paths": [str(tmp_path)]}))
    assert job.state == "done"
    (info,) = service.kb.documents()
    assert service.kb.original(info.doc_id) == b"# Tea\n\nGreen."
    (tmp_path / "tea.md").write_text("# Tea\n\nBlack.", encoding="utf-8")
    assert service.kb.original(info.doc_id) is None, "it is not what was imported"
    service.kb.delete(info.doc_id)


def test_a_running_import_is_called_off_and_what_is_in_stays(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.api.worker.NOTE_S", 0.0)
    files = [(f"{n:03d}.md", io.BytesIO(f"# Note {n}\n\nIt says {n}.".encode())) for n in range(200)]
    job = accept_files(service, service.kb, files, key_id="")
    note = service.jobs.note

    def called_off(job_id: str, progress: Any) -> None:
        note(job_id, progress)
        service.jobs.stop(job_id)

    monkeypatch.setattr(service.jobs, "note", called_off)
    job = work(service, job)
    assert job.state == "cancelled" and 0 < job.result["documents"]["added"] < 200
    assert not service.jobs.stop(job.job_id)
    service.kb.delete(*(info.doc_id for info in service.kb.documents()))


def test_what_was_being_called_off_when_the_worker_died_does_not_begin_again(service: Service) -> None:
    job = accept_files(service, service.kb, [("late.md", io.BytesIO(b"Late."))], key_id="")
    assert service.jobs.take() is not None and service.jobs.stop(job.job_id)
    assert work(service, job).state == "cancelled"
    assert not (service.kb.home / "uploads" / job.job_id).exists()


def test_nobody_replaces_a_document_that_they_cannot_see(service: Service) -> None:
    work(service, accept_files(service, service.kb, [("plan.md", io.BytesIO(b"Secret."))], key_id="", acl=["g:staff"]))
    bob = service.kb.view(principal=Principal(names=("u:bob",)))
    with pytest.raises(Refused, match="is taken"):
        accept_files(service, bob, [("plan.md", io.BytesIO(b"Mine."))], key_id="bob")
    assert bob.original(service.kb.documents()[0].doc_id) is None
