"""Everything an endpoint can do wrong: each ends by the deadline with its code, and no cut reply passes for a whole one."""

from __future__ import annotations

import contextlib
import email.utils
import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from rag import chat as chats
from rag.chat import OpenAIChat, complete, decoded, read_reply
from rag.errors import ChatError
from rag.settings import Settings
from rag.types import Message
from tests.fakes import openai_server as fake
from tests.fakes.openai_server import OpenAIServer, Reply, says, status

QUESTION = [Message(role="user", content="What is it?")]
DEADLINE_S = 4.0  # three tries and their pauses fit in, on a busy machine too


def client(base_url: str, **settings: object) -> OpenAIChat:
    return OpenAIChat(Settings().with_values(llm__base_url=base_url, llm__deadline_s=DEADLINE_S, **settings).llm)


def failure(chat: OpenAIChat, **options: object) -> ChatError:
    """The error that a call ends with, which must come no later than two seconds after the deadline."""
    started = time.monotonic()
    with pytest.raises(ChatError) as caught:
        complete(chat, QUESTION, **{"max_tokens": 2000, **options})  # type: ignore[arg-type]
    assert time.monotonic() - started < DEADLINE_S + 2
    assert str(caught.value).endswith("."), "a message is a sentence"
    return caught.value


# name: reply, code, the text that must be kept
FAULTS: dict[str, tuple[Reply, str, str]] = {
    "401": (status(401), "E_LLM_AUTH", ""),
    "403": (status(403), "E_LLM_AUTH", ""),
    "404": (status(404), "E_LLM_REFUSED", ""),
    "400": (status(400, "too long"), "E_LLM_REFUSED", ""),
    "429, an hour": (status(429, retry_after=3600), "E_LLM_RATE_LIMIT", ""),
    "500": (status(500), "E_LLM_UNREACHABLE", ""),
    "503": (status(503), "E_LLM_UNREACHABLE", ""),
    "html with 200": (fake.html(), "E_LLM_PROTOCOL", ""),
    "html with 200 and an event type": (Reply(pieces=fake.html().pieces), "E_LLM_PROTOCOL", ""),
    "bad JSON": (fake.bad_json(), "E_LLM_PROTOCOL", ""),
    "bad JSON after text": (fake.bad_json("one two"), "E_LLM_PROTOCOL", "one two"),
    "bad JSON, not streamed": (Reply(pieces=lambda: iter([b'{"choices": [']), content_type="application/json"), "E_LLM_PROTOCOL", ""),
    "choices null": (fake.no_choices(None), "E_LLM_PROTOCOL", ""),
    "choices empty": (fake.no_choices([]), "E_LLM_PROTOCOL", ""),
    "choices are text": (fake.no_choices("text"), "E_LLM_PROTOCOL", ""),
    "choices hold numbers": (fake.no_choices([1]), "E_LLM_PROTOCOL", ""),
    "content is a number": (fake.no_choices([{"delta": {"content": 5}}]), "E_LLM_PROTOCOL", ""),
    "choices null, not streamed": (fake.no_choices(None, streamed=False), "E_LLM_PROTOCOL", ""),
    "an array": (Reply(pieces=lambda: iter([b"data: [1, 2]\n\n"])), "E_LLM_PROTOCOL", ""),
    "error with 200": (fake.error_body(), "E_LLM_REFUSED", ""),
    "error in the stream, first": (fake.error_after(""), "E_LLM_REFUSED", ""),
    "error in the stream": (fake.error_after("one two"), "E_LLM_INCOMPLETE", "one two"),
    "cut": (fake.cut_after("one two three"), "E_LLM_INCOMPLETE", "one two three"),
    "cut visibly": (fake.cut_after("one two three", visible=True), "E_LLM_INCOMPLETE", "one two three"),
    "cut before the first word": (fake.cut_after(""), "E_LLM_INCOMPLETE", ""),
    "empty body": (Reply(), "E_LLM_INCOMPLETE", ""),
    "content filter": (says("I", finish_reason="content_filter"), "E_LLM_REFUSED", "I"),
    "slow-loris in the body": (fake.drip(), "E_LLM_DEADLINE", ""),
    "slow-loris in the headers": (fake.drip(where="headers"), "E_LLM_DEADLINE", ""),
    "gzip bomb": (fake.gzip_bomb(300), "E_LLM_TOO_LARGE", ""),
    "gzip bomb in an error": (fake.gzip_bomb(300, code=400), "E_LLM_REFUSED", ""),
    "endless line": (fake.endless_body(), "E_LLM_TOO_LARGE", ""),
    "endless error": (fake.endless_body(code=500), "E_LLM_UNREACHABLE", ""),
    "damaged gzip": (Reply(headers={"Content-Encoding": "gzip"}, pieces=lambda: iter([b"no gzip"])), "E_LLM_PROTOCOL", ""),
    "unknown compression": (Reply(headers={"Content-Encoding": "zstd"}, pieces=lambda: iter([b"x"])), "E_LLM_PROTOCOL", ""),
    "redirect": (fake.redirect("http://localhost:9/v1"), "E_LLM_REDIRECT", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_has_its_code_and_keeps_what_had_arrived(name: str) -> None:
    reply, code, partial = FAULTS[name]
    before = peak_rss_mb()
    with OpenAIServer(always=reply) as server:
        error = failure(client(server.url))
    assert (error.code, error.partial) == (code, partial)
    assert peak_rss_mb() - before < 200


@pytest.mark.parametrize("name", FAULTS)
def test_a_streaming_consumer_sees_the_text_and_then_the_error_and_never_an_end(name: str) -> None:
    reply, code, partial = FAULTS[name]
    seen = []
    with OpenAIServer(always=reply) as server, pytest.raises(ChatError) as caught:
        for delta in client(server.url).stream(QUESTION, max_tokens=2000):
            seen.append(delta)
    assert caught.value.code == code
    assert "".join(delta.text for delta in seen) == partial
    assert not any(delta.done for delta in seen)


def test_a_proper_reply_is_not_refused() -> None:
    with OpenAIServer([says("Paris 巴黎 [1].")]) as server:
        assert complete(client(server.url), QUESTION, max_tokens=20) == "Paris 巴黎 [1]."


@pytest.mark.parametrize(
    "reply", [fake.wrong_type("one two"), fake.whole("one two")], ids=["labelled text/plain", "not streamed"]
)
def test_harmless_deviations_are_taken(reply: Reply) -> None:
    with OpenAIServer([reply]) as server:
        assert complete(client(server.url), QUESTION, max_tokens=20) == "one two"


def test_a_gzipped_reply_is_read() -> None:
    import gzip

    body = b"".join(fake._text_events("one two") + fake._ending("stop"))
    with OpenAIServer(
        [Reply(headers={"Content-Encoding": "gzip"}, pieces=lambda: iter([gzip.compress(body)]))]
    ) as server:
        assert complete(client(server.url), QUESTION, max_tokens=20) == "one two"


# ---------------------------------------------------------------- trying again


@pytest.mark.parametrize(
    "first",
    [status(500), status(503, retry_after=0.1), status(429), status(429, retry_after=0.1), fake.cut_after(""), Reply()],
    ids=["500", "503 with a wait", "429", "429 with a wait", "cut at once", "empty"],
)
def test_a_failure_before_the_first_word_is_tried_again(first: Reply) -> None:
    with OpenAIServer([first, says("yes")]) as server:
        assert complete(client(server.url), QUESTION, max_tokens=20) == "yes"


def test_a_failure_after_the_first_word_is_not_tried_again() -> None:
    with OpenAIServer([fake.cut_after("one two")]) as server:
        assert failure(client(server.url)).code == "E_LLM_INCOMPLETE"
        assert len(server.requests) == 1


def test_there_are_at_most_three_tries() -> None:
    with OpenAIServer([status(500)] * 3) as server:
        assert failure(client(server.url)).code == "E_LLM_UNREACHABLE"


def test_a_wrong_key_is_not_tried_again() -> None:
    with OpenAIServer([status(401)]) as server:
        failure(client(server.url))


def test_retry_after_is_waited_for() -> None:
    with OpenAIServer([status(429, retry_after=1), says("yes")]) as server:
        started = time.monotonic()
        assert complete(client(server.url), QUESTION, max_tokens=20) == "yes"
        assert time.monotonic() - started >= 1.0


@pytest.mark.parametrize("seconds", [5, 21, 3600])
def test_a_wait_that_does_not_fit_fails_at_once_and_says_when(seconds: int) -> None:
    with OpenAIServer([status(429, retry_after=seconds)]) as server:
        started = time.monotonic()
        assert f"in {seconds} s" in str(failure(client(server.url)))
        assert time.monotonic() - started < 1.0


def test_retry_after_may_be_a_date() -> None:
    date = email.utils.formatdate(time.time() + 7200, usegmt=True)
    with OpenAIServer([status(429, retry_after=date)]) as server:
        message = str(failure(client(server.url)))
    assert any(f"in {seconds} s" in message for seconds in range(7190, 7202)) and "UTC" in message


def test_what_a_call_needs_is_imported_before_its_time_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine that takes seconds, and none of them are the endpoint's."""
    happened: list[str] = []

    class Timed(chats.Call):
        def __init__(self, deadline_s: float) -> None:
            happened.append("its time begins")
            super().__init__(deadline_s)

    monkeypatch.setattr(chats, "Call", Timed)
    monkeypatch.setattr(chats, "load_client", lambda: happened.append("imported"))
    with OpenAIServer([says("a"), fake.json_reply({})]) as server:
        chat = client(server.url)
        chat.identity()  # asks which model there is
        chat.check()
        complete(chat, QUESTION, max_tokens=5)
        chat.post_json("/rerank", {})
    assert happened == ["imported", "its time begins"] * 4


def test_certificates_that_are_not_there_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/certificates.pem")
    chats._tls.cache_clear()
    try:
        assert failure(client("https://localhost/v1")).code == "E_LLM_UNREACHABLE"
    finally:
        chats._tls.cache_clear()


def test_a_refused_connection_is_tried_within_the_deadline() -> None:
    error = failure(client(f"http://127.0.0.1:{fake.closed_port()}/v1"))
    assert error.code == "E_LLM_UNREACHABLE" and "refused" in str(error)


def test_a_name_that_does_not_resolve() -> None:
    assert failure(client("http://no-such-host.invalid/v1")).code in ("E_LLM_UNREACHABLE", "E_LLM_DEADLINE")


def test_a_server_that_accepts_and_says_nothing() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert failure(client(f"http://127.0.0.1:{silent.getsockname()[1]}/v1")).code == "E_LLM_DEADLINE"


def test_a_call_that_was_given_up_leaves_no_thread() -> None:
    with OpenAIServer(always=fake.drip()) as server:
        failure(client(server.url))
        deadline = time.monotonic() + 5
        while chat_threads() and time.monotonic() < deadline:
            chat_threads()[0].join(timeout=0.1)
        assert not chat_threads()


# ---------------------------------------------------------------- what is sent


def test_nothing_is_sent_to_another_host() -> None:
    with OpenAIServer() as other:
        for code in (301, 302, 303, 307, 308):
            with OpenAIServer([fake.redirect(f"{other.url}/chat/completions", code)]) as server:
                error = failure(client(server.url))
                assert error.code == "E_LLM_REDIRECT" and other.url in str(error)
        assert other.requests == []


def test_max_tokens_ends_a_reply_that_does_not_end() -> None:
    with OpenAIServer([fake.never_ending("word ", pause_s=0.0001)]) as server:
        deltas = list(client(server.url).stream(QUESTION, max_tokens=10))
    assert deltas[-1].finish_reason == "length"
    assert sum(len(delta.text) for delta in deltas) < 300


def test_a_reply_that_never_ends_is_cut_at_the_size_limit_or_the_deadline() -> None:
    with OpenAIServer([fake.never_ending("x" * 10_000, pause_s=0.0001)]) as server:
        error = failure(client(server.url, llm__max_response_mb=0.5), max_tokens=1_000_000)
        assert error.code == "E_LLM_TOO_LARGE" and len(error.partial) > 100_000
    with OpenAIServer([fake.never_ending(pause_s=0.05)]) as server:
        error = failure(client(server.url), max_tokens=100_000)
        assert error.code == "E_LLM_DEADLINE" and error.partial.startswith("on and on")


def test_the_first_model_of_the_endpoint_is_used_when_none_is_named() -> None:
    with OpenAIServer([says("a"), says("b"), says("c")], models=["first", "second"]) as server:
        chat = client(server.url)
        complete(chat, QUESTION, max_tokens=5)
        complete(chat, QUESTION, max_tokens=5)
        complete(client(server.url, llm__model="mine"), QUESTION, max_tokens=5)
        assert [request.json["model"] for request in server.requests] == ["first", "first", "mine"]


@pytest.mark.parametrize(
    "reply",
    [fake.html(), fake._json({"data": []}), fake._json([1]), fake.endless_body()],
    ids=["html", "none", "array", "endless"],
)
def test_a_list_of_models_that_is_none(reply: Reply) -> None:
    with OpenAIServer(models_reply=reply) as server:
        assert failure(client(server.url)).code in ("E_LLM_PROTOCOL", "E_LLM_TOO_LARGE")


def test_the_key_is_sent_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with OpenAIServer([status(401)]) as server:
        error = failure(client(server.url, llm__api_key="sk-canary-4711"))
        assert server.requests[0].headers["authorization"] == "Bearer sk-canary-4711"
    assert "canary" not in f"{error!r}{error}{caplog.text}"


def test_a_schema_goes_along_and_is_left_out_for_an_endpoint_that_refuses_it() -> None:
    schema = {"type": "object"}
    with OpenAIServer([status(400, "response_format is not supported"), says("{}"), says("{}")]) as server:
        chat = client(server.url)
        assert complete(chat, QUESTION, max_tokens=5, json_schema=schema) == "{}"
        assert complete(chat, QUESTION, max_tokens=5, json_schema=schema) == "{}"
        first, second, third = (request.json for request in server.requests)
    assert first["response_format"]["json_schema"]["schema"] == schema
    assert "response_format" not in second and '"type": "object"' in second["messages"][-1]["content"]
    assert "response_format" not in third, "what an endpoint refused once is not sent again"


def test_other_parameters_an_endpoint_does_not_know() -> None:
    refusals = [
        status(400, f"Unsupported parameter: '{name}'") for name in ("max_tokens", "temperature", "stream_options")
    ]
    with OpenAIServer([*refusals, says("yes")]) as server:
        assert complete(client(server.url), QUESTION, max_tokens=5) == "yes"
        last = server.requests[-1].json
    assert last["max_completion_tokens"] == 5
    assert not {"max_tokens", "temperature", "stream_options"} & set(last)


# ---------------------------------------------------------------- reading, without a connection


def test_a_reply_may_be_cut_into_any_pieces() -> None:
    body = b"".join(fake._text_events("巴黎 is the capital") + fake._ending("stop"))
    for size in (1, 2, 3, 7, 1000):
        pieces = (body[i : i + size] for i in range(0, len(body), size))
        assert "".join(delta.text for delta in read_reply(pieces, max_tokens=50)) == "巴黎 is the capital"


def test_done_or_a_finish_reason_is_an_end() -> None:
    text, (finish, _usage, done) = fake._text_events("hi"), fake._ending("stop")
    for body in ([*text, finish], [*text, done], [*text, finish, done]):
        assert list(read_reply(body, max_tokens=5))[-1].done


def test_decoding_never_holds_more_than_the_limit() -> None:
    n_bytes = 0
    with contextlib.suppress(ChatError):
        for piece in decoded(fake.gzip_bomb(50).pieces(), "gzip", 1_000_000):
            n_bytes += len(piece)
    assert n_bytes <= 1_000_000


def chat_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("chat ")]


def peak_rss_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    for thread in chat_threads():
        thread.join(timeout=5)
    assert not chat_threads()
