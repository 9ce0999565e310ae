"""The commands of `ragstone eval` as somebody types them: exit codes, one JSON document, words for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_eval_agents import bench  # noqa: F401
from ui.cli import main

QRELS = "".join(f"q{n} 0 d{n} 1\n" for n in range(30))
GOOD = "".join(f"q{n} Q0 d{n} 1 2.0 good\n" for n in range(30))
BAD = "".join(f"q{n} Q0 x 1 2.0 bad\nq{n} Q0 d{n} 2 1.0 bad\n" for n in range(30))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name, text in (("qrels.trec", QRELS), ("good.trec", GOOD), ("bad.trec", BAD)):
        (tmp_path / name).write_text(text)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_score_and_compare(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    qrels, good, bad = (str(results / name) for name in ("qrels.trec", "good.trec", "bad.trec"))
    assert run(capsys, "eval", "score", "--qrels", qrels, "--run", bad, "--metrics", "mrr,P@7")["metrics"] == {"MRR": 0.5, "P@7": pytest.approx(1 / 7)}  # fmt: skip
    tree = run(capsys, "eval", "compare", good, bad, "--metrics", "MRR", "--seed", "3")
    assert tree["comparisons"][0]["wins"] == 30 and tree["seed"] == 3
    assert main(["eval", "compare", good, bad]) == 0
    assert "good − bad, nDCG@10" in capsys.readouterr().out.replace("\n", " ")
    assert run(capsys, "eval", "score", "--qrels", qrels, "--run", "none", code=2)["error"]["code"] == "E_USAGE"


def test_answers_that_were_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "q.csv").write_text("id,question,answer,source\nq1,When?,1759,a.md\n")
    (tmp_path / "a.jsonl").write_text('{"id": "q1", "answer": "In 1759 [1].", "passages": ["Lit in 1759."]}')
    options = ("eval", "answers", "--data", str(tmp_path / "q.csv"), "--answers", f"theirs={tmp_path / 'a.jsonl'}")
    assert run(capsys, *options)["systems"]["theirs"]["holds-answer"] == 1.0
    assert run(capsys, *options, "--fail-under", "exact-match=1", code=3)["gates"][0]["passed"] is False
    assert main([*options, "-o", str(tmp_path / "out")]) == 0
    assert "citation-precision" in capsys.readouterr().out and (tmp_path / "out" / "answers.html").exists()


def test_agents_and_history(bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    (tmp_path / "c.jsonl").write_text('{"id": "s1", "calls": []}\n{"id": "s2", "calls": []}')
    options = ("eval", "agents", "--data", str(bench), "--bench", "bfcl", "--calls", str(tmp_path / "c.jsonl"))
    assert run(capsys, *options)["success"] == 0.5
    assert main(list(options)) == 0 and "irrelevance" in capsys.readouterr().out
    history = {"at": "2026-01-01", "systems": {"bm25": {"nDCG@10": 0.5}}, "dataset": "toy"}
    (tmp_path / "history.jsonl").write_text("".join(json.dumps({**history, "systems": {"bm25": {"nDCG@10": value}}}) + "\n" for value in (0.5, 0.4)))  # fmt: skip
    assert run(capsys, "eval", "history", str(tmp_path), "--fail-drop", "0.05", code=3)["fallen"] is True
    assert main(["eval", "history", str(tmp_path)]) == 0 and "-0.1000" in capsys.readouterr().out


def test_what_is_missing_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ("--home", str(tmp_path / "home"), "--set", "llm.model=none")
    for arguments in (
        ("eval", "generate", "-o", str(tmp_path / "q.csv")),
        ("eval", "agents", "--data", str(tmp_path), "--bench", "bfcl"),
        ("eval", "behaviour", "--data", str(tmp_path)),
        ("eval", "review", str(tmp_path / "none.csv")),
        ("eval", "tune", "--data", str(tmp_path)),
    ):
        error = run(capsys, *arguments, *home, code=2)["error"]
        assert error["code"] == "E_USAGE" and "Traceback" not in error["message"]
