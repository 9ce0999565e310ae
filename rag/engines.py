"""Which engine runs a chat model, and why: vLLM on a GPU, llama.cpp for GGUF files, transformers for the rest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rag import sizing
from rag.errors import ModelError
from rag.models import ALIASES, resolve
from rag.sizing import Plan, Shape

VLLM_BATCH = 2048  # tokens of prompts that it computes at once
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the choice hangs on. gpu: name and free bytes of the first NVIDIA GPU. cuda: torch could use it."""

    memory: int
    gpu: tuple[str, int] | None = None
    vllm: bool = False
    llama: bool = False
    transformers: bool = False
    cuda: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """An engine, how it would run the model, and why it is this one, as a sentence."""

    engine: Literal["vllm", "llama.cpp", "transformers"]
    device: Literal["cpu", "cuda"]
    plan: Plan
    why: str


def this_machine() -> Machine:
    def there(name: str) -> bool:
        return importlib.util.find_spec(name) is not None

    torch = importlib.metadata.version("torch") if there("torch") else "+cpu"
    return Machine(
        memory=sizing.memory_at_hand(), gpu=sizing.gpu_memory(), vllm=there("vllm"), llama=there("xllamacpp"),
        transformers=there("transformers") and there("torch"), cuda="+cpu" not in torch,
    )  # fmt: skip


def choose(path: Path, machine: Machine, *, context: int = 0, parallel: int = 1) -> Choice:
    """The engine for a GGUF file or a model folder.

    Raises: ModelError where the engine that the model needs is not installed, the file cannot be read, or memory does not do.
    """
    if path.is_dir():
        return _of_folder(sizing.folder_shape(path), machine, context, parallel)
    if not machine.llama:
        raise ModelError(f"{path.name} is a GGUF file, which llama.cpp runs: pip install 'ragstone[local]'.")
    plan = sizing.plan(sizing.gguf_shape(path), machine.memory, context=context, parallel=parallel)
    return Choice(engine="llama.cpp", device="cpu", plan=plan, why="a GGUF file is llama.cpp's own format")


def _of_folder(shape: Shape, machine: Machine, context: int, parallel: int) -> Choice:
    why = "there is no NVIDIA GPU for vLLM"
    if machine.gpu is not None:
        name, free = machine.gpu
        if machine.vllm:
            tried = _if_it_fits(lambda: sizing.plan(shape, free, context=context, parallel=parallel, batch=VLLM_BATCH))
            if isinstance(tried, Plan):
                return Choice(engine="vllm", device="cuda", plan=tried, why=f"{name} has room for it, and vLLM is installed")  # fmt: skip
            why = f"{name} has no room for it: {tried}"
        else:
            why = "vLLM is not installed: pip install 'ragstone[vllm]'"
            tried = _if_it_fits(lambda: sizing.whole_prompt_plan(shape, free, context=context, parallel=parallel))
            if machine.transformers and machine.cuda and isinstance(tried, Plan):
                return Choice(engine="transformers", device="cuda", plan=tried, why=f"{why}; so it runs slower on {name}")  # fmt: skip
    if not machine.transformers:
        raise ModelError(f"No engine is installed for this model: {why}. Install torch and transformers, or give a .gguf file.")  # fmt: skip
    plan = sizing.whole_prompt_plan(shape, machine.memory, context=context, parallel=parallel)
    return Choice(engine="transformers", device="cpu", plan=plan, why=why)


def _if_it_fits(make: Callable[[], Plan]) -> Plan | str:
    """The plan, or why there is none."""
    try:
        return make()
    except ModelError as error:
        return str(error).partition(". ")[0]


def find(name: str, dir: Path) -> Path:
    """The GGUF file or model folder of a name: an alias, a file, a folder, or a hub name, which is fetched. Raises: ModelError."""
    path = Path(name).expanduser()
    if (path / "config.json").is_file() or (name.endswith(".gguf") and path.is_file()):
        return path.absolute()
    if name not in ALIASES and not path.exists() and _HUB_NAME.fullmatch(name) and not name.endswith(".gguf"):
        from rag.hub import snapshot

        return snapshot(name, "The chat model", "`ragstone models list` names those that need none.")
    if name.endswith(".gguf") or not (path := Path(resolve(name, "chat", dir))).is_file():
        todo = f"Run `ragstone models pull {name}`." if name in ALIASES else "Name an alias of `ragstone models list`, a .gguf file or a folder with safetensors."  # fmt: skip
        raise ModelError(f"The chat model {name!r} is not installed. {todo}")
    return path
