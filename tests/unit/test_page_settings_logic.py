"""What the settings page works out before it draws: nothing secret, settings with origins, usage, health by role."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from rag.accounts import Accounts
from rag.errors import ChatError
from rag.settings import Settings, load_with_origins, walk
from rag.threads import Threads
from rag.types import Answer, Usage
from tests.fakes.chat import ScriptedChat
from ui.doctor import Check
from ui.web.settings_health import line
from ui.web.settings_models import parts, tried, without_secrets
from ui.web.settings_values import rows, used_today
from ui.web.view import User
from ui.web.words import word
from ui.web.words.setting import CHINESE


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ann:pa55@db/rag", "postgresql://****@db/rag"),
        ("https://models.example/v1?api_key=pa55&x=1", "https://models.example/v1?api_key=****&x=1"),
        ("postgresql://db/rag?password=pa55", "postgresql://db/rag?password=****"),
        ("http://127.0.0.1:19530", "http://127.0.0.1:19530"),
        ("No reply from http://u:pa55@a.example.", "No reply from http://****@a.example."),
    ],
)
def test_addresses_are_shown_without_their_passwords(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_settings_in_effect_with_origins_and_what_waits_for_a_restart() -> None:
    environment = {"RAGSTONE__LLM__API_KEY": "pa55", "RAGSTONE__CATALOG__URL": "postgresql://ann:pa55@db/rag"}
    settings, _ = load_with_origins(environ=environment)
    now, origins = load_with_origins(environ=environment | {"RAGSTONE__SEARCH__TOP_K": "7"})
    found = {row.key: row for row in rows(settings, now, origins)}
    assert found["llm.api_key"].origin == "RAGSTONE__LLM__API_KEY" and found["answer.max_tokens"].origin == "default"
    assert [key for key, row in found.items() if row.waiting] == ["search.top_k"]
    assert "pa55" not in str(found) and found["catalog.url"].value == "postgresql://****@db/rag"


def test_every_setting_is_explained_in_chinese() -> None:
    known = {key for key, _ in walk(Settings())}
    assert set(CHINESE) == known
    assert not [key for key, words in CHINESE.items() if not re.search("[\u4e00-\u9fff]", words)]
    named = {row.key: row for row in rows(Settings(), Settings(), dict.fromkeys(known, "default"), "zh")}
    assert named["chunk.overlap"].description == "相邻段落共有的词元数"


def test_usage_of_today_by_key_and_person() -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False})
    accounts, threads = Accounts(engine), Threads(engine)
    key, _ = accounts.create("wiki", tokens_per_day=5000)
    accounts.create("idle")
    accounts.spend(key.key_id, n_requests=2, n_tokens=30)
    thread = threads.create("ann", "Is it?")
    for n_tokens in (100, 0):
        turn = threads.ask(thread.thread_id, "Is it?", collection="default", mode="hybrid")
        if n_tokens:
            usage = Usage(n_prompt_tokens=n_tokens, n_answer_tokens=11)
            threads.save(turn.turn_id, "done", Answer(text="Yes.", usage=usage), seconds=1.0, follow_ups=[])
    found = used_today(accounts, threads)
    assert [(one.kind, one.name, one.n_requests, one.n_tokens, one.budget) for one in found] == [
        ("person", "ann", 2, 111, 0), ("key", "wiki", 2, 30, 5000),
    ]  # fmt: skip
    assert threads.used("9999-01-01") == {}


def test_a_test_really_asks_and_says_what_came_back() -> None:
    kb: Any = SimpleNamespace(chat=ScriptedChat(["ready\nnow", "  ", ChatError("E_LLM_DOWN", "It is away. Start it.")]))
    said = tried(kb, "chat")
    assert (said.key, said.values["reply"]) == ("said_chat", "ready now")
    assert tried(kb, "chat").key == "said_nothing"
    with pytest.raises(ChatError, match="Start it"):
        tried(kb, "chat")
    assert len(kb.chat.asked) == 3


def test_parts_that_the_settings_leave_out_are_not_tested() -> None:
    settings = Settings().with_values(llm__model="none", rerank__model="", milvus__uri="http://milvus.example:19530")
    found = {part.name: part for part in parts(settings)}
    assert not found["chat"].used and not found["reranker"].used
    assert found["milvus"].address == "http://milvus.example:19530"


def test_who_is_no_admin_reads_no_details_of_the_machine() -> None:
    check = Check(name="milvus", ok=False, message="milvus.example does not answer", fix="Start the server.")

    def seen(role: str, language: str = "en") -> str:
        view: Any = SimpleNamespace(
            user=User(name="ann", role=role),
            language=language,
            word=lambda key, **values: word(key, language, **values),
        )
        return line(view, check)

    assert (
        "milvus.example" in seen("admin")
        and "Start the server" in seen("admin")
        and "启动服务器" in seen("admin", "zh")
    )
    for role in ("viewer", "editor"):
        assert "milvus.example" not in seen(role) and "Start the server" not in seen(role)
