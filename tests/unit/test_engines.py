"""Which engine runs a model: one table, and where the files of a name are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rag.engines import Machine, choose, find, this_machine
from rag.errors import ModelError
from tests.unit.test_sizing import HEADER, gguf

CONFIG = {"num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2, "hidden_size": 1536, "intermediate_size": 8960,
          "vocab_size": 151_936, "max_position_embeddings": 32_768}  # fmt: skip
GPU = ("NVIDIA H100", 80_000_000_000)
SMALL_GPU = ("NVIDIA T400", 900_000_000)
ALL = {"memory": 16_000_000_000, "vllm": True, "llama": True, "transformers": True, "cuda": True}


def model(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(3_000_000_000)  # sparse: only its size is looked at
    return folder


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "toy.gguf").write_bytes(gguf(HEADER))
    return {"gguf": tmp_path / "toy.gguf", "safetensors": model(tmp_path / "folder")}


@pytest.mark.parametrize(
    ("kind", "machine", "engine", "device", "why"),
    [
        ("gguf", {**ALL, "gpu": GPU}, "llama.cpp", "cpu", "own format"),
        ("gguf", ALL, "llama.cpp", "cpu", "own format"),
        ("safetensors", {**ALL, "gpu": GPU}, "vllm", "cuda", "NVIDIA H100 has room"),
        ("safetensors", {**ALL, "gpu": GPU, "vllm": False}, "transformers", "cuda", "vLLM is not installed"),
        ("safetensors", {**ALL, "gpu": GPU, "vllm": False, "cuda": False}, "transformers", "cpu", "ragstone[vllm]"),
        ("safetensors", {**ALL, "gpu": SMALL_GPU}, "transformers", "cpu", "T400 has no room"),
        ("safetensors", {**ALL, "gpu": SMALL_GPU, "vllm": False}, "transformers", "cpu", "vLLM is not installed"),
        ("safetensors", ALL, "transformers", "cpu", "no NVIDIA GPU"),
        ("safetensors", {**ALL, "llama": False, "vllm": False}, "transformers", "cpu", "no NVIDIA GPU"),
        ("safetensors", {**ALL, "gpu": GPU, "transformers": False}, "vllm", "cuda", "vLLM is installed"),
    ],
)
def test_the_engine_and_why(
    files: dict[str, Path], kind: str, machine: Any, engine: str, device: str, why: str
) -> None:
    choice = choose(files[kind], Machine(**machine), parallel=2)
    assert (choice.engine, choice.device) == (engine, device) and why in choice.why
    at_hand = machine["gpu"][1] if device == "cuda" else machine["memory"]
    assert choice.plan.at_hand == at_hand and choice.plan.parallel == 2 and choice.plan.fits


@pytest.mark.parametrize(
    ("kind", "machine", "says"),
    [
        ("gguf", {**ALL, "llama": False}, "ragstone[local]"),
        ("safetensors", {**ALL, "transformers": False}, "no NVIDIA GPU"),
        ("safetensors", {**ALL, "gpu": SMALL_GPU, "transformers": False}, "no room"),
        ("safetensors", {**ALL, "memory": 2_000_000_000}, "smaller model"),
        ("gguf", {**ALL, "memory": 1_000_000}, "smaller model"),
    ],
)
def test_what_cannot_be_run_is_said(files: dict[str, Path], kind: str, machine: Any, says: str) -> None:
    with pytest.raises(ModelError) as refused:
        choose(files[kind], Machine(**machine))
    assert says in str(refused.value)


def test_names_lead_to_files(files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    for path in files.values():
        assert find(str(path), tmp_path) == path
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    place = tmp_path / "hub" / "models--me--small"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("a" * 40)
    fetched = model(place / "snapshots" / ("a" * 40))
    assert find("me/small", tmp_path) == fetched
    for name in ("me/other", "nothing", "nothing.gguf", str(tmp_path / "nowhere"), "e5-small-zh-en"):
        with pytest.raises(ModelError):
            find(name, tmp_path)


def test_this_machine_is_looked_at() -> None:
    machine = this_machine()
    assert machine.memory > 0 and (machine.transformers or not machine.cuda)
