"""A request becomes a span at the collector that the environment names; nothing that was asked is in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, os, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

got = []

class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        got.append(self.path.encode() + self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=collector.serve_forever, daemon=True).start()
os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{collector.server_address[1]}"
from opentelemetry import trace
from rag.knowledge_base import KnowledgeBase
from tests.api_server import running
from ui.api.server import set_up_traces
set_up_traces()
with KnowledgeBase.open(sys.argv[1]) as kb, running(kb, worker=False) as api, api.http() as http:
    http.post("/v1/search", json={"query": "a secret question", "mode": "bm25"})
trace.get_tracer_provider().force_flush()
spans = b"".join(got)
print(json.dumps({"sent": len(got), "route": b"/v1/search" in spans, "asked": b"secret question" in spans}))
"""


def test_requests_are_spans(repo: Path, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="the extra ragstone[otel] is not installed")
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=repo, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert json.loads(ended.stdout.splitlines()[-1]) == {"sent": 1, "route": True, "asked": False}
