"""Bar 1: an import is killed anywhere. Nothing acknowledged is lost, nothing is there twice, nothing is left over."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rag.embedding import open_embedder
from rag.knowledge_base import KnowledgeBase
from tests.bars.harness import (
    FULL,
    REPO,
    SEED,
    State,
    acknowledged,
    environment,
    ingest_command,
    kill_engine,
    live,
    needs,
    run,
    says,
    spread,
    state,
    write_documents,
)  # fmt: skip

pytestmark = pytest.mark.bar

CALLS = ("write", "pwrite64", "fsync", "fdatasync", "rename")
N_DOCUMENTS = 50
N_POINTS, N_RANDOM, N_ENGINE = (66, 10, 6) if FULL else (3, 1, 1)
RESUME_LIMIT_S = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_documents(tmp_path_factory.mktemp("documents"), N_DOCUMENTS, paragraphs=14)


class Crashes:
    """Kills imports and resumes them, each in a home of its own; compares with an import that was left alone."""

    def __init__(self, folder: Path, at: Path, settings: Any) -> None:
        self.folder, self.at, self.settings = folder, at, settings
        self.embedder = open_embedder(settings.embedding, settings.models)  # exported once, opened once
        self.n_lost = self.n_killed = 0
        self.slowest_s = 0.0
        self.expected = self.resume(at / "undisturbed")

    def command(self, name: str) -> list[str]:
        return ingest_command(self.folder, self.at / name, acks=self.at / f"{name}.acks")

    def resume(self, home: Path) -> State:
        began = time.monotonic()
        with KnowledgeBase.open(home, settings=self.settings) as kb:
            kb._embedder = self.embedder
            report = kb.ingest(self.folder)
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            assert report.failures == () and report.added + report.updated + report.unchanged == N_DOCUMENTS
            return state(kb)

    def check(self, name: str) -> None:
        """After a kill: what was acknowledged is live at once; the same import again ends in the expected state."""
        self.n_killed += 1
        acks = acknowledged(self.at / f"{name}.acks")
        if acks:
            self.n_lost += len(acks - live(self.at / name))
        assert self.resume(self.at / name) == self.expected, name


@pytest.fixture(scope="module")
def crashes(folder: Path, tmp_path_factory: pytest.TempPathFactory, tiny_settings) -> Crashes:  # type: ignore[no-untyped-def]
    return Crashes(folder, tmp_path_factory.mktemp("homes"), tiny_settings)


def test_killed_at_system_calls(crashes: Crashes) -> None:
    """SIGKILL as the process enters its Nth write, fsync or rename, N spread over all of the import."""
    needs("strace")
    log = crashes.at / "strace.log"
    traced = ["strace", "-qq", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]
    whole = run([*traced, *crashes.command("counted")], crashes.settings)
    assert whole.returncode == 0, whole.stderr
    counts = Counter(re.findall(r"^(\w+)\(", log.read_text(), re.MULTILINE))

    n_before, rest = crashes.n_killed, N_POINTS
    calls = sorted((call for call in CALLS if counts[call]), key=lambda call: counts[call])
    for left, call in zip(range(len(calls), 0, -1), calls, strict=True):
        points = spread(max(rest // left, 1), counts[call])
        rest -= len(points)
        for point in points:
            name = f"{call}-{point}"
            inject = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={point}"]  # fmt: skip
            killed = run([*inject, *crashes.command(name)], crashes.settings)
            if killed.returncode == 0:
                continue  # this run had fewer calls
            assert killed.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), killed.stderr
            if point % 3 == 0:
                kill_engine(crashes.at / name)
            crashes.check(name)
    n_points = crashes.n_killed - n_before
    says("1 (system calls)", points=n_points, calls=dict(counts), acknowledged_lost=crashes.n_lost,
         duplicates=0, orphans=0, slowest_resume_s=round(crashes.slowest_s, 1))  # fmt: skip
    assert n_points >= (60 if FULL else 2)
    assert crashes.n_lost == 0 and crashes.slowest_s <= RESUME_LIMIT_S


def test_killed_at_random_moments(crashes: Crashes) -> None:
    chooser = random.Random(SEED)
    began = time.monotonic()
    assert run(crashes.command("timed"), crashes.settings).returncode == 0
    seconds = time.monotonic() - began
    n_before = crashes.n_killed
    for at in range(N_RANDOM):
        name = f"random-{at}"
        process = subprocess.Popen(crashes.command(name), cwd=REPO, env=environment(crashes.settings),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
        try:
            process.wait(timeout=chooser.uniform(0.3, 0.95) * seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if at % 2:
                kill_engine(crashes.at / name)
            crashes.check(name)
    says("1 (random)", kills=crashes.n_killed - n_before, acknowledged_lost=crashes.n_lost, slowest_resume_s=round(crashes.slowest_s, 1))  # fmt: skip
    assert crashes.n_lost == 0 and crashes.slowest_s <= RESUME_LIMIT_S


def test_the_engine_dies_under_an_import(crashes: Crashes) -> None:
    """The embedded Milvus alone is killed: the import ends with a sentence or succeeds, and nothing is lost."""
    chooser = random.Random(SEED)
    outcomes: Counter[str] = Counter()
    for at in range(N_ENGINE):
        name = f"engine-{at}"
        home = crashes.at / name
        process = subprocess.Popen(crashes.command(name), cwd=REPO, env=environment(crashes.settings),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)  # fmt: skip
        while not (home / "milvus.json").exists() and process.poll() is None:
            time.sleep(0.01)
        try:
            process.wait(timeout=chooser.uniform(0.0, 1.0))
        except subprocess.TimeoutExpired:
            kill_engine(home)
        _, said = process.communicate(timeout=60)
        outcomes["done" if process.returncode == 0 else "E_STORE"] += 1
        assert process.returncode in (0, 1), said
        assert process.returncode == 0 or (said.startswith("ragstone: ") and "bug" not in said), said
        assert "Traceback" not in said
        crashes.check(name)
    says("1 (engine killed)", outcomes=dict(outcomes), acknowledged_lost=crashes.n_lost)
    assert crashes.n_lost == 0
