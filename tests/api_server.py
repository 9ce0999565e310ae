"""The HTTP API on a port from the kernel, in a thread of the test, over real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2 as httpx
import uvicorn

from rag.knowledge_base import KnowledgeBase
from ui.api.app import create_app
from ui.api.service import Service
from ui.api.worker import Worker


class Api:
    """A running API. `url`: without /v1. `http(secret)`: a client, with a key if there is one."""

    def __init__(self, service: Service, url: str) -> None:
        self.service, self.url = service, url

    def http(self, secret: str | None = None, **headers: str) -> httpx.Client:
        if secret:
            headers["Authorization"] = f"Bearer {secret}"
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)

    def key(self, name: str, **options: Any) -> str:
        """The secret of a new key."""
        return self.service.accounts.create(name, **options)[1]


@contextmanager
def running(kb: KnowledgeBase, *, open_to_all: bool = True, worker: bool = True) -> Iterator[Api]:
    service = Service(kb, open_to_all=open_to_all)
    works = Worker(kb, service.jobs, service.wake)
    app = create_app(service, on_start=works.start if worker else lambda: None, on_stop=lambda: works.stop(30))
    with listening(app) as url:
        try:
            yield Api(service, url)
        finally:
            service.stopping.set()


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """An ASGI application on a port from the kernel; its URL."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5))
    started = threading.Event()
    startup = server.startup

    async def announced(sockets: Any = None) -> None:
        await startup(sockets)
        started.set()

    server.startup = announced  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    assert started.wait(30), "the server did not start"
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
