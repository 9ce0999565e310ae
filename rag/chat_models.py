"""Which chat model to open, from the settings."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from rag.errors import ModelError
from rag.settings import Settings
from rag.types import ChatModel

DEFAULT_LOCAL = "qwen2.5-coder-1.5b"


def open_chat(settings: Settings, *, notify: Callable[[str], None] | None = None) -> ChatModel | None:
    """The chat model: an endpoint when `llm.base_url` is set, else a local model, else None (extractive answers).

    llm.model "auto" takes what is there; a name that cannot be had raises ModelError instead of falling back.
    """
    llm = settings.llm
    if llm.model == "none":
        return None
    if llm.base_url:
        from rag.chat import OpenAIChat

        return OpenAIChat(llm)
    name = DEFAULT_LOCAL if llm.model == "auto" else llm.model
    path = local_path(settings)
    if path is None:
        if llm.model == "auto":
            return None
        raise ModelError(f"The chat model {name!r} is not installed. {_next_step(name)}")
    from rag.local_chat import LocalChat

    if notify:
        notify(f"loading the chat model {path.stem}")
    return LocalChat(path, name=name, threads=llm.threads, context_tokens=llm.context_tokens, deadline_s=llm.deadline_s)


def _next_step(name: str) -> str:
    from rag.models import ALIASES

    pull = f"Run `ragstone models pull {name}`" if name in ALIASES else "Name an alias of `ragstone models list`"
    runtime = (
        "" if importlib.util.find_spec("xllamacpp") else ", install the runtime with pip install 'ragstone[local]'"
    )
    return f"{pull}{runtime}, give a .gguf file, or set llm.base_url to an OpenAI-compatible endpoint."


def local_path(settings: Settings) -> Path | None:
    """The GGUF file that `llm.model` names, when it and the runtime are installed."""
    from rag.models import models_dir, resolve

    if importlib.util.find_spec("xllamacpp") is None:
        return None
    name = DEFAULT_LOCAL if settings.llm.model == "auto" else settings.llm.model
    try:
        path = resolve(name, "chat", models_dir(settings.models.dir))
    except ModelError:
        return None
    return Path(path) if Path(path).is_file() else None
