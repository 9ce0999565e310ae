"""Faults made on purpose: the doctor names each by the check that fails, and says what to do."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rag.catalog import Catalog
from rag.errors import SettingsError
from rag.jobs import Jobs
from rag.knowledge_base import KnowledgeBase
from rag.settings import Settings
from rag.types import Document
from tests.fakes.openai_server import OpenAIServer, closed_port, html, status
from ui import doctor


class Patient:
    """A home that is well, and what a fault may change of it."""

    def __init__(
        self, home: Path, settings: Settings, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, other: Settings
    ) -> None:
        self.home, self.settings, self.stack, self.monkeypatch, self.other = home, settings, stack, monkeypatch, other

    def set(self, **values: Any) -> None:
        self.settings = self.settings.with_values(**values)

    def checks(self) -> dict[str, doctor.Check]:
        def load() -> Settings:
            if isinstance(self.settings, SettingsError):
                raise self.settings
            return self.settings

        return {check.name: check for check in doctor.checks(str(self.home), load)}


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any) -> Path:
    home = tmp_path_factory.mktemp("doctor")
    with KnowledgeBase.open(home, settings=tiny_settings) as kb:
        kb.ingest([Document("Oolong is brewed at 90 degrees.", doc_id="tea")])
    return home


@pytest.fixture
def patient(well: Path, tiny_settings: Any, other_settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Patient]:
    with ExitStack() as stack:
        yield Patient(well, tiny_settings, stack, monkeypatch, other_settings)


def full_disk(patient: Patient) -> None:
    patient.monkeypatch.setattr("ui.doctor.shutil.disk_usage", lambda _: SimpleNamespace(free=1000))


def damaged_catalog(patient: Patient, tmp: Path) -> None:
    patient.home = tmp / "home"
    patient.home.mkdir()
    (patient.home / "catalog.sqlite3").write_bytes(b"no database at all" * 500)


def newer_catalog(patient: Patient, tmp: Path) -> None:
    import sqlite3

    patient.home = tmp / "home"
    patient.home.mkdir()
    Catalog(patient.home / "catalog.sqlite3").close()
    with sqlite3.connect(patient.home / "catalog.sqlite3") as db:
        db.execute("update meta set value = '999' where key = 'schema'")


def other_model(patient: Patient) -> None:
    patient.settings = patient.other


def lost_rows(patient: Patient) -> None:
    kb = patient.stack.enter_context(KnowledgeBase.open(patient.home, settings=patient.settings))
    index = kb.index_name(kb.catalog.collection("default").generation)  # type: ignore[union-attr]
    keys = sorted(kb.catalog.live_keys("default"))
    kb.store.delete(index, keys)
    kb.store.flush(index)
    patient.stack.callback(lambda: kb.verify(repair=True))


def somebody_writes(patient: Patient) -> None:
    kb = patient.stack.enter_context(KnowledgeBase.open(patient.home, settings=patient.settings))
    patient.stack.enter_context(kb.writing())


def no_worker(patient: Patient) -> None:
    kb = patient.stack.enter_context(KnowledgeBase.open(patient.home, settings=patient.settings))
    job = Jobs(kb.catalog.engine).add("import", key_id="", collection="default", request={})
    patient.stack.callback(lambda: Jobs(kb.catalog.engine).cancel(job.job_id))


def endpoint(reply: Any) -> Callable[[Patient], None]:
    def fault(patient: Patient) -> None:
        server = patient.stack.enter_context(OpenAIServer(always=reply, models_reply=reply))
        patient.set(llm__base_url=server.url, llm__model="auto")

    return fault


def few_files(patient: Patient) -> None:
    patient.monkeypatch.setattr(resource, "getrlimit", lambda _: (16, 16))


def no_sandbox(patient: Patient) -> None:
    patient.set(agent__sandbox_url=f"http://127.0.0.1:{closed_port()}/v1", agent__sandbox_key="a key")


def sandbox(reply: Any) -> Callable[[Patient], None]:
    def fault(patient: Patient) -> None:
        server = patient.stack.enter_context(OpenAIServer(always=reply))
        patient.set(agent__sandbox_url=server.url, agent__sandbox_key="not the key")

    return fault


FAULTS: dict[str, tuple[Callable[..., Any], str, str]] = {
    "a full disk": (full_disk, "disk", "Free some space"),
    "a damaged catalog": (damaged_catalog, "catalog", "backup"),
    "a newer catalog": (newer_catalog, "catalog", "backup"),
    "no Milvus server": (lambda p: p.set(milvus__uri=f"http://127.0.0.1:{closed_port()}", milvus__timeout_s=1), "milvus", "Start the server"),
    "no embedding model": (lambda p: p.set(embedding__model="/nowhere/at/all"), "embedding", "pull"),
    "another embedding model": (other_model, "collection", "reindex"),
    "rows that are gone": (lost_rows, "collection", "--repair"),
    "somebody who writes": (somebody_writes, "writing", "Wait"),
    "jobs without a worker": (no_worker, "jobs", "ragstone worker"),
    "no chat endpoint": (lambda p: p.set(llm__base_url=f"http://127.0.0.1:{closed_port()}/v1", llm__model="auto"), "chat", "llm.base_url"),
    "a wrong key": (endpoint(status(401)), "chat", "llm.base_url"),
    "a page instead of an endpoint": (endpoint(html()), "chat", "llm.base_url"),
    "a reranker that is not there": (lambda p: p.set(rerank__model="/nowhere/at/all"), "reranker", "rerank.model"),
    "no sandbox service": (no_sandbox, "sandbox", "agent.sandbox_url"),
    "a wrong key of the sandbox service": (sandbox(status(401)), "sandbox", "agent.sandbox_key"),
    "a page instead of a sandbox service": (sandbox(html()), "sandbox", "agent.sandbox_url"),
    "few open files": (few_files, "files", "ulimit"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named(patient: Patient, tmp_path: Path, name: str) -> None:
    fault, check, says = FAULTS[name]
    fault(patient, tmp_path) if fault in (damaged_catalog, newer_catalog) else fault(patient)
    found = patient.checks()
    assert not found[check].ok and found[check].message and says in found[check].fix, found[check]
    if check not in ("disk", "catalog", "milvus", "embedding", "files", "writing"):  # what others need, too
        assert [one.name for one in found.values() if not one.ok] == [check]


def test_a_home_that_is_well(patient: Patient) -> None:
    assert [check for check in patient.checks().values() if not check.ok] == []


def test_a_home_that_cannot_be_written(tmp_path: Path, tiny_settings: Any) -> None:
    (tmp_path / "file").write_text("no folder")
    (check,) = [one for one in doctor.checks(str(tmp_path / "file" / "home"), lambda: tiny_settings) if not one.ok]
    assert check.name == "settings" and "--home" in check.message
    assert os.path.isfile(tmp_path / "file")
