"""Summaries of communities and answers about the whole, with a chat model that thinks aloud first."""

from __future__ import annotations

from graph.prompts import point_reply, reply
from graph.summaries import answer, written
from tests.fakes.chat import ScriptedChat

COMMUNITY = {
    "title": "Lighthouses",
    "summary": [{"sentence": "The Eddystone lighthouse was lit in 1759.", "chunk_id": "c1"}],
}


def test_what_a_model_thinks_first_is_no_part_of_a_summary_or_an_answer() -> None:
    chat = ScriptedChat(["<think>Lit {when}?</think>\nIt was lit in 1759."])
    assert written(COMMUNITY, chat, 5.0) == "It was lit in 1759."
    chat = ScriptedChat(
        ['<think>{"point": "x"}</think>{"point": "Lit in 1759.", "score": 80}', "<think>So.</think> In 1759."]
    )
    found = answer("When was it lit?", [COMMUNITY], chat, 5.0)
    assert (found.text, found.points) == ("In 1759.", (("Lit in 1759.", 80, ("c1",)),))


def test_replies_are_read_behind_a_thought() -> None:
    assert point_reply('<think>{"a": 1}</think>{"point": "p", "score": 5}') == ("p", 5)
    found = reply('<think>{"entities": []}?</think>{"entities": [{"name": "Eddystone"}]}')
    assert found is not None and [one["name"] for one in found.entities] == ["Eddystone"]
