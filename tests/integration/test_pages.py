"""The pages without a browser: who may only read gets nothing to change anything with; evaluations in the background."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from eval import library
from eval.dataset import load_dataset
from rag.knowledge_base import KnowledgeBase
from rag.principals import Principal
from rag.threads import Threads
from rag.types import Document
from ui.api.service import Service
from ui.web.documents_add import may_name_paths
from ui.web.evaluation_run import start
from ui.web.view import Home, User, View

VIEWER = User(name="ann", role="viewer", principal=Principal(names=("u:ann",)))
EDITOR = User(name="eve", role="editor", principal=Principal(names=("u:eve",)))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any) -> Any:
    with KnowledgeBase.open(tmp_path_factory.mktemp("rights") / "home", settings=tiny_settings) as kb:
        kb.ingest([Document("Tea is steeped.", doc_id="tea", title="Tea")])
        kb.ingest([Document("Salaries of all.", doc_id="pay", title="Salaries")], acl=("g:staff",))
        yield Home(service=Service(kb, open_to_all=True), threads=Threads(kb.catalog.engine))


def page(home: Home, user: User, module: str, **address: str) -> AppTest:
    def script(home, user, module):  # type: ignore[no-untyped-def]  # runs without the names of this module
        from importlib import import_module

        from ui.web.view import View

        kb = home.kb.view(principal=user.principal)
        import_module(f"ui.web.{module}").show(View(home=home, kb=kb, user=user, language="en"))

    test = AppTest.from_function(script, args=(home, user, module), default_timeout=30)
    test.query_params.update(address)
    return test.run()


def buttons(test: AppTest) -> set[str]:
    assert not test.exception
    return {button.label for button in test.button}


def test_a_reader_sees_documents_and_nothing_to_change_them(home: Home) -> None:
    test = page(home, VIEWER, "documents")
    assert buttons(test) == {"Tea"}, "and nothing of what is not theirs"
    assert len(test.checkbox) == 0 and len(test.expander) == 0
    assert {"Edit…", "Switch off", "Delete…"} & buttons(page(home, VIEWER, "documents", doc="tea")) == set()
    assert buttons(page(home, VIEWER, "documents", doc="pay")) == {"All documents"}
    assert {"Edit…", "Switch off", "Delete…"} <= buttons(page(home, EDITOR, "documents", doc="tea"))


def test_a_reader_starts_no_evaluation(home: Home) -> None:
    assert "Start" not in buttons(page(home, VIEWER, "evaluation"))


def test_paths_of_the_server_are_for_administrators_inside_the_folders_allowed(home: Home, tmp_path: Path) -> None:
    def may(user: User, **settings: Any) -> bool:
        kb = home.kb.view(settings=home.kb.settings.with_values(**settings)) if settings else home.kb
        return may_name_paths(
            View(
                home=Home(service=Service(kb, open_to_all=True), threads=Threads(kb.catalog.engine)),
                kb=kb,
                user=user,
                language="en",
            )
        )

    admin = User(name="root", role="admin", principal=Principal(names=("u:root",)))
    assert may(User()), "nobody signs in: the page is its owner's"
    assert not may(User(), ui__behind_proxy=True), "several people may be behind a proxy"
    assert not may(admin) and may(admin, ui__import_folders=str(tmp_path))
    assert not may(EDITOR, ui__import_folders=str(tmp_path)) and not may(VIEWER, ui__import_folders=str(tmp_path))


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.csv"
    path.write_text(
        "question,source\n" + "".join(f"How is tea number {n} steeped?,tea\n" for n in range(40)), encoding="utf-8"
    )
    return path


def test_an_evaluation_is_stored_when_it_is_done(home: Home, questions: Path, tmp_path: Path) -> None:
    view = View(home=home, kb=home.kb, user=User(), language="en")
    task = start(view, tmp_path, questions, ["bm25", "dense"], limit=5)
    while task.running:
        task.since(10_000, timeout_s=1)
    (stored,) = library.results(tmp_path)
    assert task.state == "done" and stored.name == task.result
    assert stored.systems == ["bm25", "dense"] and len(stored.questions) == 5 and task.since(0)[-1] == ("dense", 5, 5)


def test_an_evaluation_that_is_stopped_or_fails_leaves_nothing(home: Home, questions: Path, tmp_path: Path) -> None:
    view = View(home=home, kb=home.kb, user=User(), language="en")
    task = start(view, tmp_path, questions, ["bm25", "dense"], limit=None)
    task.since(0, timeout_s=30)
    task.stop.set()
    while task.running:
        task.since(10_000, timeout_s=1)
    assert task.state == "stopped" and library.results(tmp_path) == [] and not list((tmp_path / "results").glob("*"))
    task = start(view, tmp_path, questions, ["hybrid(embedding.model=other)"], limit=None)
    while task.running:
        task.since(10_000, timeout_s=1)
    assert task.state == "failed" and "embedding.model" in task.error


def test_answers_rated_in_chats_become_a_test_set(home: Home) -> None:
    thread = home.threads.create("eve", "Tea")
    turn = home.threads.ask(thread.thread_id, "How is tea made?", collection="default", mode="bm25")
    home.threads.save(turn.turn_id, state="done", answer=home.kb.ask("How is tea steeped?"))
    home.threads.rate(turn.turn_id, 1)
    test = page(home, EDITOR, "evaluation")
    next(button for button in test.button if button.label == "Make a test set of them").click()
    assert not test.run().exception
    (path,) = library.test_sets(library.folder_of(home.kb.home, "default"))
    assert load_dataset(path).questions == {turn.turn_id: "How is tea made?"} and load_dataset(path).qrels == {
        turn.turn_id: {"tea": 1}
    }
    assert "Make a test set of them" not in buttons(page(home, VIEWER, "evaluation"))
