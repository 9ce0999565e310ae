"""Agents from the command line, with a scripted model behind the endpoint of the settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.openai_server import OpenAIServer, calls, says
from ui.cli import main


@pytest.fixture
def home(tmp_path: Path, tiny_settings: Any, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Options that open a home with one document."""
    (tmp_path / "suez.md").write_text("# Suez\n\nThe Suez Canal was opened in 1869.\n")
    values = {"embedding.model": tiny_settings.embedding.model, "embedding.backend": "openvino-fp32", "search.mode": "bm25",
              "models.dir": tiny_settings.models.dir, "chunk.size": "64", "chunk.overlap": "8"}  # fmt: skip
    options = [
        "--home",
        str(tmp_path / "home"),
        *(part for key, value in values.items() for part in ("--set", f"{key}={value}")),
    ]
    assert main(["ingest", str(tmp_path / "suez.md"), *options, "--set", "llm.model=none", "--json"]) == 0
    capsys.readouterr()
    return options


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_a_run_from_the_command_line(home: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    script = [
        calls(("search", {"query": "Suez Canal"})),
        calls(("calculator", {"expression": "2025 - 1869"})),
        says("It was opened in 1869 [1]. That was 156 years before 2025."),
    ]
    with OpenAIServer(script) as server:
        options = [*home, "--set", f"llm.base_url={server.url}", "--json"]
        assert main(["agent", "run", "How long ago was the Suez Canal opened in 2025?", *options]) == 0
    result = said(capsys)
    assert result["stopped"] == "answered" and "156" in result["answer"]
    assert [set(step) >= {"n", "thought", "tool", "args", "observation"} for step in result["steps"]] == [True, True]
    assert result["citations"][0]["supported"] and result["citations"][0]["source"].endswith("suez.md")
    assert main(["agent", "list", *home, "--json"]) == 0 and said(capsys)["runs"][0]["run_id"] == result["run_id"]
    assert main(["agent", "show", result["run_id"][:6], *home]) == 0 and "156" in capsys.readouterr().out
    path = tmp_path / "test_it.py"
    assert main(["agent", "test", result["run_id"], *home, "-o", str(path)]) == 0 and "def test_" in path.read_text()


def test_a_call_waits_for_approval(home: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    script = [
        calls(("search", {"query": "Suez Canal"})),
        calls(("write_file", {"name": "note.txt", "content": "1869"})),
        says("Written."),
    ]
    with OpenAIServer(script) as server:
        options = [*home, "--set", f"llm.base_url={server.url}", "--tools", "files", "--json"]
        assert main(["agent", "run", "Note the year.", *options]) == 3
        waiting = said(capsys)
        assert waiting["stopped"] == "approval" and waiting["approval"]["args"] == {
            "name": "note.txt",
            "content": "1869",
        }
        note = tmp_path / "home" / "agents" / "workspace" / "note.txt"
        assert not note.exists()
        assert main(["agent", "resume", waiting["run_id"], "--yes", *options]) == 0
    assert said(capsys)["stopped"] == "answered" and note.read_text() == "1869"


def test_what_is_wrong_is_said(home: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["agent", "run", "x", "--kind", "reakt", *home]) == 2 and "Did you mean react?" in capsys.readouterr().err
    )
    assert main(["agent", "show", "nothing", *home]) == 2 and "No run begins with" in capsys.readouterr().err
    assert (
        main(["agent", "run", "x", "--set", "llm.model=none", *home]) == 1
        and "needs a chat model" in capsys.readouterr().err
    )
