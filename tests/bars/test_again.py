"""Bar 16: a folder imported three times, two of them at once, renamed and changed, is there once and up to date."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rag.embedding import open_embedder
from rag.knowledge_base import KnowledgeBase
from tests.bars.harness import BACK_ENDS, FULL, REPO, State, environment, ingest_command, says, state, write_documents

pytestmark = pytest.mark.bar

N_DOCUMENTS = 60 if FULL else 12


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_the_same_folder_again_and_again(back_end: str, tmp_path: Path, tiny_settings) -> None:  # type: ignore[no-untyped-def]
    folder = write_documents(tmp_path / "documents", N_DOCUMENTS, paragraphs=4)
    embedder = open_embedder(tiny_settings.embedding, tiny_settings.models)
    home = tmp_path / "home"
    with BACK_ENDS[back_end](tmp_path / "server") as uri:
        settings = tiny_settings.with_values(milvus__uri=uri, milvus__timeout_s=60)

        def now(*, prune: bool = False) -> tuple[Any, State]:
            with KnowledgeBase.open(home, settings=settings) as kb:
                kb._embedder = embedder
                report = kb.ingest(folder, prune=prune)
                assert report.failures == ()
                return report, state(kb)

        first, expected = now()
        assert first.added == N_DOCUMENTS

        outcomes = two_at_once(folder, home, settings, uri)
        assert "done" in outcomes, "one of them imports; the other waits or is told who does"
        again, came = now()
        assert (again.unchanged, again.n_embedded) == (N_DOCUMENTS, 0)
        assert came == expected, "the same bytes changed something"

        (folder / "00000.md").rename(folder / "renamed.md")
        renamed, came = now(prune=True)
        assert (renamed.added, renamed.deleted, renamed.n_embedded) == (1, 1, 0), "a new name costs no embedding"
        assert len(came.documents) == N_DOCUMENTS and len(came.keys) == len(expected.keys)

        changed = folder / "00001.md"
        changed.write_text("# Garden 1\n\nOnly the black tea is left, quinquereme.\n", encoding="utf-8")
        report, came = now()
        assert (report.updated, report.unchanged) == (1, N_DOCUMENTS - 1)
        mine = [chunk for chunk in came.chunks if "quinquereme" in chunk[-1]]
        assert len(mine) == 1
        stale = [chunk for chunk in came.chunks if chunk[0] == mine[0][0] and chunk != mine[0]]
        assert stale == [], "chunks of the old version are still there"
        with KnowledgeBase.open(home, settings=settings) as kb:
            kb._embedder = embedder
            hits = kb.search("The tea of garden 1", mode="dense", top_k=1000)
            assert all(hit.source != str(changed) or "quinquereme" in hit.text for hit in hits)
    says(f"16 ({back_end})", documents=len(came.documents), chunks=len(came.keys), at_once=outcomes, stale=0, twice=0)


def two_at_once(folder: Path, home: Path, settings: Any, uri: str) -> list[str]:
    """Two commands started together. A folder that is unchanged leaves them nothing to do, so every file is touched."""
    for path in folder.iterdir():
        path.touch()
    values = environment(settings) | {"RAGSTONE__MILVUS__URI": uri, "RAGSTONE__MILVUS__TIMEOUT_S": "60"}
    both = [
        subprocess.Popen(ingest_command(folder, home), cwd=REPO, env=values, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]  # fmt: skip
    outcomes = []
    for process in both:
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err and process.returncode in (0, 1), err
        code = "done" if process.returncode == 0 else str(json.loads(out)["error"]["code"])
        assert code in ("done", "E_LOCKED"), err
        outcomes.append(code)
    return outcomes
