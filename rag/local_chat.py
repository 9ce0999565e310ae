"""A chat model in this process: a GGUF file run by llama.cpp. The only home of the xllamacpp package."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rag.chat import Call, run_call
from rag.errors import ChatError, ModelError
from rag.sizing import Plan
from rag.types import ChatDelta, Message, Usage

BATCH_TOKENS = (
    128  # of a prompt between two looks at the deadline: 3 s on a slow core, and no slower than larger batches
)


class LocalChat:
    """A GGUF chat model. Loaded by the first call; calls from several threads wait their turn.

    threads: 0 takes all cores.
    context_tokens: longest prompt and reply together.
    deadline_s: most seconds of one call, waiting for its turn included; a call may ask for less.
    Raises: ModelError when the file is not there.
    """

    def __init__(
        self, path: Path, *, name: str, threads: int = 0, context_tokens: int = 4096, deadline_s: float = 120.0
    ) -> None:
        if not path.is_file():
            raise ModelError(
                f"The chat model {name} should lie at {path}, and there is no such file. Run `ragstone models pull {name}`."
            )
        self.name = name
        state = path.stat()
        self._identity = f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"
        self._path, self._threads = path, threads or _cores()
        self._context_tokens, self._deadline_s = context_tokens, deadline_s
        self._turn = threading.Lock()
        self._server: Any = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def identity(self, _deadline_s: float | None = None) -> str:
        """The file and its state: another one may come to lie under the same name."""
        return self._identity

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        json_schema: Mapping[str, Any] | None = None,
        deadline_s: float | None = None,
    ) -> Iterator[ChatDelta]:
        """The reply as it comes; the last delta has `done` set. Generation stops when the consumer does. Raises ChatError."""
        request = {
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "max_tokens": max_tokens,
            "temperature": temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
            "cache_prompt": True,  # what this prompt shares with the one before is not computed again
            "return_progress": True,  # so that a long prompt can be stopped between two batches
            **({} if json_schema is None else {"json_schema": dict(json_schema)}),
        }
        limit = self._deadline_s if deadline_s is None else min(deadline_s, self._deadline_s)
        # Not a daemon: a thread inside llama.cpp must have left it before the interpreter goes down.
        return run_call(
            Call(limit), lambda call: self._work(call, request), who=f"The chat model {self.name}", daemon=False
        )

    def close(self) -> None:
        """Free the model's memory, once a running call has ended. A later call loads it again."""
        with self._turn:
            self._server = None
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    def _work(self, call: Call, request: dict[str, Any]) -> None:
        if not self._turn.acquire(timeout=max(0.0, call.remaining())):
            return
        try:
            if not call.cancelled.is_set():
                self._load()
                _Reply(call, self.name).run(self._server, request)
        finally:
            self._turn.release()

    def _load(self) -> None:
        if self._server is not None:
            return
        # llama.cpp's threads spin while they wait for each other; where another process wants a core too, two threads
        # then run at a sixth of the speed of one. Must be set before the OpenMP library is loaded.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            import xllamacpp
        except ImportError as error:
            raise ChatError(
                "E_LLM_UNREACHABLE", f"Local chat models need xllamacpp: pip install 'ragstone[local]' ({error})."
            ) from error
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="ragstone-llama-")
        try:
            self._server = xllamacpp.Server(self._parameters(xllamacpp, self._folder.name))
        except RuntimeError as error:
            raise ChatError(
                "E_LLM_UNREACHABLE",
                f"llama.cpp cannot load the chat model {self._path}. Pull it again, or free memory ({error}).",
            ) from error

    def _parameters(self, xllamacpp: Any, folder: str) -> Any:
        params = xllamacpp.CommonParams()
        params.model.path = str(self._path)
        params.n_ctx, params.n_parallel = self._context_tokens, 1
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self._threads
        # Without repacked weights prompts are read 1.4 times as fast, a third of the memory is saved and the file stays
        # mapped; generation is a quarter slower. Answers from passages read ten times more tokens than they write.
        params.no_extra_bufts = True
        params.cache_ram_mib = 0
        params.fit_params = params.warmup = params.ui = params.endpoint_slots = False
        params.verbosity = -1
        # The library always starts an HTTP server beside the model. Nobody else shall reach it: a socket in a private
        # folder where there are such sockets, and a key that is never told.
        params.api_keys = [secrets.token_hex(32)]
        params.cors_origins = "localhost"
        if sys.platform != "win32":
            params.hostnames = [str(Path(folder) / "llama.sock")]
        return params


class LlamaServer:
    """llama.cpp's own server for a GGUF file, for several clients at once: on a socket in a private folder, with a key.

    plan: context and conversations at once, see rag/sizing.py. `url`, `socket` and `key` say how to reach it.
    Raises: ModelError when the runtime is absent or the file cannot be loaded.
    """

    def __init__(self, path: Path, plan: Plan, *, threads: int = 0) -> None:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            import xllamacpp
        except ImportError as error:
            raise ModelError(
                f"Serving a GGUF file needs xllamacpp: pip install 'ragstone[local]' ({error})."
            ) from error
        self._folder = tempfile.TemporaryDirectory(prefix="ragstone-llama-")
        self.key = secrets.token_hex(32)
        self.socket = str(Path(self._folder.name) / "llama.sock") if sys.platform != "win32" else ""
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.kv_unified = plan.context * plan.parallel, plan.parallel, False
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads or _cores()
        if plan.kv_bits < 16:
            params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_Q8_0
        params.no_extra_bufts, params.cache_ram_mib = True, 0
        params.fit_params = params.warmup = params.ui = params.endpoint_slots = False
        params.verbosity, params.api_keys, params.cors_origins = -1, [self.key], "localhost"
        params.hostnames = [self.socket or "127.0.0.1"]
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise ModelError(f"llama.cpp cannot load {path}. Pull it again, or free memory ({error}).") from error
        self.handle = self._server
        self.url = "http://model" if self.socket else str(self._server.listening_address)

    def close(self) -> None:
        self._server = self.handle = None
        self._folder.cleanup()


class LocalServerChat:
    """A chat model of a LlamaServer in this process. Threads may share it; as many calls run at once as the plan says."""

    def __init__(self, server: LlamaServer, name: str, *, deadline_s: float = 600.0) -> None:
        self.name, self._server, self._deadline_s = name, server, deadline_s

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        json_schema: Mapping[str, Any] | None = None,
        deadline_s: float | None = None,
    ) -> Iterator[ChatDelta]:
        """The reply as it comes. Raises ChatError."""
        request = {
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "max_tokens": max_tokens, "temperature": temperature, "stream": True, "stream_options": {"include_usage": True},
            **({} if json_schema is None else {"json_schema": dict(json_schema)}),
        }  # fmt: skip
        return run_call(
            Call(deadline_s or self._deadline_s),
            lambda call: _Reply(call, self.name).run(self._server.handle, request),
            who=f"The chat model {self.name}",
            daemon=False,
        )

    def close(self) -> None:
        """The server is closed by whoever opened it."""


class _Reply:
    """One reply as llama.cpp's callbacks bring it."""

    def __init__(self, call: Call, model: str) -> None:
        self._call, self._model = call, model
        self._started = time.monotonic()
        self._finish_reason = ""

    def run(self, server: Any, request: dict[str, Any]) -> None:
        """Returns once llama.cpp has let go of the request."""
        try:
            server.handle_chat_completions(request, self._take)
        except (ValueError, RuntimeError) as error:  # what the binding makes of a C++ exception
            raise ChatError("E_LLM_REFUSED", f"The chat model {self._model} refused the request: {error}.") from error

    def _take(self, event: Any) -> bool:
        """What llama.cpp calls with each event; True stops the generation. Must not raise."""
        # A generator that nobody closed would keep the process from ending.
        if self._call.cancelled.is_set() or self._call.remaining() < 0 or not threading.main_thread().is_alive():
            return True
        if not isinstance(event, dict) or event.get("error") or "code" in event:
            self._call.put(self._failed(event))
            return True
        for choice in event.get("choices", ()):
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            if text := (choice.get("delta") or {}).get("content"):
                self._call.put(ChatDelta(text=text))
        if self._finish_reason and isinstance(event.get("usage"), dict):
            self._call.put(self._last(event["usage"]))
        return False

    def _failed(self, event: Any) -> ChatError:
        details = event.get("error", event) if isinstance(event, dict) else event
        message = details.get("message", details) if isinstance(details, dict) else details
        if isinstance(details, dict) and details.get("type") == "exceed_context_size_error":
            return ChatError(
                "E_LLM_TOO_LARGE",
                f"The prompt is longer than the chat model's context ({message}). Raise llm.context_tokens.",
            )
        return ChatError("E_LLM_REFUSED", f"The chat model {self._model} refused the request: {message}.")

    def _last(self, usage: Mapping[str, Any]) -> ChatDelta:
        return ChatDelta(
            done=True,
            finish_reason="length" if self._finish_reason == "length" else "stop",
            usage=Usage(
                n_prompt_tokens=int(usage.get("prompt_tokens", 0)),
                n_answer_tokens=int(usage.get("completion_tokens", 0)),
                seconds=round(time.monotonic() - self._started, 3),
                model=self._model,
            ),
        )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
