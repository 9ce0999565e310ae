"""What every chat model must do, whether it is an endpoint or runs in this process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rag.chat import OpenAIChat, complete
from rag.errors import ChatError
from rag.settings import Settings
from rag.types import ChatDelta, ChatModel, Message
from tests.fakes.openai_server import OpenAIServer, Reply, Request, drip, says

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}},
    "required": ["name"],
    "additionalProperties": False,
}
STORY = [Message(role="user", content="Tell a long story about a dog.")]


@dataclass(frozen=True)
class Subject:
    """A model under test. `slow` opens one that cannot end within a second."""

    chat: ChatModel
    slow: Callable[[], ChatModel]


def obliging(request: Request) -> Reply:
    """What a model behind an endpoint would say: JSON when asked for it, and no more than max_tokens words."""
    if "response_format" in request.json:
        return says('{"name": "Ada"}')
    n_words = request.json["max_tokens"]
    return says("word " * n_words, chunk_chars=5, finish_reason="length")


@pytest.fixture(params=["endpoint", "local"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    if request.param == "endpoint":
        with OpenAIServer(always=obliging) as server, OpenAIServer(always=drip()) as slow:
            yield Subject(open_endpoint(server), lambda: open_endpoint(slow))
    else:
        local = open_local()
        try:
            yield Subject(local, lambda: local)
        finally:
            local.close()


def open_endpoint(server: OpenAIServer) -> ChatModel:
    return OpenAIChat(Settings().with_values(llm__base_url=server.url).llm)


def open_local() -> ChatModel:
    pytest.importorskip("xllamacpp", reason="needs the package xllamacpp")
    from rag.errors import ModelError
    from rag.local_chat import LocalChat
    from rag.models import models_dir, resolve

    try:
        path = Path(resolve("smollm2-135m", "chat", models_dir("")))
    except ModelError:
        pytest.skip("needs the model smollm2-135m: ragstone models pull smollm2-135m")
    return LocalChat(path, name="smollm2-135m", threads=1, context_tokens=1024)


def collect(deltas: Iterator[ChatDelta]) -> list[ChatDelta]:
    return list(deltas)


def test_a_stream_ends_with_exactly_one_done_delta_that_holds_the_usage(subject: Subject) -> None:
    deltas = collect(subject.chat.stream(STORY, max_tokens=8))
    assert [delta.done for delta in deltas] == [False] * (len(deltas) - 1) + [True]
    assert deltas[-1].usage is not None and deltas[-1].usage.n_answer_tokens > 0
    assert deltas[-1].usage.n_prompt_tokens > 0
    assert deltas[-1].finish_reason == "length"
    assert len(deltas) > 2 and any(delta.text for delta in deltas)


def test_complete_is_the_stream_joined(subject: Subject) -> None:
    streamed = "".join(delta.text for delta in subject.chat.stream(STORY, max_tokens=8))
    assert complete(subject.chat, STORY, max_tokens=8) == streamed != ""


def test_a_schema_is_kept_to(subject: Subject) -> None:
    asked = [Message(role="system", content="You reply in JSON."), Message(role="user", content="Name a person.")]
    reply = json.loads(complete(subject.chat, asked, max_tokens=60, json_schema=SCHEMA))
    assert list(reply) == ["name"] and isinstance(reply["name"], str)


def test_the_deadline_ends_the_call(subject: Subject) -> None:
    started = time.monotonic()
    with pytest.raises(ChatError) as caught:
        complete(subject.slow(), STORY, max_tokens=900, deadline_s=0.6)
    assert caught.value.code == "E_LLM_DEADLINE"
    assert time.monotonic() - started < 2.6


def test_a_consumer_that_stops_frees_the_model(subject: Subject) -> None:
    stream = subject.chat.stream(STORY, max_tokens=900)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert complete(subject.chat, STORY, max_tokens=2, deadline_s=10)


def test_calls_of_several_threads_are_all_answered(subject: Subject) -> None:
    replies: list[str] = []
    asking = [
        threading.Thread(target=lambda: replies.append(complete(subject.chat, STORY, max_tokens=4))) for _ in range(4)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(timeout=60)
    assert len(replies) == 4 and len(set(replies)) == 1


def test_nothing_happens_before_the_stream_is_iterated(subject: Subject) -> None:
    n_threads = threading.active_count()
    subject.chat.stream(STORY, max_tokens=4)
    assert threading.active_count() == n_threads


def test_a_closed_model_may_be_closed_again(subject: Subject) -> None:
    subject.chat.close()
    subject.chat.close()
