"""Generated questions: what the rules let through, what they count, and the table that comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval.dataset import load_dataset
from eval.generate import KINDS, fault, generate, longest_copy
from eval.generate_commands import generate as command
from rag.errors import ChatError, UsageError
from rag.types import Answer, Chunk, DocumentInfo
from tests.fakes.chat import ScriptedChat

TEXT = (
    "The Eddystone lighthouse was designed by John Smeaton, an engineer from Leeds, and was first lit in October 1759. "
    "Its granite blocks were joined with dovetails, and the tower stood on the rock until the sea had washed the rock away."
)


@pytest.mark.parametrize(
    ("question", "answer", "kind", "reason"),
    [
        ("Which engineer built the Eddystone lighthouse?", "John Smeaton", "single-hop", ""),
        ("Who joined granite blocks with dovetails and the tower?", "John Smeaton", "single-hop", ""),
        ("Whose granite blocks were joined with dovetails?", "John Smeaton", "single-hop", "copied"),
        ("What does the text say about the designer?", "John Smeaton", "single-hop", "about-the-text"),
        ("What did John Smeaton build?", "John Smeaton", "single-hop", "answer-in-question"),
        ("Which engineer built it on the rock?", "Rudyerd", "single-hop", "answer-not-in-text"),
        ("Which engineer built it on the rock?", "", "single-hop", "answer-not-in-text"),
        ("谁设计了这座灯塔？", "John Smeaton", "single-hop", "language"),
        ("Who?", "John Smeaton", "single-hop", "length"),
        ("Which engineer built it on the rock?", " ".join(TEXT.split()[:20]), "single-hop", "answer-long"),
        ("How much did the lighthouse cost?", "unknown", "unanswerable", ""),
        ("Which engineer built it on the rock?", "John Smeaton", "unanswerable", "answered"),
    ],
)
def test_faults(question: str, answer: str, kind: Any, reason: str) -> None:
    assert fault(question, answer, [TEXT], kind) == reason


def test_chinese_questions() -> None:
    text = "埃迪斯通灯塔由工程师约翰·斯米顿设计，于1759年首次点亮，塔身的花岗岩石块以燕尾榫相互连接，建在海中的礁石上。"
    assert fault("哪位工程师主持设计了海上的那座灯塔？", "约翰·斯米顿", [text], "single-hop") == ""
    assert fault("塔身的花岗岩石块以燕尾榫相互连接吗？", "约翰·斯米顿", [text], "single-hop") == "copied"
    assert fault("资料中的灯塔是谁设计的？", "约翰·斯米顿", [text], "single-hop") == "about-the-text"


def test_names_do_not_count() -> None:
    text = "He went to the University of California at Berkeley to read law there."
    assert longest_copy("Who went to the University of California at Berkeley?", text) == 4  # went, to, of, at
    assert longest_copy("", text) == 0 and longest_copy("Who?", "") == 0


def words(start: str) -> str:
    return start + " " + " ".join(f"filler{n}" for n in range(40)) + "."


class Library:
    """Documents with one chunk each; answers nothing, unless told."""

    def __init__(self, texts: dict[str, str], abstains: bool = True) -> None:
        self.texts, self.abstains = texts, abstains
        self.chat: Any = None

    def documents(self) -> list[DocumentInfo]:
        return [
            DocumentInfo(doc_id=d, source=f"/docs/{d}.md", title="", type="text", state="live", version=1, n_chunks=1, n_chars=len(t),
                         n_pages=None, updated_at="", metadata={})
            for d, t in self.texts.items()
        ]  # fmt: skip

    def chunks(self, doc_id: str) -> list[Chunk]:
        text = self.texts[doc_id]
        return [Chunk(doc_id=doc_id, ordinal=0, start=0, end=len(text), text=text)]

    def ask(self, question: str, **options: Any) -> Answer:
        return Answer(text="x", abstained=self.abstains)


def library(**options: Any) -> Library:
    texts = {f"d{n}": words(f"The keeper of tower {n} was called Ada Hill{n % 3} and lived there") for n in range(9)}
    return Library({**texts, "short": "Too short."}, **options)


def writes(messages: Any) -> str:
    """A model that asks a proper question, and finds the answer again."""
    asked = messages[-1].content
    if "<text>" not in asked:
        both = asked.count("<passage>") == 2 or "duty" not in asked
        return json.dumps({"answer": "Ada" if both else "no answer"})
    about = "、".join(asked.split("tower ")[1:])[:1]
    kind = "cost" if "does not answer" in messages[0].content else "job" if asked.count("<text>") == 1 else "duty"
    return json.dumps(
        {
            "question": f"Whose {kind} was it to guard building {about or '?'}?",
            "answer": "unknown" if kind == "cost" else "Ada",
        }
    )


def test_kinds_take_turns_and_the_seed_decides() -> None:
    made = generate(library(), chat=ScriptedChat(writes), n=6, seed=1)
    assert [sum(one.kind == kind for one in made.questions) for kind in KINDS] == [2, 2, 2]
    assert all(len(one.sources) == (2 if one.kind == "multi-hop" else 1) for one in made.questions)
    assert len({one.question for one in made.questions}) == 6 and made.rejected == {}
    again = generate(library(), chat=ScriptedChat(writes), n=6, seed=1)
    assert again.questions == made.questions
    assert generate(library(), chat=ScriptedChat(writes), n=6, seed=2).questions != made.questions


def test_what_is_not_usable_is_counted() -> None:
    chat = ScriptedChat(lambda _: "no JSON")
    made = generate(library(), chat=chat, n=2, kinds=["single-hop"])
    assert made.questions == () and made.rejected == {"unreadable": 18} and made.n_calls == 18
    down = generate(
        library(), chat=ScriptedChat(lambda _: ChatError("E_LLM_DEADLINE", "late")), n=2, kinds=["multi-hop"]
    )
    assert set(down.rejected) == {"E_LLM_DEADLINE"}
    knows = generate(library(abstains=False), chat=ScriptedChat(writes), n=1, kinds=["unanswerable"])
    assert knows.questions == () and set(knows.rejected) == {"answered"}
    with pytest.raises(UsageError, match="Import documents first"):
        generate(Library({"a": "short"}), chat=chat, n=1)


def test_two_hops_need_both_texts() -> None:
    chat = ScriptedChat(lambda messages: writes(messages).replace("no answer", "Ada"))
    made = generate(library(), chat=chat, n=1, kinds=["multi-hop"])
    assert made.questions == () and set(made.rejected) == {"one-text-is-enough"}


def test_the_second_try_is_told_what_was_wrong() -> None:
    chat = ScriptedChat(lambda _: json.dumps({"question": "What does the text say here?", "answer": "Ada"}))
    generate(Library({"a": words("The keeper was called Ada")}), chat=chat, n=1, kinds=["single-hop"])
    assert "mentions the text" in chat.asked[1][-1].content and len(chat.asked) == 2


def test_the_table_can_be_evaluated(tmp_path: Path) -> None:
    shelf = library()
    shelf.chat = ScriptedChat(writes)
    data, code = command(shelf, out=tmp_path / "q.csv", n=6, kinds=",".join(KINDS))
    assert code == 0 and data["kinds"] == {"single-hop": 2, "multi-hop": 2, "unanswerable": 2}
    dataset = load_dataset(tmp_path / "q.csv")
    assert len(dataset.questions) == 4 and len(dataset.unanswerable) == 2 and dataset.problems == ()
    assert sorted(len(grades) for grades in dataset.qrels.values()) == [1, 1, 2, 2]
    assert all(one.startswith("/docs/d") for grades in dataset.qrels.values() for one in grades)
    with pytest.raises(UsageError, match="reviewed"):
        command(shelf, out=tmp_path / "q.csv", n=6, kinds="multi-hop")
    with pytest.raises(UsageError, match="there are single-hop"):
        command(shelf, out=tmp_path / "r.csv", n=6, kinds="hard")
    shelf.chat = None
    with pytest.raises(UsageError, match="there is none"):
        command(shelf, out=tmp_path / "r.csv", n=6, kinds="multi-hop")
