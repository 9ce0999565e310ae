"""The guides' Python blocks run, in order, as they stand on the page."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "name",
    [
        "docs/quickstart.md",
        "docs/importing.md",
        "docs/retrieval.md",
        "docs/graph.md",
        "docs/evaluation.md",
        "docs/agents.md",
        "docs/page-documents.md",
        "README.md",
        "README.zh-CN.md",
    ],
)
def test_the_blocks_of_a_guide_run(
    name: str, repo: Path, embedder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(repo / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAGSTONE__LLM__MODEL", "none")
    monkeypatch.setattr("rag.embedding.open_embedder", lambda *_arguments, **_options: embedder)
    blocks = BLOCK.findall((repo / name).read_text(encoding="utf-8"))
    assert blocks, f"{name} has no Python block"
    scope: dict[str, Any] = {"__name__": "guide"}
    for at, block in enumerate(blocks, start=1):
        exec(compile(block, f"{name}, block {at}", "exec"), scope)


def test_the_blocks_of_the_http_guide_run(repo: Path, embedder: Any, tmp_path: Path) -> None:
    from rag.knowledge_base import KnowledgeBase
    from rag.settings import Settings
    from tests.api_server import running

    with KnowledgeBase.open(tmp_path / "home", settings=Settings().with_values(llm__model="none")) as kb:
        kb._embedder = embedder
        kb.ingest(repo / "examples" / "tea")
        with running(kb) as api:
            scope = {"__name__": "guide", "API": api.url, "KEY": api.key("reader", scopes=["read", "ingest"])}
            for at, block in enumerate(BLOCK.findall((repo / "docs/http.md").read_text(encoding="utf-8")), start=1):
                exec(compile(block, f"docs/http.md, block {at}", "exec"), scope)
        assert scope["reply"].citations and scope["found"]["hits"]


def test_links_between_pages_lead_somewhere(repo: Path) -> None:
    pages = [*repo.glob("*.md"), *(repo / "docs").glob("*.md"), *(repo / "examples").glob("*.md")]
    broken = [
        (page.name, target)
        for page in pages
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []
