"""Bar 5 over HTTP: whatever the chat endpoint does, a client gets a typed error or a whole answer, in time, and never half of one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rag.chat import OpenAIChat
from rag.knowledge_base import KnowledgeBase
from rag.types import Document
from tests.api_server import Api, running
from tests.bars.harness import FULL, says
from tests.fakes import openai_server as fake
from tests.fakes.openai_server import OpenAIServer

pytestmark = pytest.mark.bar

DEADLINE_S = 3.0
QUESTION = "At how many degrees is oolong brewed?"
PARTIAL = "It is brewed at 90 "

# Before its first word a failing model leaves quotations (200 with a warning); after it, the reply has broken off.
SILENT: dict[str, Any] = {
    "unauthorised": fake.status(401), "forbidden": fake.status(403), "not found": fake.status(404), "too many": fake.status(429, retry_after=3600),
    "server error": fake.status(500), "overloaded": fake.status(503), "a web page": fake.html(), "no JSON": fake.bad_json(),
    "no choices": fake.no_choices(), "empty choices": fake.no_choices([]), "choices as text": fake.no_choices("text"),
    "an error with 200": fake.error_body(), "drips its headers": fake.drip(where="headers"), "drips its body": fake.drip(),
    "a gzip bomb": fake.gzip_bomb(200), "a body without end": fake.endless_body(), "a redirect": fake.redirect("http://127.0.0.1:1/v1"),
    "a gzip bomb as a refusal": fake.gzip_bomb(200, code=500),
}  # fmt: skip
BROKEN: dict[str, Any] = {
    "cut": fake.cut_after(PARTIAL), "cut in a chunk": fake.cut_after(PARTIAL, visible=True), "no JSON later": fake.bad_json(PARTIAL),
    "an error later": fake.error_after(PARTIAL), "words without end": fake.never_ending(pause_s=0.0),
    "words without end, slowly": fake.never_ending(pause_s=0.2),
}  # fmt: skip


QUICK = [
    "unauthorised",
    "a web page",
    "empty choices",
    "drips its body",
    "a redirect",
    "cut",
    "an error later",
    "words without end",
]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any) -> Iterator[Api]:
    with KnowledgeBase.open(tmp_path_factory.mktemp("faults"), settings=tiny_settings) as kb:
        kb.ingest([Document("Oolong is brewed at 90 degrees for three minutes.", doc_id="tea")])
        with running(kb, worker=False) as server:
            yield server


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", [*SILENT, *BROKEN] if FULL else QUICK)
def test_every_fault_ends_in_time_and_says_what_it_was(api: Api, name: str, stream: bool) -> None:
    with OpenAIServer(always={**SILENT, **BROKEN}[name]) as model:
        settings = api.service.kb.settings.with_values(
            llm__base_url=model.url, llm__model="fake", llm__deadline_s=DEADLINE_S
        )
        api.service.kb.settings = settings
        api.service.kb._chat, api.service.kb._chat_opened = OpenAIChat(settings.llm), True
        ask = {
            "model": "default",
            "messages": [{"role": "user", "content": QUESTION}],
            "stream": stream,
            "max_tokens": 32,
        }
        started = time.monotonic()
        with api.http() as http:
            answer = http.post("/v1/chat/completions", json=ask)
        seconds = time.monotonic() - started
    assert "Traceback" not in answer.text
    ended, error, text = _outcome(answer, stream)
    if name in SILENT:
        assert ended and "90 degrees" in text and error.startswith("E_LLM_"), (answer.status_code, answer.text[:300])
    else:
        cut_by_us = name == "words without end" and '"finish_reason": "length"' in answer.text.replace('":"', '": "')
        assert not ended and (error.startswith("E_LLM_") or cut_by_us), answer.text[:300]
    says("5", fault=name, stream=stream, seconds=round(seconds, 1), code=error)


def _outcome(answer: Any, stream: bool) -> tuple[bool, str, str]:
    """(ended with `stop`, the error's code or the warning's, the text)."""
    if not stream:
        body = answer.json()
        if "error" in body:
            assert answer.status_code in (502, 504)
            return False, body["error"]["code"], ""
        warning = " ".join(body["ragstone"]["warnings"])
        return body["choices"][0]["finish_reason"] == "stop", _code(warning), body["choices"][0]["message"]["content"]
    if answer.status_code != 200:
        return False, answer.json()["error"]["code"], ""
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    failed = next((event["error"]["code"] for event in events if "error" in event), "")
    choices = [choice for event in events for choice in event.get("choices", ())]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    whole = any(choice["finish_reason"] == "stop" for choice in choices) and "data: [DONE]" in answer.text
    warning = next((" ".join(event["ragstone"]["warnings"]) for event in events if "ragstone" in event), "")
    return whole, failed or _code(warning), text


def _code(warning: str) -> str:
    return next((word.strip("(),:.") for word in warning.split() if word.strip("(),:.").startswith("E_LLM_")), "")
