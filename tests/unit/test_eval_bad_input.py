"""Damaged and foreign input of every reader: counted or refused in a sentence, never a traceback, never NaN."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval.agent_bench import BENCHES, rate_recorded, read_recorded, summary
from eval.answers import read_answers
from eval.behaviour import TESTS, load_cases, rate
from eval.dataset import load_dataset
from eval.judge import read_grades
from eval.problems import ProblemLog
from eval.review import read_review
from eval.runs import read_qrels, read_run
from rag.errors import UsageError
from rag.types import Answer
from tests.unit.test_eval_agents import bench as agent_bench_files  # noqa: F401
from tests.unit.test_eval_behaviour import bench as behaviour_files  # noqa: F401

READERS: dict[str, Callable[[Path], Any]] = {
    "answers.jsonl": lambda path: read_answers(path, ProblemLog()),
    "calls.jsonl": lambda path: read_recorded(path, ProblemLog()),
    "grades.csv": lambda path: read_grades(path, ProblemLog()),
    "review.csv": read_review,
    "run.trec": read_run,
    "qrels.trec": read_qrels,
    "questions.csv": load_dataset,
    "squad.json": load_dataset,
}
LINES = [
    b'{"id": "q1", "answer": "x", "passages": [1, {"text": 2}, "t"], "abstained": 5}', b'{"id": {}, "answer": 3}', b"[1, 2]", b"null", b'"text"', b"{",
    b"q1 Q0 d1 1 NaN t", b"q1 Q0 d1 1 1e999 t", b"q1\t0\td1\t1", b"query-id\tcorpus-id\tscore", b"id,question,answer,source,kind,language,keep,chunk",
    b"id,grade", b"q1,5", b'"never closed', b"\xff\xfe\x00x", b"\x00\x00", "编号,问题,来源".encode("gb18030"), b"[" * 2000, b"",
]  # fmt: skip


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(LINES) | st.binary(max_size=30), max_size=6))
def test_whatever_stands_in_a_file(name: str, tmp_path: Path, lines: list[bytes]) -> None:
    path = tmp_path / name
    path.write_bytes(b"\n".join(lines))
    try:
        READERS[name](path)
    except UsageError as error:
        assert str(error).endswith((".", "…", "}.", "PATH")) and name in str(error)


JUNK = [None, 5, "x", [], {}, [None], [[]], {"a": 1}, [{"role": "user"}], -1.5, True]


def spoilt(tree: Any, rng: random.Random) -> Any:
    """A copy with one value, anywhere, replaced by something else or taken away."""
    tree = copy.deepcopy(tree)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, key))
            walk(node[key])

    walk(tree)
    node, key = rng.choice(places)
    if isinstance(node, dict) and rng.random() < 0.3:
        del node[key]
    else:
        node[key] = rng.choice(JUNK)
    return tree


def spoil_files(folder: Path, seed: int) -> None:
    rng = random.Random(seed)
    for path in sorted(folder.glob("*.jsonl")):
        records = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        path.write_text("\n".join(json.dumps(spoilt(one, rng) if rng.random() < 0.8 else one) for one in records))


@pytest.mark.parametrize("seed", range(16))
def test_spoilt_benchmarks(agent_bench_files: Path, behaviour_files: Path, seed: int) -> None:  # noqa: F811
    spoil_files(agent_bench_files, seed)
    recorded = {key: {"calls": [{"name": "ride", "arguments": {}}], "turns": [["f(x=1)"]]} for key in ("s1", "s2", "a1", "m1", "t1")}  # fmt: skip
    for name in BENCHES:
        if name == "bfcl-multi-turn":
            continue  # what its own package does with a spoilt configuration is not ours
        try:
            tree = summary(rate_recorded(agent_bench_files, name, recorded, log=ProblemLog()))
        except UsageError:
            continue
        assert 0.0 <= tree["success"] <= 1.0
    try:
        cases = load_cases(behaviour_files, TESTS, log=ProblemLog())
    except UsageError:
        return
    assert all(0.0 <= rate(case, Answer(text="Facebook 652")).value <= 1.0 for case in cases)
