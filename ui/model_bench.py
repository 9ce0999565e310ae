"""Measures a chat model: time to the first token, tokens a second, reading of the prompt, by how many ask at once.

Beside them stand the machine's limits: each token reads all weights once, so tokens/s ≤ memory bandwidth ÷ weights for one
conversation; reading a prompt takes 2 operations per weight and token, so prompt tokens/s ≤ FLOP/s ÷ (2 × weights).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from rag import sizing
from rag.engines import Choice, choose, this_machine
from rag.settings import Settings
from rag.types import ChatModel, Message

WORDS = [
    "the",
    "tea",
    "house",
    "on",
    "the",
    "hill",
    "opens",
    "at",
    "nine",
    "and",
    "closes",
    "when",
    "the",
    "last",
    "guest",
    "has",
    "gone",
    "home",
]


def measure(
    settings: Settings, path: Path | None, *, levels: list[int], n_tokens: int, n_prompt: int
) -> dict[str, Any]:
    """Run the benchmark. path: a GGUF file or a model folder, run here for the time; None: the endpoint of the settings."""
    if path is None:
        from rag.chat import OpenAIChat

        chat = OpenAIChat(settings.llm)
        return {
            "model": chat.name,
            "endpoint": settings.llm.base_url,
            "levels": _levels(chat, levels, n_tokens, n_prompt),
        }
    context, name = min(4096, n_prompt * 2 + n_tokens + 256), path.stem if path.is_file() else path.name
    machine = replace(this_machine(), vllm=False)  # vLLM is a server of its own: it is measured as an endpoint
    choice = choose(path, machine, context=context, parallel=max(levels))
    limit = limits(choice.plan.weights)
    rows, taken = _run(path, name, choice, settings.llm.threads, lambda chat: _levels(chat, levels, n_tokens, n_prompt))
    total = choice.plan.total
    return {"model": name, "engine": choice.engine, "levels": rows, "machine": limit,
            "memory": {"calculated": total, "measured": taken, "error": round(total / taken - 1, 3)}}  # fmt: skip


def _run(
    path: Path, name: str, choice: Choice, threads: int, work: Callable[[Any], list[dict[str, Any]]]
) -> tuple[list[dict[str, Any]], int]:
    """What `work` finds about the model, and the bytes of memory that the model and its engine hold."""
    if choice.engine == "transformers":
        from rag.transformers_chat import TransformersChat

        return work(TransformersChat(path, choice.plan, threads=threads, device=choice.device)), resident("VmHWM")
    from rag.local_chat import LlamaServer, LocalServerChat

    before = resident()
    server = LlamaServer(path, choice.plan, threads=threads)
    try:
        return work(LocalServerChat(server, name)), resident() - before + sizing.RUNTIME_BYTES
    finally:
        server.close()


def _levels(chat: ChatModel, levels: list[int], n_tokens: int, n_prompt: int) -> list[dict[str, Any]]:
    _ask(chat, 0, 16, 4)  # loads what is loaded late
    return [_level(chat, level, n_tokens, n_prompt) for level in levels]


def _level(chat: ChatModel, level: int, n_tokens: int, n_prompt: int) -> dict[str, Any]:
    started = time.perf_counter()
    with ThreadPoolExecutor(level) as pool:
        replies = list(pool.map(lambda at: _ask(chat, at + 1000 * level, n_prompt, n_tokens), range(level)))
    seconds = time.perf_counter() - started
    n_out = sum(reply["n_out"] for reply in replies)
    return {
        "concurrency": level, "first_token_s": round(median(reply["first_s"] for reply in replies), 3),
        "prefill_tokens_per_s": round(median(reply["n_in"] / max(reply["first_s"], 1e-9) for reply in replies), 1),
        "tokens_per_s_each": round(median((reply["n_out"] - 1) / max(reply["seconds"] - reply["first_s"], 1e-9) for reply in replies), 2),
        "tokens_per_s_all": round(n_out / seconds, 2),
    }  # fmt: skip


def _ask(chat: ChatModel, seed: int, n_prompt: int, n_tokens: int) -> dict[str, Any]:
    """One reply. The prompts begin differently, so that none is answered from another one's cache."""
    text = (
        f"Story {seed}. "
        + " ".join(WORDS[(at + seed) % len(WORDS)] for at in range(n_prompt))
        + " Tell the story on, at length."
    )
    started = time.perf_counter()
    first_s, n_in, n_out = 0.0, n_prompt, 0
    for delta in chat.stream([Message(role="user", content=text)], max_tokens=n_tokens, temperature=0.0):
        if delta.text and not first_s:
            first_s = time.perf_counter() - started
        if delta.usage:
            n_in, n_out = delta.usage.n_prompt_tokens or n_in, delta.usage.n_answer_tokens
    return {"first_s": first_s, "seconds": time.perf_counter() - started, "n_in": n_in, "n_out": n_out}


def limits(weight_bytes: int) -> dict[str, float]:
    """Memory bandwidth and single-precision FLOP/s of this machine as NumPy reaches them, and what follows for the model."""
    import numpy as np

    block = np.ones(32_000_000, np.float32)  # larger than caches
    bandwidth = max(block.nbytes / _timed(block.sum) for _ in range(5))
    left = np.ones((1024, 1024), np.float32)
    flops = max(2 * 1024**3 / _timed(lambda: left @ left) for _ in range(5))
    return {"read_gb_per_s": round(bandwidth / 1e9, 1), "gflop_per_s": round(flops / 1e9, 1),
            "most_tokens_per_s": round(bandwidth / weight_bytes, 1)}  # fmt: skip


def _timed(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def resident(line_of: str = "VmRSS") -> int:
    """Bytes of memory that this process holds, mapped files included; with VmHWM the most it has held."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{line_of}:"):
            return int(line.split()[1]) * 1024
    return 0


def show(data: dict[str, Any]) -> None:
    print(
        f"{data['model']}\n{'at once':>8} {'first token':>12} {'prompt tok/s':>13} {'tok/s each':>11} {'tok/s all':>10}"
    )
    for row in data["levels"]:
        print(f"{row['concurrency']:>8} {row['first_token_s']:>10.2f} s {row['prefill_tokens_per_s']:>13.1f} "
              f"{row['tokens_per_s_each']:>11.2f} {row['tokens_per_s_all']:>10.2f}")  # fmt: skip
    if machine := data.get("machine"):
        print(
            f"limit: {machine['read_gb_per_s']} GB/s of memory give {machine['most_tokens_per_s']} tokens/s to one; {machine['gflop_per_s']} GFLOP/s"
        )
    if memory := data.get("memory"):
        print(
            f"memory: calculated {memory['calculated'] / 1e6:,.0f} MB, measured {memory['measured'] / 1e6:,.0f} MB ({memory['error']:+.1%})"
        )
