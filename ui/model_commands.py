"""The commands that serve and measure local models."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rag import sizing
from rag.errors import ModelError, UsageError
from rag.models import ALIASES, models_dir, resolve
from rag.settings import Settings
from ui import printing
from ui.commands import _open
from ui.options import as_json as _json
from ui.options import collection as _collection
from ui.options import settings as _settings
from ui.outcome import Outcome

DEFAULT_PORT = 8310


def serve(options: argparse.Namespace) -> Outcome:
    """Serve models until stopped. Raises: UsageError, ModelError."""
    settings = _settings(options)
    named = [options.model, options.embedding, options.reranker]
    if not any(named):
        raise UsageError("Name a chat model (an alias, .gguf file or folder), --embedding MODEL or --reranker MODEL.")
    key = os.environ.get("RAGSTONE_MODEL_KEY", "")
    from ui.api.guard import is_loopback

    if not is_loopback(options.host) and len(key) < 16:
        raise UsageError(
            f"Others could reach {options.host}. Set RAGSTONE_MODEL_KEY to a key of at least 16 characters, or serve on 127.0.0.1."
        )
    folder = _folder(options.model) if options.model else None
    if folder and (gpu := _vllm_gpu()):
        return _serve_vllm(folder, gpu, options, key)
    _serve_here(options, settings, key)
    return Outcome(data={"stopped": True}, show=lambda _: None)


def plan(options: argparse.Namespace) -> Outcome:
    """What a model would take, without loading it."""
    made = _plan(_folder(options.model) or Path(_gguf(options.model, _settings(options))), options)
    return Outcome(data=plan_json(made), show=lambda _: print("\n".join(made.lines())))


def train_reranker(options: argparse.Namespace) -> Outcome:
    """A reranker of the collection's own. Exit code 3 when it does not rank better, and is not kept."""
    from rag.reranker_training import train

    if options.minutes <= 0 or options.questions < 1:
        raise UsageError("--minutes and --questions must be more than 0.")
    settings = _settings(options)
    models = models_dir(settings.models.dir)
    folder = Path(options.out or models / f"reranker-{_collection(options)}").expanduser().absolute()
    with _open(options) as kb, printing.counter(quiet=_json(options)) as progress:
        base = resolve(options.base or settings.embedding.model, "embedding", models)
        done = train(
            kb, base, folder, minutes=options.minutes, most=options.questions, seed=options.seed, progress=progress
        )
    return Outcome(data=asdict(done), show=printing.trained, code=0 if done.kept else 3)


def bench(options: argparse.Namespace) -> Outcome:
    from ui.model_bench import measure, show

    settings = _settings(options)
    path = _gguf(options.model, settings) if options.model else None
    if path is None and not settings.llm.base_url:
        raise UsageError("Name a model, or set llm.base_url to an endpoint.")
    levels = [int(one) for one in options.concurrency.split(",") if one.strip().isdigit() and int(one) > 0]
    if not levels:
        raise UsageError("--concurrency takes numbers with commas, such as 1,2,4.")
    data = measure(settings, path, levels=levels, n_tokens=options.tokens, n_prompt=options.prompt)
    return Outcome(data=data, show=show)


def plan_json(made: sizing.Plan) -> dict[str, Any]:
    return {"context": made.context, "parallel": made.parallel, "kv_bits": made.kv_bits, "weights": made.weights,
            "kv_per_token": made.kv_per_token, "kv": made.kv, "compute": made.compute, "runtime": made.runtime,
            "total": made.total, "at_hand": made.at_hand, "fits": made.fits}  # fmt: skip


def _plan(path: Path, options: argparse.Namespace) -> sizing.Plan:
    shape = sizing.folder_shape(path) if path.is_dir() else sizing.gguf_shape(path)
    return sizing.plan(shape, sizing.memory_at_hand(), context=options.context, parallel=options.parallel)


def _gguf(name: str, settings: Settings) -> str:
    path = (
        Path(name).expanduser()
        if name.endswith(".gguf")
        else Path(resolve(name, "chat", models_dir(settings.models.dir)))
    )
    if not path.is_file():
        todo = (
            f"Run `ragstone models pull {name}`."
            if name in ALIASES
            else "Name an alias of `ragstone models list` or a .gguf file."
        )
        raise ModelError(f"The chat model {name!r} is not installed. {todo}")
    return str(path)


def _folder(name: str) -> Path | None:
    """A folder in transformers' layout, for vLLM or transformers; None for an alias or a .gguf file."""
    path = Path(name).expanduser()
    return path if (path / "config.json").is_file() else None


def _serve_here(options: argparse.Namespace, settings: Settings, key: str) -> None:
    from ui.api.model_app import ModelService, create_model_app
    from ui.api.server import serve_app, set_up_logs

    chat = _chat(options, settings) if options.model else None
    embedder = reranker = None
    if options.embedding:
        from rag.embedding import open_embedder

        chosen = settings.embedding.model_copy(update={"model": options.embedding})
        embedder = open_embedder(
            chosen, settings.models, notify=lambda text: print(f"ragstone: {text}", file=sys.stderr)
        )
    if options.reranker:
        from rag.cross_encoder import CrossEncoderReranker

        reranker = CrossEncoderReranker(
            options.reranker, batch_size=settings.rerank.batch_size, threads=settings.rerank.threads
        )
    set_up_logs(settings.api.log_format)
    app = create_model_app(
        ModelService(key=key, hosts=["model", *settings.api.hosts], chat=chat, embedder=embedder, reranker=reranker)
    )
    print(f"ragstone: models at http://{options.host}:{options.port}/v1; Ctrl-C ends it", file=sys.stderr)
    try:
        serve_app(app, host=options.host, port=options.port, grace_s=10)
    finally:
        if isinstance(chat, tuple):
            chat[1].close()


def _chat(options: argparse.Namespace, settings: Settings) -> Any:
    """The chat model: a GGUF file on llama.cpp, a folder on transformers. Says what memory it takes before it is loaded."""
    folder = _folder(options.model)
    path = folder or Path(_gguf(options.model, settings))
    made = _plan(path, options)
    for line in made.lines():
        print(f"ragstone: {line}", file=sys.stderr)
    if folder is None:
        from rag.local_chat import LlamaServer

        return Path(options.model).stem, LlamaServer(path, made, threads=settings.llm.threads)
    from rag.transformers_chat import TransformersChat

    print(f"ragstone: {folder.name} runs on transformers, one conversation after the other; on an NVIDIA GPU vLLM is faster", file=sys.stderr)  # fmt: skip
    return TransformersChat(folder, made, threads=settings.llm.threads)


def vllm_command(folder: Path, *, host: str, port: int, context: int, memory: int) -> list[str]:
    """vLLM's command line for a model folder on a GPU with so many bytes free; 8-bit KV where 16 bits leave too little."""
    shape = sizing.folder_shape(folder)
    made = sizing.plan(shape, memory, context=context, batch=2048)
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--served-model-name", folder.name,
               "--host", host, "--port", str(port), "--max-model-len", str(made.context), "--gpu-memory-utilization", f"{sizing.SHARE}"]  # fmt: skip
    return command + (["--kv-cache-dtype", "fp8"] if made.kv_bits < 16 else [])


def _vllm_gpu() -> tuple[str, int] | None:
    """The GPU that vLLM could use, and its free bytes; None without one, or without vLLM."""
    import importlib.util

    return sizing.gpu_memory() if importlib.util.find_spec("vllm") else None


def _serve_vllm(folder: Path, gpu: tuple[str, int], options: argparse.Namespace, key: str) -> Outcome:
    """Become vLLM."""
    command = vllm_command(folder, host=options.host, port=options.port, context=options.context, memory=gpu[1])
    print(f"ragstone: on {gpu[0]}: {' '.join(command[1:])}", file=sys.stderr)
    environment = dict(os.environ, VLLM_NO_USAGE_STATS="1", **({"VLLM_API_KEY": key} if key else {}))
    os.execve(command[0], command, environment)  # noqa: S606 - the process becomes vLLM, with a list of arguments
