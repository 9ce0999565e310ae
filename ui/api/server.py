"""Serves the API: opens the home, starts the worker, and ends without losing what was accepted. The home of uvicorn."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from rag.errors import RagstoneError, UsageError
from rag.knowledge_base import KnowledgeBase
from ui.api.guard import is_loopback
from ui.api.service import Service
from ui.api.worker import Worker

WORKER_STOP_S = 60.0
CLOSING_S, STUCK_S = 20.0, 2.0  # for the main thread to end once nothing is served, and then for the others


def serve(kb: KnowledgeBase, *, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C; then no new request is taken, and running ones have api.grace_s to end.

    Raises: UsageError for an address that others can reach while there is no key; RagstoneError for a taken port.
    """
    import uvicorn

    from ui.api.app import create_app

    set_up_logs(kb.settings.api.log_format)
    service = Service(kb, open_to_all=is_loopback(host))
    if first := os.environ.get("RAGSTONE_FIRST_KEY"):
        service.accounts.adopt(first, "first")
    if not is_loopback(host) and not service.accounts.any_keys():
        raise UsageError(
            f"Others could reach {host}, and there is no key yet. Make one with `ragstone keys create NAME`, or serve on 127.0.0.1."
        )
    worker = Worker(kb, service.jobs, service.wake) if kb.settings.api.worker else None

    def start() -> None:
        if worker is not None:
            worker.start()
        threading.Thread(target=kb.warm, name="warm", daemon=True).start()
        sys.stderr.write(
            f"ragstone: the API is at http://{'[' + host + ']' if ':' in host else host}:{port}/v1; Ctrl-C ends it\n"
        )

    def stop() -> None:
        if worker is not None:
            worker.stop(WORKER_STOP_S)

    set_up_traces()
    config = uvicorn.Config(
        create_app(service, on_start=start, on_stop=stop), host=host, port=port, log_config=None, access_log=False,
        server_header=False, timeout_graceful_shutdown=max(1, round(kb.settings.api.grace_s)), limit_concurrency=None,
        h11_max_incomplete_event_size=64 * 1024, forwarded_allow_ips="127.0.0.1", proxy_headers=False,
    )  # fmt: skip
    _run(config, on_signal=service.stopping.set, last=kb.close)


def serve_app(app: Any, *, host: str, port: int, grace_s: int) -> None:
    """Serve an application that has no home, such as models or the sandbox, until SIGTERM or Ctrl-C.

    Raises: RagstoneError for a taken port.
    """
    import uvicorn

    _run(
        uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False, server_header=False,
                       timeout_graceful_shutdown=grace_s)
    )  # fmt: skip


def _taken(host: str, port: int) -> RagstoneError:
    return RagstoneError(f"The server could not start on {host}:{port}. Is the port in use? Try --port {port + 1}.")


def _run(config: Any, *, on_signal: Callable[[], None] = lambda: None, last: Callable[[], None] = lambda: None) -> None:
    """Run uvicorn to its end. on_signal: called at once, so that streams of progress end. last: see `_end_surely`.

    Raises: RagstoneError for a taken port.
    """
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            on_signal()
            super().handle_exit(sig, frame)

        async def shutdown(self, sockets: Any = None) -> None:
            await super().shutdown(sockets)
            _end_surely(last, "a request was still waiting for a model")

    server = Server(config)
    let_signals_pass()
    try:
        server.run()
    except SystemExit as stopped:  # uvicorn's way to say that it could not start
        raise _taken(config.host, config.port) from stopped
    if not server.started:
        raise _taken(config.host, config.port)


def _end_surely(last: Callable[[], None], while_what: str) -> None:
    """See to it that this process ends, now that its work is done.

    A thread that waits for a model or a library cannot be called off, and Python ends no process before its threads. So where
    one is still waiting when all else has ended, the process is ended here; `last` is called if the main thread did not get
    that far.
    """

    def end() -> None:
        main = threading.main_thread()
        main.join(CLOSING_S)
        if main.is_alive():
            last()
        else:
            threading.Event().wait(STUCK_S)
        logging.getLogger("ragstone.api").warning("ended while %s", while_what)
        os._exit(0)

    threading.Thread(target=end, name="end", daemon=True).start()


def let_signals_pass() -> None:
    """uvicorn sends itself the signal again once it has ended; what is open here is still to be closed then."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)


def work(kb: KnowledgeBase, stop: threading.Event, ready: Callable[[], None] = lambda: None) -> None:
    """Work on jobs in this process until `stop` is set; for an API with api.worker = false."""
    from rag.jobs import Jobs

    set_up_logs(kb.settings.api.log_format)
    worker = Worker(kb, Jobs(kb.catalog.engine), threading.Event())
    worker.start()
    ready()
    stop.wait()
    worker.stop(WORKER_STOP_S)
    _end_surely(kb.close, "a thread was still busy")


def set_up_traces() -> None:
    """Send a span per request to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names; FastAPI makes them.

    Raises: UsageError when the variable is set and the SDK is not installed.
    """
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise UsageError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, which needs OpenTelemetry's SDK: pip install 'ragstone[otel]' ({error})."
        ) from error
    provider = TracerProvider(
        resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "ragstone")})
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def set_up_logs(form: str) -> None:
    """Our lines on stderr, as text or as one JSON object each. Nothing that was asked or answered is in them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger("ragstone")
    root.handlers[:], root.propagate = [handler], False
    root.setLevel(logging.INFO)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        more = " ".join(f"{name}={fields[name]}" for name in ("status", "ms", "key", "request_id") if fields.get(name))
        return f"{super().format(record)} {more}".rstrip().replace("\n", "\\n" if not record.exc_info else "\n")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname, "logger": record.name,
                "message": record.getMessage(), **getattr(record, "fields", {})}  # fmt: skip
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
