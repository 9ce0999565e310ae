"""Names of systems: what they mean, and what is said of those that cannot be."""

from __future__ import annotations

import pytest

from eval.commands import file_name
from eval.systems import BUILT_IN, parse_system, parse_systems, split_names
from rag.errors import UsageError
from rag.settings import Settings


def test_the_built_in_names_switch_on_what_they_say() -> None:
    systems = parse_systems(BUILT_IN)
    assert {name: one.options["mode"] for name, one in systems.items()}["hybrid+hyde"] == "hybrid"
    assert systems["hybrid+hyde"].options["hyde"] == 1 and systems["hybrid"].options["hyde"] == 0
    assert systems["hybrid+rerank"].options["rerank"] is True and systems["hybrid"].options["rerank"] is False
    assert all(not one.settings and not one.index_key for one in systems.values())


def test_switches_with_values_and_settings() -> None:
    one = parse_system(" hybrid (depth=50, fusion=rrf, chunk.size=256) + mmr@0.5 + multi-query@2 ")
    assert one.name == "hybrid(depth=50,fusion=rrf,chunk.size=256)+mmr@0.5+multi-query@2"
    assert (one.options["mmr"], one.options["multi_query"], one.most_hits) == (0.5, 2, 50)
    assert one.settings == {"search.depth": "50", "search.fusion": "rrf", "chunk.size": "256"}


def test_modes_are_joined() -> None:
    one = parse_system("hybrid+keywords+mmr@0.5")
    assert (one.options["mode"], one.options["mmr"]) == ("hybrid+keywords", 0.5)
    assert parse_system("bm25+dense").options["mode"] == "bm25+dense"


def test_tables_are_json_in_which_everything_stays() -> None:
    text = """hybrid ( weights={"dense": 2, "bm25": 1}, boosts={"city == 'New York' and year in (1, 2)": 0.5}, depth = 9 ) + mmr@0.5"""
    assert split_names(f"bm25, {text},dense") == ["bm25", text, "dense"]
    one = parse_system(text)
    assert one.settings == {
        "search.weights": '{"dense":2,"bm25":1}', "search.boosts": '{"city == \'New York\' and year in (1, 2)":0.5}', "search.depth": "9",
    }  # fmt: skip
    changed = Settings().with_values(**{key.replace(".", "__"): value for key, value in one.settings.items()})
    assert changed.search.weights == {"dense": 2, "bm25": 1} and one.options["mmr"] == 0.5
    above, below = (f'bm25(boosts={{"year {sign} 5":1}})' for sign in "<>")
    assert file_name(above) != file_name(below) and file_name("hybrid(depth=5)+mmr@0.5") == "hybrid_depth_5_+mmr_0.5"


def test_only_settings_of_the_import_need_another_index() -> None:
    keys = [parse_system(name).index_key for name in ("hybrid(depth=9)", "dense(chunk.size=64)", "bm25(chunk.size=64,depth=5)", "dense(chunk.size=65)")]  # fmt: skip
    assert keys[0] == "" and keys[1] == keys[2] != keys[3]


def test_commas_in_brackets_do_not_part_names() -> None:
    assert split_names("bm25, hybrid(depth=5,rrf_k=9)+mmr,,dense") == ["bm25", "hybrid(depth=5,rrf_k=9)+mmr", "dense"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("graphs", "It runs: bm25"),
        ("hybrid+rerunk", "Did you mean rerank"),
        ("hybrid+mmr@2", "from 0 to 1"),
        ("hybrid+hyde@many", "whole number"),
        ("hybrid+rewrite@3", "takes no value"),
        ("hybrid(depth)", "KEY=VALUE"),
        ("hybrid(dept=5)", "Did you mean search.depth"),
        ("hybrid(depth=many)", "search.depth"),
        ("hybrid(depth=0)", "search.depth"),
        ("hybrid(depth=5", "settings in brackets"),
        ("hybrid+mmr@nan", "from 0 to 1"),
        ("hybrid+hyde@99", "from 0 to 8"),
        ("hybrid(mmr=0.5)", r"Write \+mmr"),
        ("hybrid(understand.multi_query=3)", r"Write \+multi-query"),
        ("hybrid(mode=dense)", "before the brackets"),
        ("hybrid(top_k=3)", "--depth"),
    ],
)
def test_names_that_cannot_be(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_system(name)


def test_the_same_system_twice() -> None:
    with pytest.raises(UsageError, match="more than once"):
        parse_systems(["hybrid+mmr", "hybrid +mmr"])
