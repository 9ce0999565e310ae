"""What models said is kept: by which model it was, as long as it is of use, and within its limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rag.chat import OpenAIChat, complete
from rag.errors import ChatError
from rag.local_chat import LocalChat
from rag.reply_cache import CachedChat, CachedReranker, ReplyCache, cached_vector, complete_as, identity
from rag.settings import LlmSettings
from rag.types import ChatDelta, Message, Usage
from tests.fakes.openai_server import OpenAIServer, says, status

ASKED = [Message(role="user", content="Where?")]


class Slow:
    """A chat model that takes a moment; counts what it is asked."""

    name = "slow"

    def __init__(self, reply: str = "Paris", reason: Any = "stop", seconds: float = 0.0) -> None:
        self.reply, self.reason, self.seconds, self.n = reply, reason, seconds, 0

    def stream(self, messages: Sequence[Message], **_options: Any) -> Iterator[ChatDelta]:
        self.n += 1
        time.sleep(self.seconds)
        yield ChatDelta(text=self.reply)
        yield ChatDelta(done=True, finish_reason=self.reason, usage=Usage())

    def close(self) -> None: ...


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ReplyCache]:
    made = ReplyCache(tmp_path / "replies.sqlite3")
    yield made
    made.close()


def test_endpoints_and_models_have_their_own_replies(cache: ReplyCache) -> None:
    """llm.model is "auto" or a placeholder in many places, and says nothing of which model it is."""

    def ask(server: OpenAIServer, model: str) -> str:
        return complete(
            CachedChat(OpenAIChat(LlmSettings(base_url=server.url, model=model)), cache), ASKED, max_tokens=9
        )

    with (
        OpenAIServer([says("one")], models=["a"]) as one,
        OpenAIServer([says("two"), says("three")], models=["a"]) as two,
    ):
        assert [ask(server, "auto") for server in (one, two, one, two)] == ["one", "two", "one", "two"]
        two.models = ("b",)
        assert ask(two, "auto") == "three" == ask(two, "b")
        assert ask(two, "a") == "two"


def test_a_server_that_does_not_say_its_model_fails_the_call_alone(cache: ReplyCache) -> None:
    with OpenAIServer([], models_reply=status(401)) as server:
        chat = CachedChat(OpenAIChat(LlmSettings(base_url=server.url)), cache)
        assert not chat.knows(ASKED, 9)
        with pytest.raises(ChatError, match="key was not accepted"):
            complete(chat, ASKED, max_tokens=9)


def test_a_file_has_another_identity_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"one")
    before = identity(LocalChat(path, name="m"))
    assert identity(LocalChat(path, name="m")) == before
    path.write_bytes(b"another")
    assert identity(LocalChat(path, name="m")) != before


def test_a_reply_of_no_use_is_not_kept(cache: ReplyCache) -> None:
    chat = Slow("{bad json")
    for _ in range(2):
        assert (
            complete_as(CachedChat(chat, cache), ASKED, lambda reply: reply.removeprefix("{bad json"), max_tokens=9)
            == ""
        )
    chat.reply = "Paris"
    for _ in range(2):
        assert complete_as(CachedChat(chat, cache), ASKED, str, max_tokens=9) == "Paris"
    assert chat.n == 3


@pytest.mark.parametrize(("reason", "reply", "n"), [("stop", "a", 1), ("length", "a", 1), ("stop", "  ", 2)])
def test_a_reply_is_kept_with_how_it_ended(cache: ReplyCache, reason: str, reply: str, n: int) -> None:
    chat = Slow(reply, reason)
    ends = [list(CachedChat(chat, cache).stream(ASKED, max_tokens=9))[-1].finish_reason for _ in range(2)]
    assert ends == [reason, reason] and chat.n == n


def test_a_cached_chat_within_another_is_one(cache: ReplyCache) -> None:
    assert complete(CachedChat(CachedChat(Slow(), cache), cache), ASKED, max_tokens=9) == "Paris"


def test_who_asks_the_same_at_once_asks_once(cache: ReplyCache) -> None:
    class Scorer:
        name, n = "scorer", 0

        def scores(self, question: str, passages: Sequence[str]) -> list[float]:
            self.n += 1
            time.sleep(0.05)
            return [float(len(one)) for one in passages]

    chat, scorer, made = Slow(seconds=0.05), Scorer(), []

    def make() -> list[float]:
        made.append(1)
        time.sleep(0.05)
        return [0.0, 1.0]

    def work() -> None:
        complete(CachedChat(chat, cache), ASKED, max_tokens=9)
        CachedReranker(scorer, cache, "x").scores("q", ["a", "bb"])
        cached_vector(cache, "query", "model", 2, ["q"], make)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (chat.n, scorer.n, len(made)) == (1, 1, 1) and not cache._asking


def test_waiting_for_another_ends_at_the_deadline(cache: ReplyCache) -> None:
    first = CachedChat(Slow(), cache).stream(ASKED, max_tokens=9)
    next(first)
    with pytest.raises(ChatError) as raised:
        complete(CachedChat(Slow(), cache), ASKED, max_tokens=9, deadline_s=0.05)
    assert raised.value.code == "E_LLM_DEADLINE"
    first.close()  # type: ignore[attr-defined]
    assert complete(CachedChat(Slow(), cache), ASKED, max_tokens=9, deadline_s=5) == "Paris"


def test_what_was_not_asked_for_longest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, now = ReplyCache(tmp_path / "small.sqlite3", max_bytes=1_500_000), [1e9]
    monkeypatch.setattr(time, "time", lambda: now[0])
    for at in range(2000):
        now[0] += 3600
        cache.put(f"key {at}", "x" * 2000)
        assert cache.get("key 0"), "asked for again and again"
    assert cache.get("key 1999") and not cache.get("key 1")
    cache.close()
    assert (tmp_path / "small.sqlite3").stat().st_size < 3_000_000
