"""RGB and DomainRAG: how cases are made and rated, and runs that are repeated without the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval.behaviour import TESTS, Case, joined, load_cases, rate, says_all
from eval.behaviour_commands import behaviour
from eval.problems import ProblemLog
from eval.replay import RecordedChat
from rag.chat import complete
from rag.errors import ChatError, UsageError
from rag.settings import AnswerSettings
from rag.types import Answer, Message
from tests.fakes.chat import ScriptedChat

REFERENCE = {"title": "圆梦计划", "contents": "学校 2016 年 “ 圆梦 计划 ” 招生 80 人 左右 。"}
HTML = "<html><body><h1>录取分数</h1><table><tr><th>专业</th><th>分数</th></tr><tr><td>法学</td><td>652</td></tr></table></body></html>"


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    folder = tmp_path / "behaviour"
    folder.mkdir()
    noise = [f"Nothing about it, part {n}." for n in range(6)]
    rows: dict[str, list[Any]] = {
        "rgb-en-refine": [{"id": 1, "query": "Who bought WhatsApp?", "answer": [["Facebook", "Meta"]], "positive": ["Facebook bought WhatsApp in 2014."] * 4, "negative": noise}, {"id": 2}],
        "rgb-zh-int": [{"id": 0, "query": "宣誓和首次会议的时间", "answer": ["1月3日", "1月12日"], "positive": [["宣誓在1月3日。", "x"], ["会议在1月12日。"]], "negative": ["无关。"] * 5}],
        "rgb-en-fact": [{"id": 3, "query": "Who bought WhatsApp?", "answer": "Facebook", "fakeanswer": "Apple", "positive_wrong": ["Apple bought WhatsApp in 2014."] * 5, "negative": noise}],
        "domainrag-conversation": [{"id": "2", "history_qa": [{"question": "文学院前身是什么", "answers": ["文艺学院"]}], "question": "它招多少人", "answers": ["80人"], "positive_reference": REFERENCE}],
        "domainrag-faithful": [{"id": "1", "question": "圆梦计划招多少人？", "answers": [["80人"], ["80"]], "counterfact_answers": [["70人"], ["70"]], "counterfact_reference": {**REFERENCE, "contents": REFERENCE["contents"].replace("80", "70")}}],
        "domainrag-html-questions": [{"id": "0", "question": "法学专业的分数是多少？", "answers": ["652", "652分"], "page": "page0"}],
        "domainrag-html-pages": [{"id": "page0", "html": HTML}],
    }  # fmt: skip
    for name, records in rows.items():
        (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(one, ensure_ascii=False) for one in records))
    return folder


def test_cases_are_made_as_the_tests_say(bench: Path) -> None:
    log = ProblemLog()
    cases = {case.test: case for case in load_cases(bench, log=log)}
    assert set(cases) == set(TESTS)
    positive = [text for text in cases["noise-robustness"].passages if "Facebook" in text]
    assert (len(cases["noise-robustness"].passages), len(positive)) == (5, 3)
    assert not any("Facebook" in text for text in cases["negative-rejection"].passages)
    assert sum("1月" in text for text in cases["information-integration"].passages) == 2
    assert cases["counterfactual-robustness"].wrong == (("Apple",),)
    assert cases["conversation"].history == (("文学院前身是什么", "文艺学院"),)
    assert "招生80人左右" in cases["faithfulness"].passages[0].replace("70", "80")
    assert any("652" in text and "分数" in text for text in cases["structure"].passages)
    assert {one.kind: one.n for one in log.problems()} == {"bad_line": 2}, "the record without a question, in two tests"
    full = load_cases(bench, ["noise-robustness"], noise=0.0, n_passages=2, log=log)[0]
    assert len(full.passages) == 2 and all("Facebook" in text for text in full.passages)
    with pytest.raises(UsageError, match="There are: noise"):
        load_cases(bench, ["noise"], log=log)
    with pytest.raises(UsageError, match="holds none of"):
        load_cases(bench.parent, log=log)


@pytest.mark.parametrize(
    ("test", "text", "value"),
    [
        ("noise-robustness", "Meta bought it.", 1.0), ("noise-robustness", "Apple did.", 0.0), ("noise-robustness", "I don't know, maybe Meta.", 0.0),
        ("negative-rejection", "The passages do not mention it.", 1.0), ("negative-rejection", "Meta.", 0.0),
        ("counterfactual-robustness", "Apple, but that is factually wrong.", 1.0), ("counterfactual-robustness", "Meta", 1.0), ("counterfactual-robustness", "Apple.", 0.0),
        ("faithfulness", "It was Apple [1].", 1.0), ("faithfulness", "It was Meta.", 0.0),
        ("conversation", "Meta", 1.0), ("conversation", "Meta bought it", 0.5), ("conversation", "", 0.0),
    ],
)  # fmt: skip
def test_answers_are_rated(test: str, text: str, value: float) -> None:
    case = Case(
        test=test, case_id="1", question="Who?", passages=("x",), wanted=(("Facebook", "Meta"),), wrong=(("Apple",),)
    )
    assert rate(case, Answer(text=text)).value == value


def test_every_item_in_any_spelling() -> None:
    assert says_all("在 1月3日 和1月12日。", (("1月3日",), ("1月12日", "12日")))
    assert not says_all("在1月3日", (("1月3日",), ("1月12日",))) and not says_all("x", ())
    assert joined("中国 人民 大学 2016 年 the old town") == "中国人民大学2016年the old town"


def test_a_run_is_repeated_without_the_model(bench: Path, tmp_path: Path) -> None:
    chat = ScriptedChat(
        lambda messages: "资料中没有答案" if "。" in messages[-1].content else "Facebook bought WhatsApp [1]."
    )
    options: dict[str, Any] = {"settings": AnswerSettings(), "open_chat": lambda: chat}
    first, code = behaviour(bench, record=tmp_path / "r.jsonl", out_dir=tmp_path / "a", **options)
    assert code == 0 and first["tests"]["noise-robustness"]["value"] == 1.0 and first["model"] == "scripted"
    assert first["table_headers"] == {"n": 1, "answer_in_a_chunk": 1, "with_header": 1}
    n_asked = len(chat.asked)
    again, _ = behaviour(bench, record=tmp_path / "r.jsonl", out_dir=tmp_path / "b", **options)
    assert len(chat.asked) == n_asked, "what was recorded is not asked again"
    replayed, code = behaviour(bench, replay=tmp_path / "r.jsonl", out_dir=tmp_path / "c", settings=AnswerSettings(), open_chat=lambda: None)  # fmt: skip
    assert code == 0 and replayed["tests"] == again["tests"] == first["tests"]
    for name in ("behaviour.json", "behaviour.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()
    assert behaviour(bench, fail_under=["noise-robustness=1", "faithfulness=0.9"], replay=tmp_path / "r.jsonl", **options)[1] == 3  # fmt: skip


def test_a_model_that_fails_is_counted(bench: Path, tmp_path: Path) -> None:
    chat = ScriptedChat(lambda _: ChatError("E_LLM_DEADLINE", "late"))
    tree, code = behaviour(bench, tests=["noise-robustness"], settings=AnswerSettings(), open_chat=lambda: chat)
    assert code == 3 and tree["tests"]["noise-robustness"]["failures"] == {"E_LLM_DEADLINE": 1}
    without, _ = behaviour(bench, tests=["noise-robustness"], settings=AnswerSettings(), open_chat=lambda: None)
    assert without["model"] == "none" and without["tests"]["noise-robustness"]["value"] == 1.0


def test_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    asked = [Message(role="user", content="Hello")]
    assert complete(RecordedChat(path, ScriptedChat(["Hi"])), asked, max_tokens=9) == "Hi"
    with path.open("a") as file:
        file.write('{"key": "cut')
    replay = RecordedChat(path, None)
    assert complete(replay, asked, max_tokens=9) == "Hi" and replay.name == "scripted"
    with pytest.raises(ChatError, match="Record it again"):
        complete(replay, asked, max_tokens=10)
    with pytest.raises(UsageError, match="--replay"):
        RecordedChat(tmp_path / "none.jsonl", None)
    hot = RecordedChat(path, ScriptedChat(["warm", "warmer"]))
    assert [complete(hot, asked, max_tokens=9, temperature=1.0) for _ in range(2)] == ["warm", "warmer"]
