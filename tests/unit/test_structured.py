"""Answers in a caller's shape: what is read, mended, asked again, refused, and cited."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.errors import ChatError, ModelError, UsageError
from rag.settings import AnswerSettings
from rag.structured import Shape, structured_answer
from rag.trace import Trace
from rag.types import Answer, Hit
from tests.fakes.chat import ScriptedChat

TOWER = "The Eiffel Tower stands in Paris. It was built by Gustave Eiffel in 1889. It is 330 metres tall."
HARBIN = "哈尔滨是黑龙江省的省会。哈尔滨的冰雪节始于1985年。"
SCHEMA = {
    "type": "object",
    "properties": {"builder": {"type": "string"}, "year": {"type": "integer"}, "kind": {"enum": ["tower", "bridge"]}},
    "required": ["builder", "year"],
    "additionalProperties": False,
}
QUESTION = "Who built the Eiffel Tower, and when?"


def hits(*texts: str) -> list[Hit]:
    return [
        Hit(rank=rank, chunk_id=f"d{rank}#50-{50 + len(text)}", doc_id=f"d{rank}", source=f"d{rank}.txt", title="", score=1.0 / rank,
            text=text, start=50, end=50 + len(text))
        for rank, text in enumerate(texts, start=1)
    ]  # fmt: skip


def asked(*script: str | ChatError, schema: Any = SCHEMA, question: str = QUESTION, text: str = TOWER) -> Answer:
    chat = ScriptedChat(script)
    answer = structured_answer(
        question, hits(text), shape=Shape(schema), chat=chat, settings=AnswerSettings(), trace=Trace()
    )
    assert len(chat.asked) == len(script)  # no call more, none less
    return answer


def test_a_valid_value_with_the_passage_of_each_part() -> None:
    answer = asked('{"builder": "Gustave Eiffel", "year": 1889, "kind": "tower"}')
    assert answer.data == {"builder": "Gustave Eiffel", "year": 1889, "kind": "tower"}
    assert answer.text == "builder: Gustave Eiffel [1]\nyear: 1889 [1]\nkind: tower"
    (citation,) = answer.citations
    assert citation.supported and citation.doc_id == "d1" and not answer.unsupported and not answer.abstained
    assert TOWER[citation.start - 50 : citation.end - 50] == citation.quote and "1889" in citation.quote


@pytest.mark.parametrize(
    "reply",
    [
        'Here it is:\n```json\n{"builder": "Gustave Eiffel", "year": 1889}\n```',
        'Sure! {"builder": "Gustave Eiffel", "year": 1889} Hope that helps.',
        '<think>{"builder": "Paxton", "year": 1851}? No.</think>{"builder": "Gustave Eiffel", "year": 1889}',
        '{"builder": "Gustave Eiffel", "year": "1889"}',
        '{"builder": "Gustave Eiffel", "year": 1889, "kind": null, "height": 330}',
        '{"builder": "Gustave Eiffel", "year": "1,889"}',
        '[{"builder": "Gustave Eiffel", "year": 1889}]',
        '[{"builder": ["Gustave Eiffel"], "year": "1889", "height": 330}]',
        'As passage [1] says: {"builder": "Gustave Eiffel", "year": 1889}',
        '{"builder": "Gustave Eiffel", "year": 1889,}',
        "{'builder': 'Gustave Eiffel', 'year': 1889, 'kind': None}",
        "{'builder': 'Gustave Eiffel', 'year': 1889, 'kind': null,}",
    ],
)
def test_small_slips_cost_no_call(reply: str) -> None:
    assert asked(reply).data == {"builder": "Gustave Eiffel", "year": 1889}


@pytest.mark.parametrize(
    ("format_", "said", "problem"),
    [
        ("date", "1889-03-31", ""),
        ("date", "1889 or so", "is not a 'date'"),
        ("date", "1889", "is not a 'date'"),  # the day would be made up
        ("date-time", "1889-03-31T10:00:00Z", ""),
        ("date-time", "1889-03-31", "is not a 'date-time'"),
        ("time", "10:30", ""),
        ("time", "half past ten", "is not a 'time'"),
        ("email", "nobody", "is not a 'email'"),
        ("uuid", "1", "is not a 'uuid'"),
        ("colour", "1", ""),  # a format that nobody knows holds to nothing
    ],
)
def test_formats_are_held_to(format_: str, said: str, problem: str) -> None:
    problems = Shape({"type": "string", "format": format_}).problems(said)
    assert problem in " ".join(problems) and bool(problems) == bool(problem)


@pytest.mark.parametrize("said", ["31 March 1889", "1889年3月31日", "1889/3/31"])
def test_a_date_in_another_way_of_writing_costs_no_call(said: str) -> None:
    schema = {"type": "object", "properties": {"opened": {"type": "string", "format": "date"}}}
    answer = asked(f'{{"opened": "{said}"}}', schema=schema, text=f"{TOWER} The tower was opened on 31 March 1889.")
    assert answer.data == {"opened": "1889-03-31"} and not answer.unsupported


def test_the_word_null_is_null_where_that_is_allowed() -> None:
    either = {"type": "object", "properties": {"builder": {"type": "string"}, "colour": {"type": ["string", "null"]}}}
    answer = asked('{"builder": "Gustave Eiffel", "colour": "null"}', schema=either)
    assert answer.data == {"builder": "Gustave Eiffel", "colour": None} and not answer.unsupported


def test_the_model_is_asked_once_more_with_what_is_wrong() -> None:
    chat = ScriptedChat(['{"builder": "Gustave Eiffel"}', '{"builder": "Gustave Eiffel", "year": 1889}'])
    answer = structured_answer(
        QUESTION, hits(TOWER), shape=Shape(SCHEMA), chat=chat, settings=AnswerSettings(), trace=Trace()
    )
    assert answer.data == {"builder": "Gustave Eiffel", "year": 1889}
    assert [one.role for one in chat.asked[1]] == ["system", "user", "assistant", "user"]
    assert "'year' is a required property" in chat.asked[1][-1].content


@pytest.mark.parametrize("reply", ["I cannot do that.", '{"builder": "Gustave', '{"year": NaN, "builder": "x"}', "[1]"])
def test_twice_invalid_is_an_error_that_says_so(reply: str) -> None:
    with pytest.raises(ChatError, match="twice what is not valid") as raised:
        asked(reply, reply)
    assert raised.value.code == "E_LLM_SCHEMA" and raised.value.partial == reply


def test_a_model_that_fails_is_an_error() -> None:
    with pytest.raises(ChatError, match="gone"):
        asked(ChatError("E_LLM_UNREACHABLE", "The endpoint is gone."))


def test_what_no_passage_holds_is_unsupported_and_alone_no_answer() -> None:
    answer = asked('{"builder": "Gustave Eiffel", "year": 1931}')
    assert answer.unsupported == ("year: 1931",) and answer.warnings and answer.data["year"] == 1931
    answer = asked('{"builder": "Stephen Sauvestre", "year": 1931}')
    assert answer.abstained and answer.data is None and not answer.citations and len(answer.unsupported) == 2
    assert asked('{"city": null}', schema={"properties": {"city": {"type": ["string", "null"]}}}).abstained


def test_lists_references_and_chinese() -> None:
    schema = {
        "type": "object",
        "properties": {"festivals": {"type": "array", "items": {"$ref": "#/$defs/festival"}}},
        "required": ["festivals"],
        "$defs": {"festival": {"type": "object", "properties": {"名称": {"type": "string"}, "年份": {"type": "integer"},
                                                                "big": {"enum": ["yes", "no"]}}}},
    }  # fmt: skip
    reply = '{"festivals": [{"名称": "冰雪节", "年份": 1985, "big": "yes"}]}'
    answer = asked(reply, schema=schema, question="哈尔滨的冰雪节始于哪年？", text=HARBIN)
    assert answer.text == "festivals[0].名称: 冰雪节[1]\nfestivals[0].年份: 1985 [1]\nfestivals[0].big: yes"
    assert [one.supported for one in answer.citations] == [True] and "1985" in answer.citations[0].quote


def test_without_hits_and_without_a_model() -> None:
    options = {"shape": Shape(SCHEMA), "settings": AnswerSettings(), "trace": Trace()}
    assert structured_answer(QUESTION, [], chat=None, **options).abstained
    with pytest.raises(ModelError, match="needs a chat model"):
        structured_answer(QUESTION, hits(TOWER), chat=None, **options)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ([], "not list"), ({"type": "thing"}, "no JSON schema"), ({"description": "x" * 30_000}, "characters"),
        ({"pattern": "("}, "no JSON schema"), ({"type": {1, 2}}, "no JSON schema"),
    ],
)  # fmt: skip
def test_what_is_no_schema(schema: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Shape(schema)


@pytest.mark.parametrize("reference", ["https://example.com/schema.json", "#/$defs/nowhere", "file:///etc/passwd"])
def test_references_lead_nowhere_else(reference: str) -> None:
    with pytest.raises(UsageError, match="refers to what is not in it"):
        asked('{"a": 1}', schema={"properties": {"a": {"$ref": reference}}})


@settings(deadline=None)
@given(st.text())
def test_any_reply_can_be_read(reply: str) -> None:
    value, wrong = Shape({"type": "object"}).read(reply)
    assert wrong or isinstance(value, dict)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda one: st.lists(one) | st.dictionaries(st.text(), one)
)


@settings(deadline=None)
@given(_JSON)
def test_mending_never_breaks_what_is_valid(value: Any) -> None:
    shape = Shape(SCHEMA)
    mended = shape.mended(value)
    assert shape.problems(value) or mended == value
