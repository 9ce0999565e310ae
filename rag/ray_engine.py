"""Parsing and embedding on Ray workers: the home of ray. What is written stays with the process that imports.

Workers get bytes and texts and give back documents and vectors; they see neither the catalog nor the store. So a
worker that dies loses nothing and writes nothing twice: Ray starts it anew and gives it its unfinished calls again.
Each worker reads files in a child process of its own with the limits of [parse], just as a local import does.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rag.errors import DocumentError, ModelError, SettingsError, UsageError
from rag.late_interaction import with_tokens
from rag.parsing import ParserPool, side_by_side
from rag.settings import ParseSettings, Settings
from rag.types import Embedder, ParsedDocument

RETRIES = 5  # of one call whose worker died; the next one is given up on
START_TIMEOUT_S = 300.0
CONNECT_TIMEOUT_S = 10.0
TEXTS_PER_CALL = 64
OBJECT_STORE_MB = 256  # of a Ray that this process starts
_T = TypeVar("_T")
_R = TypeVar("_R")
_PASSED = ("HF_HUB_OFFLINE", "RAGSTONE_MODELS", "TOKENIZERS_PARALLELISM")


class RayEngine:
    """Workers on a Ray cluster, or on a Ray of this machine when no address is given. Use as a context manager.

    embedder: this process's, which counts tokens; the workers' must be the same model.
    Raises: SettingsError when ray is not installed; UsageError when the cluster does not answer.
    """

    def __init__(self, settings: Settings, embedder: Embedder, *, workers: int = 0) -> None:
        self.workers = workers or settings.parse.workers or min(os.cpu_count() or 1, 4)
        self._ray = _connect(settings.ingest.ray_address, self.workers)
        self._settings = settings
        self._actors = [self._start_worker() for _ in range(self.workers)]
        self._next = 0
        self._lock = threading.Lock()
        self.embedder = RayEmbedder(self, embedder)
        self._check(embedder)

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers, and Ray if this process started it."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors = []
        self._ray.shutdown()

    def parsers(self, settings: ParseSettings) -> RayParsers:
        return RayParsers(self, settings)

    def call(self, method: str, *arguments: Any) -> Any:
        """Start a call on the worker whose turn it is. Returns what `result` takes."""
        with self._lock:
            actor = self._actors[self._next % len(self._actors)]
            self._next += 1
        return getattr(actor, method).remote(*arguments)

    def result(self, reference: Any) -> Any:
        """What a call came to. Raises: what the worker raised; ModelError when its workers died again and again."""
        from ray.exceptions import RayError, RayTaskError

        try:
            return self._ray.get(reference)
        except RayTaskError as error:
            raise (
                error.cause
                if isinstance(error.cause, Exception)
                else ModelError(f"A Ray worker failed: {error.cause}.")
            ) from error
        except RayError as error:
            raise ModelError(
                f"Ray workers died {RETRIES + 1} times over one call ({type(error).__name__}). Check their memory, then run the command again."
            ) from error

    def pids(self) -> list[int]:
        """Process ids of the workers, on whichever machine they are."""
        return [
            int(pid) for pid in self._ray.get([actor.pid.remote() for actor in self._actors], timeout=START_TIMEOUT_S)
        ]

    def _start_worker(self) -> Any:
        options = {"num_cpus": 1, "max_restarts": -1, "max_task_retries": RETRIES}
        passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
        remote = self._ray.remote(**options)(_Worker)
        return remote.options(runtime_env={"env_vars": passed}).remote(self._settings)

    def _check(self, embedder: Embedder) -> None:
        """The workers' model must be ours, or vectors of two spaces would meet in one index."""
        try:
            found = self._ray.get([actor.fingerprint.remote() for actor in self._actors], timeout=START_TIMEOUT_S)
        except Exception as error:  # ray raises a dozen kinds here
            self.close()
            raise UsageError(
                f"The Ray workers did not start ({_first_line(error)}). Check `ray status` and ingest.ray_address."
            ) from error
        if set(found) != {embedder.fingerprint}:
            self.close()
            raise ModelError(
                f"The Ray workers hold other files of the model {embedder.name}. Install the same on every machine."
            )


class RayEmbedder:
    """The embedder of an import whose passages are embedded on workers; everything else is this process's."""

    def __init__(self, engine: RayEngine, local: Embedder) -> None:
        self._engine, self._local = engine, local
        self.name, self.dim, self.max_tokens, self.fingerprint = (
            local.name,
            local.dim,
            local.max_tokens,
            local.fingerprint,
        )

    def embed_passages(self, texts: Sequence[str]) -> Any:
        """In order; vectors of several workers side by side."""
        if not texts:
            return self._local.embed_passages(texts)
        calls = [
            self._engine.call("embed", list(texts[at : at + TEXTS_PER_CALL]))
            for at in range(0, len(texts), TEXTS_PER_CALL)
        ]
        return np.concatenate([self._engine.result(call) for call in calls])

    @property
    def keeps_tokens(self) -> bool:
        return with_tokens(self._local) is not None

    def embed_with_tokens(self, texts: Sequence[str]) -> tuple[Any, list[bytes]]:
        """As embed_passages, and the signs of each text's tokens."""
        calls = [
            self._engine.call("embed_with_tokens", list(texts[at : at + TEXTS_PER_CALL]))
            for at in range(0, len(texts), TEXTS_PER_CALL)
        ]
        if not calls:
            return self._local.embed_passages(texts), []
        found = [self._engine.result(call) for call in calls]
        return np.concatenate([vectors for vectors, _ in found]), [one for _, tokens in found for one in tokens]

    def query_tokens(self, text: str) -> Any:
        keeper = with_tokens(self._local)
        assert keeper is not None
        return keeper.query_tokens(text)

    def embed_queries(self, texts: Sequence[str]) -> Any:
        return self._local.embed_queries(texts)

    def token_offsets(self, text: str) -> Any:
        return self._local.token_offsets(text)

    def passage_overhead(self) -> int:
        return self._local.passage_overhead()


class RayParsers:
    """What `ParserPool` is, on workers. Files are read here, so workers need not see them."""

    def __init__(self, engine: RayEngine, settings: ParseSettings) -> None:
        self._engine, self._settings = engine, settings

    def __enter__(self) -> RayParsers:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def prepare(self) -> None:
        """Nothing: the workers are there."""

    @property
    def max_bytes(self) -> int:
        return int(self._settings.max_file_mb * 1_000_000)

    def parse(self, data: bytes, name: str, password: str = "") -> ParsedDocument:
        """Raises: DocumentError."""
        return _outcome(self._result(self._engine.call("parse", data, name, password), name))

    def side_by_side(self, work: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
        """Threads here that wait for the workers, one for each."""
        return side_by_side(self._engine.workers, work, items)

    def _result(self, call: Any, name: str) -> Any:
        try:
            return self._engine.result(call)
        except ModelError as error:
            return DocumentError(
                "E_CRASH", f"The workers died while they read {name}. Convert the file to another format. ({error})"
            )


class _Worker:
    """Lives in a process of Ray's. Its parts open at the first call that needs them."""

    def __init__(self, settings: Settings) -> None:
        from rag.embedding import open_embedder

        self._pool = ParserPool(settings.parse, workers=1)
        self._embedder = open_embedder(settings.embedding, settings.models)

    def pid(self) -> int:
        return os.getpid()

    def fingerprint(self) -> str:
        return self._embedder.fingerprint

    def parse(self, data: bytes, name: str, password: str) -> ParsedDocument | tuple[str, str]:
        """A document, or the code and the sentence of the reason why not: our errors need not travel as objects."""
        try:
            return self._pool.parse(data, name, password)
        except DocumentError as error:
            return error.code, str(error)

    def embed(self, texts: Sequence[str]) -> Any:
        return self._embedder.embed_passages(texts)

    def embed_with_tokens(self, texts: Sequence[str]) -> tuple[Any, list[bytes]]:
        return self._embedder.embed_with_tokens(texts)


def _outcome(result: Any) -> ParsedDocument:
    if isinstance(result, DocumentError):
        raise result
    if isinstance(result, tuple):
        raise DocumentError(*result)
    return result  # type: ignore[no-any-return]


def _connect(address: str, workers: int) -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before ray is imported: nothing is sent anywhere
    os.environ.setdefault("RAY_DISABLE_IMPORT_WARNING", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    root = str(Path(__file__).resolve().parents[1])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if root not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, *paths]))  # local workers import what we are
    try:
        import ray
    except ImportError as error:
        raise SettingsError(
            f"ingest.engine = ray needs the extra ragstone[ray], which is not installed for Python {sys.version_info[0]}.{sys.version_info[1]}."
        ) from error
    quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address:
            _knock(address)  # ray itself tries for minutes
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(address="local", num_cpus=workers, _node_ip_address="127.0.0.1",
                     object_store_memory=OBJECT_STORE_MB << 20, **quiet)  # fmt: skip
    except Exception as error:  # ray raises a dozen kinds here, from ConnectionError to RuntimeError
        raise UsageError(
            f"Ray does not answer ({_first_line(error)}). Start it, or correct ingest.ray_address; empty starts one here."
        ) from error
    return ray


def _knock(address: str) -> None:
    """Raises: OSError when nothing listens there. Addresses without a port, such as auto, are ray's to find."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(". ")
