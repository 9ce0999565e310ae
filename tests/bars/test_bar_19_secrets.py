"""Bar 19: canary secrets, everything logged at DEBUG, errors forced on every path; none is in a log, an answer, a job or an export."""

from __future__ import annotations

import io
import logging
import secrets
import zipfile
from pathlib import Path
from typing import Any

import pytest

from rag.chat import OpenAIChat
from rag.knowledge_base import KnowledgeBase
from rag.types import Document
from tests.api_server import running
from tests.bars.harness import says
from tests.fakes.openai_server import OpenAIServer, closed_port, cut_after, error_after, html, status
from tests.fakes.openai_server import says as replies

pytestmark = pytest.mark.bar


def test_no_secret_gets_out(tmp_path: Path, tiny_settings: Any) -> None:
    canary = {
        name: f"canary{secrets.token_hex(12)}" for name in ("llm", "milvus", "rerank", "password", "question", "guess")
    }
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    shown: list[str] = []
    try:
        settings = tiny_settings.with_values(llm__api_key=canary["llm"], milvus__token=canary["milvus"], rerank__api_key=canary["rerank"],
                                             parse__passwords=[canary["password"]])  # fmt: skip
        with KnowledgeBase.open(tmp_path / "home", settings=settings) as kb, running(kb) as api:
            kb.ingest([Document("Oolong is brewed at 90 degrees.", doc_id="tea")])
            key = api.key("ann", scopes=["read", "ingest", "admin"])
            scripts = [
                status(401, f"key {canary['llm']} is wrong"),
                status(500),
                html(),
                cut_after("It is "),
                error_after("It "),
                replies("At 90 degrees [1]."),
            ]
            for script in scripts:
                with OpenAIServer(always=script) as model:
                    _chat_through(api, model.url)
                    for stream in (False, True):
                        shown.append(_ask(api, key, stream, "At how many degrees is oolong brewed?"))
            _chat_through(api, f"http://127.0.0.1:{closed_port()}/v1")
            shown.append(_ask(api, key, True, f"What is {canary['question']}?").replace(canary["question"], "(asked)"))
            with api.http(key) as http, api.http(f"rs_0123456789ab_{canary['guess']}") as guesser:
                for method, path, body in _errors():
                    shown.append(http.request(method, path, json=body).text)
                    shown.append(guesser.request(method, path, json=body).text)
                shown += [
                    http.get(path).text for path in ("/metrics", "/v1/jobs", "/openapi.json", "/docs", "/v1/documents")
                ]
            shown.append(repr(settings) + repr(api.service.accounts.all()) + repr(kb.settings))
            kb.export_snapshot(tmp_path / "out.ragstone")
            with zipfile.ZipFile(tmp_path / "out.ragstone") as archive:
                shown += [archive.read(name).decode("latin-1") for name in archive.namelist()]
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
    secret_part = key.split("_", 2)[2]  # rs_ID_SECRET; the secret may hold the mark, too
    written = {path.name: path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()}
    for name, value in {**canary, "key": secret_part}.items():
        assert value not in "\n".join(shown), f"{name} was shown"
        assert value not in log.getvalue(), f"{name} is in the log"
        found = [file for file, content in written.items() if value.encode() in content]
        assert found == [], f"{name} is in {found}"
    says("19", secrets=len(canary) + 1, answers=len(shown), log_bytes=len(log.getvalue()), found=0)
    assert len(log.getvalue()) > 1000  # the log was listened to


def _chat_through(api: Any, url: str) -> None:
    settings = api.service.kb.settings.with_values(llm__base_url=url, llm__model="fake", llm__deadline_s=3)
    api.service.kb.settings = settings
    api.service.kb._chat, api.service.kb._chat_opened = OpenAIChat(settings.llm), True


def _ask(api: Any, key: str, stream: bool, question: str) -> str:
    with api.http(key) as http:
        body = {"model": "default", "stream": stream, "messages": [{"role": "user", "content": question}]}
        return str(http.post("/v1/chat/completions", json=body).text)


def _errors() -> list[tuple[str, str, Any]]:
    return [
        ("POST", "/v1/search", {"query": "tea", "filter": "type =="}), ("POST", "/v1/search", {}), ("GET", "/v1/documents/none", None),
        ("POST", "/v1/chat/completions", {"model": "none", "messages": [{"role": "user", "content": "x"}]}),
        ("POST", "/v1/documents", {"documents": []}), ("DELETE", "/v1/documents/none", None), ("GET", "/nowhere", None),
        ("PATCH", "/v1/documents/tea", {"acl": ["a|b"]}), ("GET", f"/v1/jobs/{'0' * 32}", None), ("PUT", "/v1/models", {}),
    ]  # fmt: skip
