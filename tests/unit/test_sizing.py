"""What a model takes of memory: worked by hand, and read from files."""

from __future__ import annotations

import json
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rag.errors import ModelError
from rag.sizing import Shape, folder_shape, gguf_shape, gpu_memory, memory_at_hand, plan, whole_prompt_plan

QWEN = Shape(n_layers=28, n_kv_heads=2, head_dim=128, n_embd=1536, n_ff=8960, n_vocab=151_936, trained_context=32_768,
             weight_bytes=1_117_320_736)  # fmt: skip
SMOL = Shape(
    n_layers=30,
    n_kv_heads=3,
    head_dim=64,
    n_embd=576,
    n_ff=1536,
    n_vocab=49_152,
    trained_context=8192,
    weight_bytes=269_000_000,
)
WIDE = Shape(n_layers=12, n_kv_heads=2, head_dim=128, n_embd=1536, n_ff=6144, n_vocab=32_000, trained_context=8192, weight_bytes=909_000_000)  # fmt: skip


def test_the_cache_is_worked_out_by_hand() -> None:
    made = plan(QWEN, 16_000_000_000, context=4096, parallel=2)
    assert made.kv_per_token == 2 * 28 * 2 * 128 * 2 == 28_672
    assert made.kv == 28_672 * 4096 * 2 and made.total == made.weights + made.kv + made.compute + made.runtime
    assert made.fits and made.context == 4096


def test_the_longest_context_that_fits_is_taken() -> None:
    roomy, tight = plan(QWEN, 64_000_000_000), plan(QWEN, 2_000_000_000)
    assert roomy.context == 32_768
    assert 1024 <= tight.context < 32_768 and tight.context % 256 == 0 and tight.fits
    assert plan(QWEN, 64_000_000_000, context=100_000).context == 32_768  # no longer than it was trained for


def test_where_16_bits_are_too_many_the_cache_is_kept_in_8() -> None:
    wanted = {"context": 16_384, "parallel": 1}
    assert plan(QWEN, 2_200_000_000, **wanted).kv_bits == 16.0
    assert plan(QWEN, 1_950_000_000, **wanted).kv_bits == 8.5
    with pytest.raises(ModelError, match="smaller model"):
        plan(QWEN, 1_000_000_000)


def test_what_transformers_takes_is_worked_out_by_hand() -> None:
    made = whole_prompt_plan(QWEN, 16_000_000_000, context=1024, parallel=2)
    assert made.kv == 28_672 * 1024 * 2 and made.kv_bits == 16
    assert made.compute == 2 * 2 * (2 * 8960 + 4 * 1536) * 1024 * 2
    wide = whole_prompt_plan(replace(QWEN, value_bits=32), 16_000_000_000, context=1024, parallel=2)
    assert (wide.kv, wide.compute) == (2 * made.kv, 2 * made.compute)
    longest = whole_prompt_plan(QWEN, 4_000_000_000)
    assert 1024 <= longest.context < 32_768 and longest.fits
    with pytest.raises(ModelError, match="smaller model"):
        whole_prompt_plan(QWEN, 1_600_000_000)


@pytest.mark.parametrize(
    ("shape", "parallel", "measured"),
    [
        (SMOL, 1, 741), (SMOL, 2, 778), (replace(SMOL, value_bits=32, weight_bytes=538_000_000), 1, 1045),
        (replace(SMOL, value_bits=32, weight_bytes=538_000_000), 2, 1211), (WIDE, 1, 1403), (WIDE, 2, 1462),
    ],
)  # fmt: skip
def test_the_calculation_agrees_with_what_was_measured(shape: Shape, parallel: int, measured: int) -> None:
    """Resident memory of a process that had read prompts of 1,024 tokens and written 32, on torch 2.13 (MB)."""
    made = whole_prompt_plan(shape, 8_000_000_000, context=1088, parallel=parallel)
    assert abs(made.total / (measured * 1e6) - 1) <= 0.1


def gguf(pairs: dict[str, Any]) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    body = b""
    for key, value in pairs.items():
        body += text(key)
        if isinstance(value, str):
            body += struct.pack("<I", 8) + text(value)
        elif isinstance(value, list):
            body += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(text(one) for one in value)
        else:
            body += struct.pack("<II", 4, value)
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + body


HEADER = {"general.architecture": "toy", "tokenizer.ggml.tokens": ["a", "b", "c"], "toy.attention.head_count": 4, "toy.attention.head_count_kv": 2,
          "toy.embedding_length": 64, "toy.block_count": 3, "toy.feed_forward_length": 128, "toy.context_length": 512}  # fmt: skip


def test_a_gguf_header_is_read(tmp_path: Path) -> None:
    (tmp_path / "toy.gguf").write_bytes(gguf(HEADER))
    shape = gguf_shape(tmp_path / "toy.gguf")
    assert (shape.n_layers, shape.n_kv_heads, shape.head_dim, shape.n_vocab, shape.trained_context) == (
        3,
        2,
        16,
        3,
        512,
    )


@pytest.mark.parametrize("damage", [b"", b"GGUF", b"PK\x03\x04" + b"x" * 40, gguf(HEADER)[:60], gguf({"general.architecture": "toy"}),
                                    b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 60)])  # fmt: skip
def test_damaged_files_are_named(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "x.gguf").write_bytes(damage)
    with pytest.raises(ModelError, match="GGUF"):
        gguf_shape(tmp_path / "x.gguf")


def test_a_model_folder_is_read_and_vllm_told(tmp_path: Path) -> None:
    from ui.model_commands import vllm_command

    config = {"num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2, "hidden_size": 1536, "intermediate_size": 8960,
              "vocab_size": 151_936, "max_position_embeddings": 32_768}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    shape = folder_shape(tmp_path)
    assert shape.kv_values_per_token * 2 == 28_672
    made = plan(shape, 80_000_000_000, batch=2048)
    command = vllm_command(tmp_path, "me/qwen", made, host="127.0.0.1", port=1)
    assert command[command.index("--served-model-name") + 1] == "me/qwen"
    assert command[command.index("--max-model-len") + 1] == "32768" and "--kv-cache-dtype" not in command
    with pytest.raises(ModelError):
        folder_shape(tmp_path / "nothing")


def test_memory_at_hand_and_gpus() -> None:
    assert 100_000_000 < memory_at_hand() < 1 << 50

    def one(*_: Any, **__: Any) -> Any:
        return subprocess.CompletedProcess([], 0, stdout="NVIDIA H100, 80GB HBM3, 79000\n")

    def none(*_: Any, **__: Any) -> Any:
        raise FileNotFoundError("nvidia-smi")

    assert gpu_memory(one) == ("NVIDIA H100, 80GB HBM3", 79_000 * 1024 * 1024) and gpu_memory(none) is None
