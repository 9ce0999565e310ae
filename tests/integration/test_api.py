"""The HTTP API over real sockets: OpenAI's client, curl, and whatever schemathesis makes of its description."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from rag.knowledge_base import KnowledgeBase
from rag.search_options import PER_SEARCH
from rag.searching import NO_UNDERSTANDING
from rag.types import Document
from tests.api_server import Api, running
from tests.fakes.openai_server import OpenAIServer, calls, cut_after, says, status
from ui.api import shapes

TEA = "Oolong is a tea that is partly oxidised. It is brewed at 90 degrees for three minutes."
COFFEE = "Espresso is made under a pressure of nine bars."
STOCK: Any = {
    "type": "function",
    "function": {
        "name": "stock_of",
        "description": "grams of a tea in the shop",
        "parameters": {"type": "object", "properties": {"tea": {"type": "string"}}, "required": ["tea"]},
    },
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any) -> Iterator[Api]:
    with KnowledgeBase.open(tmp_path_factory.mktemp("api"), settings=tiny_settings) as kb:
        kb.ingest(
            [Document(TEA, doc_id="tea", title="Tea"), Document(COFFEE, doc_id="coffee", metadata={"year": 2024})]
        )
        with running(kb) as server:
            yield server


@pytest.fixture
def fresh(tmp_path: Path, tiny_settings: Any) -> Iterator[Api]:
    """An API whose keys and documents are the test's own."""
    with KnowledgeBase.open(tmp_path / "home", settings=tiny_settings) as kb, running(kb) as server:
        yield server


def chatting(api: Api, server: OpenAIServer) -> None:
    """Let the API answer with this chat endpoint."""
    from rag.chat import OpenAIChat

    settings = api.service.kb.settings.with_values(
        llm__base_url=server.url, llm__model="fake-model", llm__deadline_s=20
    )
    api.service.kb.settings = settings
    api.service.kb._chat, api.service.kb._chat_opened = OpenAIChat(settings.llm), True


def client(api: Api, key: str = "any") -> openai.OpenAI:
    import httpx2

    return openai.OpenAI(
        base_url=f"{api.url}/v1", api_key=key, max_retries=0, http_client=httpx2.Client(trust_env=False)
    )


# ---------------------------------------------------------------- OpenAI's client


def test_openai_lists_the_collections(api: Api) -> None:
    assert [model.id for model in client(api).models.list()][0] == "default"
    assert client(api).models.retrieve("default").owned_by == "ragstone"
    with pytest.raises(openai.NotFoundError):
        client(api).models.retrieve("nothing")


def test_openai_chats_with_a_collection(api: Api) -> None:
    with OpenAIServer([says("It is brewed at 90 degrees [1].")]) as model:
        chatting(api, model)
        reply = client(api).chat.completions.create(
            model="default", messages=[{"role": "user", "content": "At how many degrees is oolong brewed?"}]
        )
    assert reply.choices[0].message.content == "It is brewed at 90 degrees [1]."
    assert reply.choices[0].finish_reason == "stop" and reply.usage and reply.usage.completion_tokens == 7
    (citation,) = reply.model_extra["citations"]  # type: ignore[index]
    assert citation["doc_id"] == "tea" and TEA[citation["start"] : citation["end"]] == citation["quote"]


def test_openai_streams(api: Api) -> None:
    with OpenAIServer([says("It is brewed at 90 degrees [1].")]) as model:
        chatting(api, model)
        chunks = list(
            client(api).chat.completions.create(
                model="default", stream=True, stream_options={"include_usage": True},
                messages=[{"role": "user", "content": "At how many degrees is oolong brewed?"}],
            )
        )  # fmt: skip
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "It is brewed at 90 degrees [1]." and len(chunks) > 4
    last = next(chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason)
    assert last.choices[0].finish_reason == "stop" and last.model_extra["citations"][0]["doc_id"] == "tea"  # type: ignore[index]
    assert chunks[-1].usage and chunks[-1].usage.total_tokens == 18


def test_a_conversation_goes_on(api: Api) -> None:
    """The second question means nothing without the first, and the chat model is asked what it means."""
    with OpenAIServer([says('{"question": "How long is oolong brewed?"}'), says("For three minutes [1].")]) as model:
        chatting(api, model)
        reply = client(api).chat.completions.create(
            model="default",
            messages=[
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": "At how many degrees is oolong brewed?"},
                {"role": "assistant", "content": "At 90 degrees [1]."},
                {"role": "user", "content": [{"type": "text", "text": "And how long?"}]},
            ],
        )
    assert "three minutes" in (reply.choices[0].message.content or "")
    assert reply.model_extra["ragstone"]["question"] == "How long is oolong brewed?"  # type: ignore[index]


@pytest.mark.parametrize("stream", [False, True])
def test_openai_calls_the_clients_tools(api: Api, stream: bool) -> None:
    """The model searches here, asks for a call there, and answers from both."""
    messages: list[Any] = [{"role": "user", "content": "At how many degrees is oolong brewed, and how much is left?"}]
    script = [calls(("search", {"query": "oolong degrees"})), calls(("stock_of", {"tea": "oolong"}))]
    with OpenAIServer([*script, calls(("search", {"query": "oolong degrees"})), says("It is brewed at 90 degrees [1]; 250 g are left.")]) as model:  # fmt: skip
        chatting(api, model)
        ask = client(api).chat.completions.create
        first = ask(model="default", messages=messages, tools=[STOCK], stream=stream)
        call, finish = _only_call(first, stream)
        assert (call["function"]["name"], json.loads(call["function"]["arguments"]), finish) == ("stock_of", {"tea": "oolong"}, "tool_calls")  # fmt: skip
        messages += [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "tool_call_id": call["id"], "content": "250 g"}]  # fmt: skip
        last = ask(model="default", messages=messages, tools=[STOCK])
        seen = json.dumps(model.requests[-1].json, ensure_ascii=False)
    assert last.choices[0].message.content == "It is brewed at 90 degrees [1]; 250 g are left."
    assert last.model_extra["citations"][0]["doc_id"] == "tea" and "250 g" in seen  # type: ignore[index]


def _only_call(reply: Any, stream: bool) -> tuple[dict[str, Any], str]:
    """The call in a reply, as a client puts it together, and the finish reason."""
    if not stream:
        return reply.choices[0].message.tool_calls[0].model_dump(), reply.choices[0].finish_reason
    chunks = [chunk.choices[0] for chunk in reply]
    (call,) = [one for chunk in chunks for one in chunk.delta.tool_calls or ()]
    return call.model_dump(exclude={"index"}), chunks[-1].finish_reason


def test_a_client_may_forbid_its_tools(api: Api) -> None:
    with OpenAIServer([says("It is brewed at 90 degrees [1].")]) as model:
        chatting(api, model)
        reply = client(api).chat.completions.create(
            model="default", tools=[STOCK], tool_choice="none",
            messages=[{"role": "user", "content": "At how many degrees is oolong brewed?"}],
        )  # fmt: skip
        assert "stock_of" not in json.dumps(model.requests[-1].json)
    assert reply.choices[0].finish_reason == "stop"


def test_openai_gets_json_in_its_shape(api: Api) -> None:
    schema = {
        "type": "object",
        "properties": {"degrees": {"type": "integer"}},
        "required": ["degrees"],
        "additionalProperties": False,
    }
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "tea", "schema": schema}}
    ask: Any = {
        "model": "default",
        "messages": [{"role": "user", "content": "At how many degrees is oolong brewed?"}],
        "response_format": wanted,
    }
    with OpenAIServer([says('{"degrees": "90"}'), says('{"degrees": 90}')]) as model:
        chatting(api, model)
        reply = client(api).chat.completions.create(**ask)
        chunks = list(client(api).chat.completions.create(**ask, stream=True))
    assert json.loads(reply.choices[0].message.content or "") == {"degrees": 90}
    assert reply.model_extra["citations"][0]["doc_id"] == "tea"  # type: ignore[index]
    assert json.loads("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)) == {
        "degrees": 90
    }


def test_a_reply_that_breaks_off_never_looks_whole(api: Api) -> None:
    ask = {"model": "default", "messages": [{"role": "user", "content": "At how many degrees is oolong brewed?"}]}
    with OpenAIServer([cut_after("It is brewed at 90 "), cut_after("It is brewed at 90 ")]) as model:
        chatting(api, model)
        with pytest.raises(openai.APIStatusError) as refused:
            client(api).chat.completions.create(**ask)  # type: ignore[call-overload]
        assert refused.value.status_code == 502 and refused.value.code == "E_LLM_INCOMPLETE"
        with pytest.raises(openai.APIError, match="broke|end"):
            list(client(api).chat.completions.create(**ask, stream=True))  # type: ignore[call-overload]


def test_a_model_that_says_nothing_leaves_quotations(api: Api) -> None:
    with OpenAIServer([status(401)]) as model:
        chatting(api, model)
        reply = client(api).chat.completions.create(
            model="default", messages=[{"role": "user", "content": "At how many degrees is oolong brewed?"}]
        )
    assert "90 degrees" in (reply.choices[0].message.content or "")
    assert "E_LLM_AUTH" in reply.model_extra["ragstone"]["warnings"][0]  # type: ignore[index]


@pytest.mark.parametrize(
    ("change", "says_so"),
    [
        ({"tools": [{"type": "function", "function": {}}]}, "tool"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"messages": [{"role": "user", "content": "hello"}, {"role": "tool", "tool_call_id": "c9", "content": "9"}]}, "call with its id"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"messages": [{"role": "assistant", "content": "hello"}]}, "last message"),
        ({"messages": [{"role": "user", "content": "  "}]}, "empty"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "text"),
        ({"ragstone": {"filter": "type =="}}, "filter"),
        ({"ragstone": {"expand": "none", "depths": {"bm52": 3}}}, "no retriever 'bm52'"),
        ({"model": "agent:react", "ragstone": {"explain": True, "filter": "year == 2024"}}, "leave out ragstone.filter"),
        ({"tools": [STOCK], "ragstone": {"filter": "year == 2024"}}, "leave out ragstone.filter"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_what_a_collection_cannot_do_is_refused_before_anything_is_sent(
    api: Api, change: dict[str, Any], says_so: str, stream: bool
) -> None:
    body = {
        "model": "default",
        "messages": [{"role": "user", "content": "What is oolong?"}],
        "stream": stream,
        **change,
    }
    with api.http() as http:
        answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400 and says_so in answer.json()["error"]["message"]


def test_an_agent_is_a_model(api: Api) -> None:
    final = '{"thought": "I know enough.", "action": "final_answer", "args": {"answer": "Ninety degrees."}}'
    with OpenAIServer(always=says(final)) as model:
        chatting(api, model)
        names = [one.id for one in client(api).models.list()]
        assert {"default", "agent:react", "agent:plan"} <= set(names)
        ask = [{"role": "user", "content": "At how many degrees is oolong brewed?"}]
        with pytest.raises(openai.NotFoundError):
            client(api).chat.completions.create(model="agent:nothing", messages=ask)  # type: ignore[arg-type]
        parts = list(client(api).chat.completions.create(model="agent:react", messages=ask, stream=True))  # type: ignore[arg-type]
    assert parts[-1].choices[0].finish_reason == "stop" and model.requests


# ---------------------------------------------------------------- curl


def curl(*arguments: str) -> tuple[int, str]:
    command = ["curl", "-sS", "--noproxy", "*", "--max-time", "30", "-w", "\n%{http_code}", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    body, _, code = ended.stdout.rpartition("\n")
    return int(code), body


def test_curl_imports_a_file_searches_and_deletes(fresh: Api, tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text("# Samovars\n\nThe samovar stands in the attic.\n")
    code, body = curl(
        "-F", f"file=@{tmp_path / 'note.md'}", "-F", "collection=attic", f"{fresh.url}/v1/documents?wait=30"
    )
    job = json.loads(body)
    assert (code, job["state"]) == (200, "done") and job["result"]["documents"]["added"] == 1
    search = json.dumps({"query": "samovar", "collection": "attic", "mode": "bm25"})
    code, body = curl("-H", "Content-Type: application/json", "-d", search, f"{fresh.url}/v1/search")
    (hit,) = json.loads(body)["hits"]
    assert code == 200 and hit["source"] == "upload:/note.md" and "attic" in hit["text"]
    code, body = curl(f"{fresh.url}/v1/documents?collection=attic")
    (document,) = json.loads(body)["documents"]
    assert document["state"] == "live" and document["type"] == "markdown" and document["doc_id"] == hit["doc_id"]
    code, body = curl(f"{fresh.url}/v1/documents/{hit['doc_id']}?collection=attic&text=true")
    assert "The samovar stands in the attic." in json.loads(body)["text"]
    code, body = curl("-X", "DELETE", f"{fresh.url}/v1/documents/{hit['doc_id']}?collection=attic")
    assert (code, json.loads(body)["deleted"]) == (200, True)
    assert curl(f"{fresh.url}/v1/documents/{hit['doc_id']}?collection=attic")[0] == 404
    assert (
        json.loads(curl("-H", "Content-Type: application/json", "-d", search, f"{fresh.url}/v1/search")[1])["hits"]
        == []
    )
    assert not any((fresh.service.kb.home / "uploads").iterdir())


def test_probes_metrics_and_pages(api: Api) -> None:
    assert curl(f"{api.url}/healthz")[0] == 200
    assert json.loads(curl(f"{api.url}/readyz")[1]) == {"ok": True, "not_ready": {}}
    assert "/v1/chat/completions" in curl(f"{api.url}/docs")[1]
    code, text = curl(f"{api.url}/metrics")
    assert code == 200 and 'ragstone_requests_total{method="GET",route="/healthz",status="200"}' in text
    assert "ragstone_ready 1" in text and "ragstone_request_seconds_bucket" in text


# ---------------------------------------------------------------- documents and jobs


def test_texts_are_imported_and_the_job_tells_how_far_it_is(fresh: Api) -> None:
    with fresh.http() as http:
        made = http.post("/v1/documents", json={"documents": [{"text": TEA, "doc_id": "tea"}, {"text": " \n "}]})
        assert made.status_code == 202 and made.headers["location"] == f"/v1/jobs/{made.json()['id']}"
        with http.stream("GET", f"{made.headers['location']}/events") as stream:
            lines = [line for line in stream.iter_lines() if line.startswith("event:")]
        assert lines[-1] == "event: end"
        job = http.get(made.headers["location"]).json()
        assert job["state"] == "done" and job["result"]["documents"] | {"unchanged": 0} == {"added": 1, "updated": 0, "unchanged": 0, "deleted": 0, "failed": 1}  # fmt: skip
        assert job["result"]["failures"][0]["code"] == "E_NO_TEXT"
        assert [one["id"] for one in http.get("/v1/jobs").json()["jobs"]] == [job["id"]]
        assert http.delete(f"/v1/jobs/{job['id']}").status_code == 409


def test_the_same_request_sent_again_is_done_once(fresh: Api) -> None:
    with fresh.http() as http:
        ask = {"documents": [{"text": TEA, "doc_id": "tea"}]}
        first = http.post("/v1/documents", json=ask, headers={"Idempotency-Key": "one"})
        again = http.post("/v1/documents?wait=20", json=ask, headers={"Idempotency-Key": "one"})
        assert again.json()["id"] == first.json()["id"] and again.json()["state"] == "done"
        other = http.post("/v1/documents", json={"documents": [{"text": COFFEE}]}, headers={"Idempotency-Key": "one"})
        assert other.status_code == 422 and other.json()["error"]["code"] == "E_IDEMPOTENCY"
        assert len(http.get("/v1/jobs").json()["jobs"]) == 1


def test_a_job_that_was_accepted_outlives_the_server(tmp_path: Path, tiny_settings: Any) -> None:
    """Accepted by a server without a worker, which ends; done by the next one."""
    with (
        KnowledgeBase.open(tmp_path / "home", settings=tiny_settings) as kb,
        running(kb, worker=False) as api,
        api.http() as http,
    ):
        job = http.post("/v1/documents", json={"documents": [{"text": TEA, "doc_id": "tea"}]}).json()
        assert http.get(f"/v1/jobs/{job['id']}").json()["state"] == "queued"
        doomed = http.post("/v1/documents", json={"documents": [{"text": COFFEE, "doc_id": "coffee"}]}).json()
        assert http.delete(f"/v1/jobs/{doomed['id']}").json()["state"] == "cancelled"
        api.service.jobs.take()  # a worker took it and was killed
    with KnowledgeBase.open(tmp_path / "home", settings=tiny_settings) as kb, running(kb) as api, api.http() as http:
        with http.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
            stream.read()
        assert http.get(f"/v1/jobs/{job['id']}").json()["state"] == "done"
        assert [one["doc_id"] for one in http.get("/v1/documents").json()["documents"]] == ["tea"]


def test_a_long_body_is_refused_whatever_its_length_says(fresh: Api) -> None:
    with fresh.http() as http:
        text = b'{"query": "' + b"x" * 11_000_000
        assert http.post("/v1/search", content=text).status_code == 413

        def pieces() -> Iterator[bytes]:
            for at in range(0, len(text), 1 << 16):
                yield text[at : at + (1 << 16)]

        answer = http.post("/v1/search", content=pieces(), headers={"Content-Type": "application/json"})
        assert answer.status_code == 413 and answer.json()["error"]["code"] == "E_TOO_LARGE"


def test_the_name_of_an_upload_is_a_label(fresh: Api) -> None:
    names = ["../../etc/passwd", "C:\\x\\y.md", "a\x00b.md", "..", "x" * 1000 + ".md", "evil\nname.md"]
    with fresh.http() as http:
        files = [("file", (name, f"The kettle sings {at}.".encode(), "text/markdown")) for at, name in enumerate(names)]
        answer = http.post("/v1/documents?wait=30", files=files)
        assert answer.status_code == 200, answer.text
        documents = http.get("/v1/documents").json()["documents"]
    assert len(documents) == len(names)
    for document in documents:
        label = document["source"].removeprefix("upload:/")
        assert "/" not in label and "\\" not in label and label.isprintable() and label.strip(".") and len(label) <= 200


# ---------------------------------------------------------------- who may do what


def test_from_the_first_key_on_every_request_needs_one(fresh: Api) -> None:
    secret = fresh.key("ann", scopes=["read"])
    routes = [
        (method.upper(), path)
        for path, methods in fresh.http(secret).get("/openapi.json").json()["paths"].items()
        for method in methods
    ]
    assert len(routes) >= 14
    with fresh.http() as nobody, fresh.http("rs_0123456789ab_guessed") as guesser:
        for method, path in routes:
            url = path.replace("{job_id}", "0" * 32).replace("{doc_id}", "tea").replace("{model}", "default")
            expected = 200 if path in ("/healthz", "/readyz") else 401
            assert nobody.request(method, url).status_code == expected, url
            assert guesser.request(method, url).status_code == expected, url
        assert nobody.get("/docs").status_code == nobody.get("/openapi.json").status_code == 401
        assert "authenticate" in str(nobody.get("/v1/models").headers).lower()
    fresh.service.accounts.revoke("ann")
    with fresh.http(secret) as ann, fresh.http() as nobody:
        assert ann.get("/v1/models").status_code == 401 and nobody.get("/v1/models").status_code == 401


def test_scopes(fresh: Api) -> None:
    with fresh.http(fresh.key("r")) as reader, fresh.http(fresh.key("w", scopes=["ingest"])) as writer:
        assert reader.post("/v1/documents", json={"documents": [{"text": TEA}]}).status_code == 403
        assert reader.delete("/v1/documents/tea").status_code == reader.get("/metrics").status_code == 403
        assert writer.post("/v1/documents?wait=20", json={"documents": [{"text": TEA}]}).status_code == 200
        assert writer.post("/v1/search", json={"query": "tea"}).json()["error"]["code"] == "E_SCOPE"
        assert reader.get("/v1/models").status_code == 200


def test_nobody_reaches_what_is_another_ones(fresh: Api) -> None:
    """Every route with every id of somebody else: 404, as if it were not there."""
    ann = fresh.http(fresh.key("ann", scopes=["read", "ingest"], names=["u:ann"]))
    bob = fresh.http(fresh.key("bob", scopes=["read", "ingest"], names=["u:bob"]))
    eve = fresh.http(fresh.key("eve", scopes=["read", "ingest"], tenant="evil"))
    job = ann.post(
        "/v1/documents?wait=20", json={"documents": [{"text": TEA, "doc_id": "tea"}], "acl": ["u:ann"]}
    ).json()
    assert ann.get("/v1/documents/tea?text=true").json()["text"] == TEA
    for other in (bob, eve):
        for method, url in [("GET", "/v1/documents/tea"), ("DELETE", "/v1/documents/tea"), ("GET", f"/v1/jobs/{job['id']}"),
                            ("GET", f"/v1/jobs/{job['id']}/events"), ("DELETE", f"/v1/jobs/{job['id']}")]:  # fmt: skip
            assert other.request(method, url).status_code == 404, url
        assert other.patch("/v1/documents/tea", json={"acl": ["all"]}).status_code == 404
        assert other.get("/v1/documents").json()["documents"] == [] and other.get("/v1/jobs").json()["jobs"] == []
        assert other.post("/v1/search", json={"query": "oolong", "mode": "bm25"}).json()["hits"] == []
    assert bob.post("/v1/documents", json={"documents": [{"text": "mine now", "doc_id": "tea"}]}).status_code == 403
    assert (
        eve.post("/v1/documents?wait=20", json={"documents": [{"text": "mine too", "doc_id": "tea"}]}).status_code
        == 200
    )
    assert ann.get("/v1/documents/tea?text=true").json()["text"] == TEA
    assert ann.patch("/v1/documents/tea", json={"acl": ["u:bob"]}).status_code == 200
    assert ann.get("/v1/documents/tea").status_code == 404 and bob.get("/v1/documents/tea").status_code == 200


def test_wrong_hosts_and_origins_get_403(api: Api) -> None:
    paths = [
        ("GET", "/healthz"),
        ("GET", "/v1/models"),
        ("POST", "/v1/search"),
        ("POST", "/v1/chat/completions"),
        ("DELETE", "/v1/documents/x"),
    ]
    for method, path in paths:
        for headers in ({"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example:8300"}, {"Host": "[::1"},
                        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}):  # fmt: skip
            with api.http() as http:
                assert http.request(method, path, headers=headers).status_code == 403, (path, headers)
    with api.http() as http:
        assert http.get("/v1/models", headers={"Origin": api.url}).status_code == 200
        assert http.get("/v1/models", headers={"Host": "localhost:8300"}).status_code == 200
        assert "access-control-allow-origin" not in http.get("/v1/models").headers


def test_rates_and_budgets(fresh: Api) -> None:
    with fresh.http(fresh.key("slow", per_minute=3)) as slow, fresh.http(fresh.key("poor", tokens_per_day=10)) as poor:
        assert [slow.get("/v1/models").status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = slow.get("/v1/models")
        assert refused.json()["error"]["code"] == "E_RATE_LIMIT" and int(refused.headers["retry-after"]) >= 1
        fresh.service.kb.ingest([Document(TEA, doc_id="tea")])
        ask = {"model": "default", "messages": [{"role": "user", "content": "At how many degrees is oolong brewed?"}]}
        with OpenAIServer([says("At 90 degrees [1].")]) as model:
            chatting(fresh, model)
            assert poor.post("/v1/chat/completions", json=ask).status_code == 200  # 18 tokens
            refused = poor.post("/v1/chat/completions", json=ask)
        assert refused.status_code == 429 and refused.json()["error"]["code"] == "E_BUDGET"
        assert poor.post("/v1/search", json={"query": "oolong", "mode": "bm25"}).status_code == 200


def test_an_expired_key_is_none(fresh: Api) -> None:
    secret = fresh.key("short", days=1e-9)
    assert fresh.http(secret).get("/v1/models").status_code == 401
    stored = (fresh.service.kb.home / "catalog.sqlite3").read_bytes()
    assert secret.encode() not in stored and secret.split("_", 2)[2].encode() not in stored


@pytest.mark.parametrize("mode", ["bm25", "keywords", "hybrid+fields", "graph"])
def test_every_mode_can_be_asked_for(api: Api, mode: str) -> None:
    with api.http() as http:
        answer = http.post("/v1/search", json={"query": "oolong tea brewed", "mode": mode})
    assert answer.status_code == 200 or (mode == "graph" and "graph build" in answer.json()["error"]["message"])


def test_an_unknown_mode_names_the_known_ones(api: Api) -> None:
    with api.http() as http:
        answer = http.post("/v1/search", json={"query": "oolong", "mode": "nope"})
    assert answer.status_code == 400 and "hybrid" in answer.json()["error"]["message"]


OPTIONS: tuple[dict[str, Any], ...] = (
    {"top_k": 1}, {"mode": "hybrid+keywords"}, {"filter": "year == 2024"}, {"mmr": 0.2}, {"summaries": "none"}, {"rerank": True, "mode": "bm25"},
    {"expand": "neighbours", "neighbours": 0}, {"cross_language": False, "cache": False}, {"graph_weight": 0.5}, {"highlight": True, "explain": True}, {"fusion": "rrf", "rrf_k": 5}, {"depth": 1}, {"depths": {"bm25": 1}},
    {"weights": {"bm25": 3.0}}, {"dense_weight": 0.9, "dense_trust": False}, {"boosts": {"year == 2024": 9.0}}, {"collapse": 0.1},
    {"recency": 9.0, "recency_days": 30.0, "recency_field": "year"}, {"rewrite": False, "multi_query": 0, "hyde": 0, "decompose": False},
    {"step_back": False, "translate": False, "auto_filter": False, "history": []},
)  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_a_search_over_http_takes_what_one_in_code_takes(api: Api, options: dict[str, Any]) -> None:
    query = "how is oolong brewed, under how many bars?"
    hits = api.service.kb.search(query, **options)
    with api.http() as http:
        answer = http.post("/v1/search", json={"query": query, **options}).json()
        body = {"model": "default", "messages": [{"role": "user", "content": query}]}
        chat = http.post(
            "/v1/chat/completions",
            json={**body, "ragstone": {name: one for name, one in options.items() if name != "history"}},
        ).json()
    for one, hit in zip(answer["hits"], hits, strict=True):
        assert (one["chunk_id"], one["text"], one["parts"], one["context"]) == (
            hit.chunk_id,
            hit.text,
            hit.parts,
            hit.context,
        )
        assert one["score"] == pytest.approx(hit.score) and one["highlights"] == [list(span) for span in hit.highlights]
    assert [one["chunk_id"] for one in chat["ragstone"]["hits"]] == [hit.chunk_id for hit in hits]


def test_every_option_of_a_search_is_asked_for_above() -> None:
    assert {name for one in OPTIONS for name in one} == shapes.SearchRequest.model_fields.keys() - {
        "query",
        "collection",
    }
    assert shapes.SearchRequest.model_fields.keys() >= PER_SEARCH | NO_UNDERSTANDING.keys()


def test_a_fault_is_told_as_in_code_and_where_it_is(api: Api) -> None:
    with api.http() as http:
        assert "The query is empty" in http.post("/v1/search", json={"query": " \u3000"}).json()["error"]["message"]
        assert http.post("/v1/search", json={"query": 5}).json()["error"]["param"] == "query"
        assert (
            http.post("/v1/search", json={"query": "tea", "weights": {"bm25": -1}}).json()["error"]["param"]
            == "weights.bm25"
        )
