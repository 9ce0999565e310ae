"""What the HTTP API adds to a call in the process, and how it bears 100 chats at once.

    python -m bench.serve [--chats 100] [--model-s 2] [--queries 200] [--passages 600]

The chat model is scripted: it speaks OpenAI's protocol on a loopback port and takes `model-s` seconds for its first word.
Prints one JSON document. The machine may be shared: look at the load beside the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2

from bench.hashing import HashingEmbedder
from bench.run import passages
from rag.knowledge_base import KnowledgeBase
from rag.settings import Settings
from rag.types import Document

SERVER = """
import sys
from bench.hashing import HashingEmbedder
from rag.knowledge_base import KnowledgeBase
from rag.settings import Settings
from ui.api.server import serve
settings = Settings().with_values(llm__base_url=sys.argv[2], llm__model="scripted", search__cache=False)
with KnowledgeBase.open(sys.argv[1], settings=settings) as kb:
    kb._embedder = HashingEmbedder()
    serve(kb, host="127.0.0.1", port=int(sys.argv[3]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chats", type=int, default=100)
    parser.add_argument("--model-s", type=float, default=2.0)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--passages", type=int, default=600)
    options = parser.parse_args()
    print(json.dumps(run(options.chats, options.model_s, options.queries, options.passages), indent=2))


def run(
    n_chats: int, model_s: float, n_queries: int, n_passages: int, settings: Settings | None = None
) -> dict[str, Any]:
    texts = passages(n_passages, 120)
    with tempfile.TemporaryDirectory() as home, _scripted_model(model_s) as model:
        quiet = (settings or Settings()).with_values(llm__model="none", search__cache=False)
        with KnowledgeBase.open(home, settings=quiet) as kb:
            kb._embedder = HashingEmbedder()
            kb.ingest([Document(text, doc_id=f"p{at}") for at, text in enumerate(texts)])
            queries = [" ".join(text.split()[3:9]) for text in texts[:n_queries]]
            with _server(home, model) as (url, process):
                return {
                    "load": os.getloadavg()[0], "cores": os.cpu_count(), "passages": n_passages,
                    "search": _overhead(kb, url, queries), "chats": asyncio.run(_chats(url, process, n_chats, queries)),
                }  # fmt: skip


def _overhead(kb: KnowledgeBase, url: str, queries: list[str]) -> dict[str, Any]:
    """The same queries in the process and over HTTP, in turn."""
    inside, outside = [], []
    with httpx2.Client(base_url=url, trust_env=False, timeout=60) as http:
        n_warm = len(queries[:10])
        for at, query in enumerate([*queries[:10], *queries]):
            started = time.perf_counter()
            kb.search(query, mode="hybrid")
            middle = time.perf_counter()
            http.post("/v1/search", json={"query": query, "mode": "hybrid"}).raise_for_status()
            if at >= n_warm:
                inside.append(1000 * (middle - started))
                outside.append(1000 * (time.perf_counter() - middle))
    return {"in_process_ms": _spread(inside), "http_ms": _spread(outside),
            "overhead_p50_ms": round(statistics.median(outside) - statistics.median(inside), 2)}  # fmt: skip


async def _chats(url: str, process: int, n_chats: int, queries: list[str]) -> dict[str, Any]:
    limits = httpx2.Limits(max_connections=n_chats)
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=120, limits=limits) as http:
        await http.get("/healthz")
        started, cpu = time.perf_counter(), _cpu_s(process)
        found = await asyncio.gather(
            *(_chat(http, queries[at % len(queries)]) for at in range(n_chats)), return_exceptions=True
        )
        seconds, cpu = time.perf_counter() - started, _cpu_s(process) - cpu
    answered = [one for one in found if isinstance(one, float)]
    failed = [repr(one) for one in found if not isinstance(one, float)]
    return {"n": n_chats, "answered": len(answered), "seconds": round(seconds, 2), "server_cpu_ms_each": round(1000 * cpu / n_chats, 1), "failed": failed[:3],
            "first_token_s": _spread(answered)}  # fmt: skip


async def _chat(http: httpx2.AsyncClient, question: str) -> float:
    """Seconds to the first token of an answer that ended as it should."""
    body = {
        "model": "default",
        "stream": True,
        "messages": [{"role": "user", "content": f"What is said about {question}?"}],
    }
    started, first, ended = time.perf_counter(), 0.0, False
    async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if not first and '"content": "' in line and '"content": ""' not in line:
                first = time.perf_counter() - started
            ended = ended or line == "data: [DONE]"
    if not ended:
        raise RuntimeError("the answer has no end")
    return first


def _cpu_s(process: int) -> float:
    """Processor time that a process has used; 0 where /proc does not tell."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return 0.0


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values) or [0.0]
    return {"p50": round(statistics.median(ordered), 2), "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 2)}


@contextmanager
def _server(home: str, model: str) -> Iterator[tuple[str, int]]:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", SERVER, home, model, str(port)], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                if httpx2.get(f"{url}/readyz", trust_env=False).status_code == 200:
                    break
            except httpx2.TransportError:
                if process.poll() is not None:
                    raise RuntimeError("the server ended") from None
                time.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def _scripted_model(seconds: float) -> Iterator[str]:
    """An OpenAI endpoint that thinks for so long and says the same to all."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(seconds)
            words = [{"content": word} for word in ("It ", "is ", "written ", "[1].")]
            events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in words]
            events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            body = b"".join(
                b"data: "
                + json.dumps({"id": "x", "object": "chat.completion.chunk", "model": "scripted", **one}).encode()
                + b"\n\n"
                for one in events
            )
            body += b"data: [DONE]\n\n"
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 512
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
