"""kill -9 at random moments of an import, then the same command again: nothing lost, nothing twice, same results."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rag import KnowledgeBase
from rag.embedding import open_embedder

N_FILES, N_KILLS, SEED = 800, 10, 20_261_122
QUERIES = ["tea of garden 17", "绿茶的水温", "river in the garden 101", "七分钟"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("documents")
    chooser = random.Random(SEED)
    for i in range(N_FILES):
        body = "\n\n".join(
            f"## Part {part}\n\n"
            + " ".join(
                chooser.choice(["tea", "green", "river", "water", "leaf", "第七分钟", "绿茶的水温"]) for _ in range(40)
            )
            for part in range(6)
        )
        (made / f"{i:03}.md").write_text(f"# Garden {i}\n\nThe tea of garden {i}.\n\n{body}\n", encoding="utf-8")
    return made


def environment(settings) -> dict[str, str]:  # type: ignore[no-untyped-def]
    values = {"EMBEDDING__MODEL": settings.embedding.model, "EMBEDDING__BACKEND": settings.embedding.backend, "MODELS__DIR": settings.models.dir,
              "LLM__MODEL": "none", "CHUNK__SIZE": "64", "CHUNK__OVERLAP": "8"}  # fmt: skip
    return dict(os.environ) | {f"RAGSTONE__{key}": value for key, value in values.items()}


def start(repo: Path, folder: Path, home: Path, settings) -> subprocess.Popen[str]:  # type: ignore[no-untyped-def]
    command = [sys.executable, "-W", "ignore", "-m", "ui.cli", "ingest", str(folder), "--home", str(home), "--json"]
    return subprocess.Popen(
        command,
        cwd=repo,
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def assert_same(came: dict[str, object], expected: dict[str, object]) -> None:
    """Equal to the byte, but for the last bit of vectors: it depends on which texts share a model call."""
    for part in ("documents", "chunks", "texts", "garbage", "keys"):
        assert came[part] == expected[part], part
    assert came["vectors"].keys() == expected["vectors"].keys()  # type: ignore[attr-defined]
    assert all(np.allclose(vector, expected["vectors"][key], atol=1e-5) for key, vector in came["vectors"].items())  # type: ignore[index, attr-defined]
    for mine, theirs in zip(came["found"], expected["found"], strict=True):  # type: ignore[call-overload]
        assert mine == pytest.approx(theirs, rel=1e-4, abs=1e-4)


def state(home: Path, settings) -> dict[str, object]:  # type: ignore[no-untyped-def]
    """Everything that must be equal: catalog, keys in Milvus, and what searches give."""
    with sqlite3.connect(home / "catalog.sqlite3") as db:
        rows = {
            "documents": db.execute(
                "select doc_id, source, title, state, version, pending, content_hash, n_chunks from documents order by 1"
            ).fetchall(),
            "chunks": db.execute(
                'select pk, doc_id, version, ordinal, start, "end", context, text, vector_key from chunks order by 1'
            ).fetchall(),
            "texts": db.execute("select doc_id, version, text from texts order by 1").fetchall(),
            "vectors": {
                key: np.frombuffer(vector, "<f4") for key, vector in db.execute("select key, vector from vectors")
            },
            "garbage": db.execute("select pk from garbage").fetchall(),
        }
    with KnowledgeBase.open(home, settings=settings) as kb:
        assert kb.verify().ok, kb.verify().problems
        collection = kb.catalog.collection("default")
        assert collection is not None
        keys = sorted(kb.store.keys(kb.index_name(collection.generation)))
        found = [
            {hit.chunk_id: hit.score for hit in kb.search(query, mode=mode, top_k=16_000)}
            for query in QUERIES
            for mode in ("bm25", "dense", "hybrid")
        ]
    return {**rows, "keys": keys, "found": found}


def test_ten_kills_change_nothing(repo: Path, folder: Path, tmp_path: Path, tiny_settings) -> None:  # type: ignore[no-untyped-def]
    open_embedder(tiny_settings.embedding, tiny_settings.models)  # exports the model, so that no run has to
    began = time.monotonic()
    whole = start(repo, folder, tmp_path / "undisturbed", tiny_settings)
    out, err = whole.communicate(timeout=300)
    seconds = time.monotonic() - began
    assert whole.returncode == 0, err
    assert json.loads(out)["documents"]["added"] == N_FILES

    chooser = random.Random(SEED)
    home = tmp_path / "killed"
    n_killed = 0
    for _ in range(N_KILLS):
        process = start(repo, folder, home, tiny_settings)
        try:
            process.wait(timeout=chooser.uniform(0.08, 0.25) * seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            n_killed += 1
        process.communicate()
    assert n_killed >= N_KILLS // 3, "the machine was too fast for this test: raise N_FILES"
    last = start(repo, folder, home, tiny_settings)
    out, err = last.communicate(timeout=300)
    assert last.returncode == 0, err
    counts = json.loads(out)["documents"]
    assert counts["added"] + counts["updated"] + counts["unchanged"] == N_FILES

    assert_same(state(home, tiny_settings), state(tmp_path / "undisturbed", tiny_settings))


@pytest.mark.parametrize("step", ["stage", "upsert", "publish", "delete", "forget_garbage"])
def test_a_kill_between_any_two_steps(step: str, repo: Path, tmp_path: Path, tiny_settings) -> None:  # type: ignore[no-untyped-def]
    """The process dies right before or after a step of a version's replacement; the next run ends in the same state."""
    script = f"""
import json, os, signal, sys
from rag import KnowledgeBase, Document, Settings
from rag.catalog import Catalog
from rag.store import MilvusStore
home, values, moment = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
kb = KnowledgeBase.open(home, settings=Settings.load(overrides=values))
texts = lambda word: [Document(f"The {{word}} of garden {{i}}.", doc_id=f"d{{i}}") for i in range(5)]
kb.ingest(texts("tea"))
owner = Catalog if hasattr(Catalog, {step!r}) and {step!r} != "delete" else MilvusStore
plain = getattr(owner, {step!r})
def dying(*arguments, **options):
    if moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    plain(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)
if moment != "never":
    setattr(owner, {step!r}, dying)
kb.ingest(texts("river"))
"""
    values = {key: getattr(getattr(tiny_settings, key.split(".")[0]), key.split(".")[1])
              for key in ("embedding.model", "embedding.backend", "models.dir", "llm.model", "chunk.size", "chunk.overlap")}  # fmt: skip
    states = {}
    for moment in ("never", "before", "after"):
        home = tmp_path / moment
        command = [sys.executable, "-W", "ignore", "-c", script, str(home), json.dumps(values), moment]
        ended = subprocess.run(
            command, cwd=repo, env=environment(tiny_settings), capture_output=True, text=True, timeout=120
        )
        assert ended.returncode == (0 if moment == "never" else -signal.SIGKILL), ended.stderr
        with KnowledgeBase.open(home, settings=tiny_settings) as kb:
            words = {kb.text(info.doc_id).split()[1] for info in kb.documents()}
            assert len(words) == 1, "a reader sees all of the batch in one version"
            from rag import Document

            report = kb.ingest([Document(f"The river of garden {i}.", doc_id=f"d{i}") for i in range(5)])
            assert report.failures == () and report.n_embedded == 0, "vectors that were computed are kept"
        states[moment] = state(home, tiny_settings)
    assert_same(states["before"], states["never"])
    assert_same(states["after"], states["never"])
