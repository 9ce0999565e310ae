"""Threads: what is kept of conversations, who sees it, branches, ratings as test questions, and files of one thread."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from eval.dataset import load_dataset
from rag import attached
from rag.citations import evidence
from rag.threads import Threads
from rag.types import Answer, Citation, Conflict, Side, Step, Usage
from ui.web import chat_questions, conflicts
from ui.web.source import apart, surroundings
from ui.web.threads import as_json, as_questions

CITED = Citation(marker=1, chunk_id="a#0-9", doc_id="a", source="a.md", title="A", quote="the quote", start=0, end=9, page=2, supported=True)  # fmt: skip
ANSWER = Answer(text="So it is [1].", citations=(CITED,), usage=Usage(model="m", n_answer_tokens=3), trace=(Step(name="fuse", ms=1.5),),
                warnings=("w",), unsupported=("u",), question="Is it?")  # fmt: skip


@pytest.fixture
def threads(tmp_path: Path) -> Threads:
    return Threads(sa.create_engine(f"sqlite:///{tmp_path / 'threads.sqlite3'}"))


def asked(threads: Threads, owner: str, *questions: str):  # type: ignore[no-untyped-def]
    thread = threads.create(owner, questions[0])
    for question in questions:
        turn = threads.ask(thread.thread_id, question, collection="default", mode="hybrid")
        threads.save(turn.turn_id, "done", ANSWER, seconds=2.0, follow_ups=["next?"])
    return thread


def test_what_is_kept_comes_back(threads: Threads) -> None:
    thread = asked(threads, "ann", "Is it?")
    (turn,) = threads.turns(thread.thread_id)
    assert turn.answer == ANSWER and turn.follow_ups == ("next?",) and turn.state == "done" and turn.seconds == 2.0


def test_threads_are_their_owners(threads: Threads) -> None:
    thread = asked(threads, "ann", "Is it?")
    assert threads.get(thread.thread_id, "bob") is None and threads.find("bob") == []
    assert threads.get(thread.thread_id, "ann") == threads.find("ann")[0]


def test_search_takes_signs_as_they_are(threads: Threads) -> None:
    asked(threads, "", "100% sure?")
    asked(threads, "", "100 sure?")
    assert [one.title for one in threads.find("", "100%")] == ["100% sure?"]
    assert len(threads.find("", "So it IS")) == 2, "answers are searched, too"


def test_an_answer_that_was_stopped_stays_so(threads: Threads) -> None:
    thread = threads.create("", "q")
    turn = threads.ask(thread.thread_id, "q", collection="default", mode="hybrid")
    assert threads.save(turn.turn_id, "stopped")
    assert not threads.save(turn.turn_id, "done", ANSWER)
    assert threads.turns(thread.thread_id)[0].state == "stopped"


def test_a_branch_is_a_copy_up_to_a_turn(threads: Threads) -> None:
    thread = asked(threads, "", "one", "two", "three")
    threads.attach(thread.thread_id, "f.md", "text")
    made = threads.branch(thread, threads.turns(thread.thread_id)[1].turn_id)
    assert [turn.question for turn in threads.turns(made.thread_id)] == ["one"]
    assert [file.text for file in threads.files(made.thread_id)] == ["text"]
    threads.delete(made.thread_id)
    assert [turn.question for turn in threads.turns(thread.thread_id)] == ["one", "two", "three"]
    assert threads.files(made.thread_id) == [] and len(threads.files(thread.thread_id)) == 1


def test_ratings_are_test_questions(threads: Threads, tmp_path: Path) -> None:
    thread = asked(threads, "ann", "good?", "bad?", "none?", "=1+1?")
    good, bad, none, _ = threads.turns(thread.thread_id)
    threads.rate(good.turn_id, 1, "yes")
    threads.rate(bad.turn_id, 0)
    threads.ask_again(none.turn_id, collection="default", mode="hybrid")
    threads.save(none.turn_id, "done", Answer(text="It does not say.", abstained=True))
    threads.rate(none.turn_id, 1)
    assert threads.rated("bob") == []
    (tmp_path / "f.csv").write_text(as_questions(threads.rated("ann")), encoding="utf-8")
    read = load_dataset(tmp_path / "f.csv")
    assert list(read.questions.values()) == ["good?"] and list(read.unanswerable.values()) == ["none?"]
    assert next(iter(read.answers.values())) == ("So it is.",) and next(iter(read.qrels.values())) == {"a.md": 1}


def test_no_cell_is_a_formula(threads: Threads) -> None:
    thread = asked(threads, "", "=1+1?")
    threads.rate(threads.turns(thread.thread_id)[0].turn_id, 1)
    (row,) = csv.DictReader(io.StringIO(as_questions(threads.rated(""))))
    assert row["question"] == "'=1+1?"
    assert '"=1+1?"' in as_json(thread, threads.turns(thread.thread_id))


def test_attached_files_are_searched_in_both_languages() -> None:
    files = {"a.md": "# Tea\n\nGreen tea is steeped at 80 degrees.", "b.md": "祁门红茶创制于一八七五年。"}
    for question, name in (("How many degrees?", "a.md"), ("祁门红茶是哪年创制的？", "b.md")):
        hit = attached.search(question, files)[0]
        assert hit.source == name and files[name][hit.start : hit.end] == hit.text
    assert {hit.source for hit in attached.search("Sum up!", files)} == {"a.md", "b.md"}, "no word shared: beginnings"
    assert attached.search("Anything?", {}) == []


def test_surroundings_keep_the_place() -> None:
    text = "x" * 1000 + "\n" + "a quote" + "\n" + "y" * 1000
    shown, spans = surroundings(text, [(1001, 1008)])
    assert [shown[start:end] for start, end in spans] == ["a quote"] and len(shown) < len(text)
    assert surroundings("a quote", [(2, 7)]) == ("a quote", [(2, 7)])
    assert apart([(5, 9), (0, 3), (2, 4)]) == [(0, 4), (5, 9)]


def test_questions_from_headings(tiny_kb, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "tea.md").write_text(
        "# Tea\n\n## 1. Green tea\n\nIt is green.\n\n## 2. Oolong\n\nIn between.\n\n## ***\n\nx"
    )
    (tmp_path / "hong.md").write_text("# 红茶\n\n## 一、产地\n\n祁门。", encoding="utf-8")
    tiny_kb.ingest([tmp_path / "tea.md", tmp_path / "hong.md"])
    (tea,) = (one.doc_id for one in tiny_kb.documents() if one.title == "Tea")
    at = tiny_kb.text(tea).index("It is green.")
    assert chat_questions.examples(tiny_kb, "zh")[0] == "“产地”讲了什么？"
    assert "“Green tea”" in chat_questions.examples(tiny_kb, "en")[0]
    here = Answer(text="It is green [1].", citations=(Citation(marker=1, chunk_id="a#0-9", doc_id=tea, source="tea.md", title="Tea", quote="It is green.",
                  start=at, end=at + 12, page=None, supported=True),))  # fmt: skip
    assert ["Oolong" in one for one in chat_questions.follow_ups(tiny_kb, "What is green?", here)][0]
    assert chat_questions.follow_ups(tiny_kb, "?", Answer(text="No.", abstained=True)) == []


def test_a_threads_model_is_kept_copied_and_forgotten(threads: Threads) -> None:
    thread = asked(threads, "ann", "Is it?")
    assert threads.model(thread.thread_id) == ""
    threads.choose_model(thread.thread_id, "large")
    threads.choose_model(thread.thread_id, "larger")
    (turn,) = threads.turns(thread.thread_id)
    assert threads.model(threads.branch(thread, turn.turn_id).thread_id) == "larger"
    threads.delete(thread.thread_id)
    assert threads.model(thread.thread_id) == ""


def test_follow_ups_come_after_the_answer(threads: Threads) -> None:
    thread = asked(threads, "ann", "Is it?")
    (turn,) = threads.turns(thread.thread_id)
    threads.suggest(turn.turn_id, ["Who is it?"])
    (again,) = threads.turns(thread.thread_id)
    assert again.follow_ups == ("Who is it?",) and again.answer == turn.answer
    threads.ask_again(turn.turn_id, collection="default", mode="hybrid")
    threads.suggest(turn.turn_id, ["Too late?"])
    assert threads.turns(thread.thread_id)[0].follow_ups == ()


@pytest.mark.parametrize(
    ("asked_next", "fits"),
    [
        ("Who owns the bridge?", True),
        ("谁拥有桥？", False),
        ("How long is the bridge?", False),
        ("Bridges are long.", False),
        ("Who owns the moon, the sun and all stars?", False),
        ("Who owns the bridge " + "and the town " * 12 + "?", False),
    ],
)
def test_which_proposed_questions_are_shown(asked_next: str, fits: bool) -> None:
    there = evidence("The town owns the bridge. It is 420 metres long.")
    assert chat_questions.fits(asked_next, "How long is the bridge?", there) is fits


def test_the_side_of_a_conflict_opens_as_a_source() -> None:
    sides = [Side(values=(str(n),), quote=f"It is {n}.", chunk_id=f"d{n}#0-8", doc_id=f"d{n}", source=f"{n}.md", title="", start=0, end=8,
                  page=None) for n in (1, 2)]  # fmt: skip
    answer = replace(ANSWER, conflicts=(Conflict(kind="number", sides=tuple(sides)),))
    (one,) = conflicts.cited(answer, "c0-1")
    assert (one.doc_id, one.quote, one.marker) == ("d2", "It is 2.", 0)
    for address in ("c0-2", "c1-0", "c-", "1", "c0", "c0-x", ""):
        assert conflicts.cited(answer, address) == []
