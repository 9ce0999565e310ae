"""The sandbox service: runs agents' programs away from the page and the API, their secrets and their files.

One route behind a key. A program runs in the sandbox of agents/sandbox, here as there: that the service has a container
of its own is a second wall, not the first.
"""

from __future__ import annotations

import threading
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from agents.sandbox.remote import as_json
from agents.sandbox.runner import MAX_CODE, Limits, choose, run
from rag.accounts import Key
from rag.settings import AgentSettings, ApiSettings
from ui.api import service as api
from ui.api.app import guard_small
from ui.api.metrics import Metrics

AT_ONCE = 4  # programs; others wait their turn
WAIT_S = 5.0  # for it


class RunRequest(BaseModel):
    """A program, and what it may take; never more than the service's own settings allow."""

    model_config = ConfigDict(extra="forbid")

    code: str = Field(max_length=MAX_CODE)
    seconds: float = Field(gt=0)
    memory_mb: int = Field(ge=64)


class SandboxService:
    """Who may run programs here, and how many at once. Raises: UsageError where no sandbox holds."""

    def __init__(self, settings: AgentSettings, *, key: str, hosts: list[str]) -> None:
        self.backend = choose(settings.sandbox)
        self.most = Limits(seconds=settings.sandbox_s, memory_mb=settings.sandbox_memory_mb)
        self.settings = ApiSettings(hosts=hosts, origins=[], max_body_mb=1)  # type: ignore[call-arg]
        self.limits = api.Limits(running=4 * AT_ONCE, running_per_key=4 * AT_ONCE)
        self.metrics = Metrics()
        self.turns = threading.BoundedSemaphore(AT_ONCE)
        self._key = key

    def caller(self, authorization: str | None) -> Key:
        return api.with_the_key(authorization, self._key, "The sandbox")


def create_sandbox_app(service: SandboxService) -> FastAPI:
    app = FastAPI(title="ragstone sandbox", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    guard_small(app, service)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "backend": service.backend}

    @app.post("/v1/run")
    def run_program(body: RunRequest) -> dict[str, Any]:
        most = service.most
        limits = Limits(seconds=min(body.seconds, most.seconds), memory_mb=min(body.memory_mb, most.memory_mb))
        if not service.turns.acquire(timeout=WAIT_S):
            raise api.Refused(503, "E_BUSY", f"{AT_ONCE} programs are running. Try again in a moment.", after_s=1)
        try:
            return as_json(run(body.code, limits=limits, backend=service.backend))
        finally:
            service.turns.release()

    return app
