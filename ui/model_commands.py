"""The commands that serve and measure local models."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rag import sizing
from rag.engines import Choice, choose, find, this_machine
from rag.errors import UsageError
from rag.models import models_dir, resolve
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
    path, choice = _chosen(options, settings) if options.model else (None, None)
    if path is not None and choice is not None and choice.engine == "vllm":
        return _serve_vllm(path, choice, options, key)
    _serve_here(options, settings, key, path, choice)
    return Outcome(data={"stopped": True}, show=lambda _: None)


def plan(options: argparse.Namespace) -> Outcome:
    """What a model would take, without loading it."""
    _, choice = _chosen(options, _settings(options))
    return Outcome(
        data={"engine": choice.engine, "device": choice.device, "why": choice.why, **plan_json(choice.plan)},
        show=lambda _: print("\n".join(_told(choice))),
    )


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
    path = find(options.model, models_dir(settings.models.dir)) if options.model else None
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


def _chosen(options: argparse.Namespace, settings: Settings) -> tuple[Path, Choice]:
    """The chat model's files, and the engine for them."""
    path = find(options.model, models_dir(settings.models.dir))
    return path, choose(path, this_machine(), context=options.context, parallel=options.parallel)


def _told(choice: Choice) -> list[str]:
    return [f"{choice.engine} on the {'GPU' if choice.device == 'cuda' else 'CPU'}: {choice.why}", *choice.plan.lines()]


def _serve_here(
    options: argparse.Namespace, settings: Settings, key: str, path: Path | None, choice: Choice | None
) -> None:
    from ui.api.model_app import ModelService, create_model_app
    from ui.api.server import serve_app, set_up_logs

    chat = _chat(options.model, settings, path, choice) if path and choice else None
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


def _chat(name: str, settings: Settings, path: Path, choice: Choice) -> Any:
    """The chat model, open. Says which engine it is, and what memory it takes, before it is loaded."""
    for line in _told(choice):
        print(f"ragstone: {line}", file=sys.stderr)
    if choice.engine == "llama.cpp":
        from rag.local_chat import LlamaServer

        return Path(name).stem, LlamaServer(path, choice.plan, threads=settings.llm.threads)
    from rag.transformers_chat import TransformersChat

    return TransformersChat(path, choice.plan, threads=settings.llm.threads, name=_shown(name, path), device=choice.device)  # fmt: skip


def _shown(name: str, path: Path) -> str:
    """What clients call a model: a hub's name whole, a folder by its last part."""
    return path.name if Path(name).expanduser().exists() else name


def vllm_command(path: Path, name: str, made: sizing.Plan, *, host: str, port: int) -> list[str]:
    """vLLM's command line for a model folder; 8-bit KV where 16 bits leave too little."""
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(path), "--served-model-name", name,
               "--host", host, "--port", str(port), "--max-model-len", str(made.context), "--gpu-memory-utilization", f"{sizing.SHARE}"]  # fmt: skip
    return command + (["--kv-cache-dtype", "fp8"] if made.kv_bits < 16 else [])


def _serve_vllm(path: Path, choice: Choice, options: argparse.Namespace, key: str) -> Outcome:
    """Become vLLM."""
    command = vllm_command(path, _shown(options.model, path), choice.plan, host=options.host, port=options.port)
    for line in [*_told(choice), " ".join(command[1:])]:
        print(f"ragstone: {line}", file=sys.stderr)
    environment = dict(os.environ, VLLM_NO_USAGE_STATS="1", **({"VLLM_API_KEY": key} if key else {}))
    os.execve(command[0], command, environment)  # noqa: S606 - the process becomes vLLM, with a list of arguments
