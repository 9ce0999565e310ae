"""A real web server on loopback for tests: answers are given by path, requests are on record."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rag.settings import FetchSettings

Answer = tuple[int, dict[str, str], bytes] | Callable[[BaseHTTPRequestHandler], None]


class Site:
    """A running server. `answers` maps a path to (status, headers, body), or to a function that writes by itself."""

    def __init__(self, answers: dict[str, Answer], host: str = "127.0.0.1", port: int = 0) -> None:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append((self.path, dict(self.headers)))
                answer = site.answers.get(self.path, (404, {}, b"no such page"))
                if not isinstance(answer, tuple):
                    with contextlib.suppress(OSError):
                        answer(self)
                    return
                status, headers, body = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.answers = answers
        self.requests: list[tuple[str, dict[str, str]]] = []
        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://{host}:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]

    def settings(self, **values: object) -> FetchSettings:
        """Settings that let this server be asked."""
        return FetchSettings(**{"allow_hosts": ["127.0.0.1"], "ports": [self.port], **values})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def site(answers: dict[str, Answer]) -> Iterator[Site]:
    opened = Site(answers)
    try:
        yield opened
    finally:
        opened.close()


HTML = {"Content-Type": "text/html; charset=utf-8"}


def page(body: str) -> Answer:
    return 200, HTML, body.encode()
