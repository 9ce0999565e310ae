"""Tuning: halving, the holdout's verdict, the space, and the settings that are written."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from eval.dataset import Dataset
from eval.tune_commands import toml_of
from eval.tune_commands import tune as command
from eval.tuning import SPACE, candidates, parse_space, system_of, tune
from rag.errors import StoreError, UsageError
from rag.settings import Settings
from rag.types import Hit, Hits

DATASET = Dataset(name="toy", questions={f"q{n}": f"question {n}" for n in range(100)}, qrels={f"q{n}": {f"d{n}": 1} for n in range(100)})  # fmt: skip
TRIED = [{}, *({"search.depth": str(depth)} for depth in range(1, 13))]


def search_of(hit_rate: Any, asked: list[Any] | None = None) -> Any:
    """Finds a question's document with a chance that the settings decide; the same every time."""

    def search(settings: Mapping[str, str], question: str, depth: int) -> list[tuple[str, float]]:
        if asked is not None:
            asked.append((settings.get("search.depth", "0"), question))
        number = question.split()[1]
        lucky = random.Random(f"{question} {sorted(settings.items())}").random() < hit_rate(settings)
        return [(f"d{number}", 1.0)] if lucky else [("other", 1.0)]

    return search


def test_a_real_gain_is_recommended_and_few_questions_are_spent() -> None:
    asked: list[Any] = []
    found = tune(DATASET, TRIED, search=search_of(lambda one: 0.95 if one.get("search.depth") == "7" else 0.5, asked), seed=3)  # fmt: skip
    assert found.best == found.recommended == {"search.depth": "7"}
    assert found.best_value > found.current_value and found.holdout is not None and found.holdout.ci[0] > 0
    assert [rung.n_questions for rung in found.rungs] == [20, 60] and found.rungs[0].n_kept == 5
    assert len(asked) == len(set(asked)) < len(TRIED) * 100 / 2, "each question once, and of most candidates few"


def test_the_holdout_is_kept_apart() -> None:
    asked: list[Any] = []
    found = tune(DATASET, TRIED, search=search_of(lambda one: 0.9 if one.get("search.depth") == "7" else 0.5, asked))
    late = {question for depth, question in asked if depth not in ("0", "7")}
    everything = {question for _, question in asked}
    assert found.n_tuned == 60 and found.n_holdout == 40 and len(late) <= 60 and len(everything) == 100


def test_luck_is_not_recommended() -> None:
    found = tune(DATASET, TRIED, search=search_of(lambda _: 0.5), seed=1)
    assert found.recommended == {} and found.to_dict()["holdout"]["n_queries"] == 40


def test_the_settings_as_they_are_can_win() -> None:
    found = tune(DATASET, TRIED, search=search_of(lambda one: 0.4 if one else 0.9))
    assert (found.best, found.recommended, found.holdout) == ({}, {}, None)


def test_seeded() -> None:
    runs = [tune(DATASET, TRIED, search=search_of(lambda _: 0.5), seed=5).to_dict() for _ in range(2)]
    assert runs[0] == runs[1]


def test_failures_count() -> None:
    def search(settings: Mapping[str, str], question: str, depth: int) -> list[tuple[str, float]]:
        if settings:
            raise StoreError("Milvus does not answer.")
        return [("d" + question.split()[1], 1.0)]

    found = tune(DATASET, TRIED[:2], search=search)
    assert found.best == {} and found.n_failures == 60


def test_the_space() -> None:
    assert parse_space(["depth=50|100", "chunk.size=128"]) == {"search.depth": ("50", "100"), "chunk.size": ("128",)}
    few = candidates({"search.depth": ("50", "100"), "search.fusion": ("rrf", "zscore")}, 10)
    assert few[0] == {} and len(few) == 5
    many = candidates(SPACE, 30, seed=2)
    assert many[0] == {} and len(many) == 30 and {"chunk.size": "128"} in many and many == candidates(SPACE, 30, seed=2)
    for one in many:
        system_of(one, "hybrid")
    for text in ("depth", "depth=", "dept=5", "depth=many"):
        with pytest.raises(UsageError):
            parse_space([text])


def test_a_candidate_is_searched_as_its_settings_say() -> None:
    one = system_of({"search.mode": "dense", "search.mmr": "0.5", "search.depth": "7"}, "hybrid")
    assert one.options == {"mode": "dense", "mmr": 0.5} and one.settings == {"search.depth": "7"}


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    text = toml_of({"search.depth": "50", "search.fusion": "rrf", "chunk.size": "128", "search.mmr": "0.9"})
    assert tomllib.loads(text) == {"search": {"depth": 50, "fusion": "rrf", "mmr": 0.9}, "chunk": {"size": 128}}
    (tmp_path / "r.toml").write_text(text)
    assert Settings.load(tmp_path / "r.toml").search.fusion == "rrf"


class Base:
    def __init__(self, changes: Mapping[str, str]) -> None:
        self.good = changes.get("search.fusion") == "rrf"

    def search(self, query: str, *, top_k: int, **options: Any) -> Hits:
        number = int(query.split()[1])
        doc = f"d{number}" if self.good or number % 3 == 0 else "other"
        return Hits((Hit(rank=1, chunk_id=f"{doc}#0-1", doc_id=doc, source=doc, title="", score=1.0, text="", start=0, end=1),))  # fmt: skip


def opener(collection: str | None, changes: Mapping[str, str]) -> Any:
    @contextmanager
    def opened() -> Iterator[Base]:
        yield Base(changes)

    return opened()


def test_the_command(tmp_path: Path) -> None:
    table = "question,source\n" + "".join(f"question {n},d{n}\n" for n in range(60))
    (tmp_path / "mine.csv").write_text(table)
    for name in ("one", "two"):
        tree, code = command(tmp_path / "mine.csv", out_dir=tmp_path / name, open_kb=opener)
    assert code == 0 and tree["recommended"]["search.fusion"] == "rrf"
    assert not any(key.startswith("chunk.") for key in tree["space"]), "what is imported stays as it is"
    assert tomllib.loads((tmp_path / "one" / "recommended.toml").read_text())["search"]["fusion"] == "rrf"
    for file in ("recommended.toml", "tune.json", "tune.html", "tune.md"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize(
    ("options", "says"),
    [({"budget": 1}, "2 or more"), ({"holdout": 1.0}, "share from"), ({"metric": "x"}, "Unknown metric"), ({"space": ["chunk.size=64"]}, "imported already"), ({"limit": 5}, "20 or more")],
)  # fmt: skip
def test_requests_that_cannot_be(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    (tmp_path / "mine.csv").write_text("question,source\n" + "".join(f"question {n},d{n}\n" for n in range(60)))
    with pytest.raises(UsageError, match=says):
        command(tmp_path / "mine.csv", open_kb=opener, **options)
