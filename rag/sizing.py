"""How much memory a chat model takes, calculated from its shape: weights, KV cache, and what computing needs.

    KV per token = 2 (keys and values) × layers × KV heads × head size × bytes per value
    total        = weights + KV per token × context × conversations at once + computing + runtime

Computing with llama.cpp and vLLM holds the scores of a batch over the vocabulary and the widest layer, which is most of what llama.cpp reserves.
transformers reads a prompt in one go: computing then grows with the context, by twice the widest layers' values per token, measured.
"""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rag.errors import ModelError

RUNTIME_BYTES = 130_000_000  # interpreter, server and libraries, measured
TORCH_BYTES = 425_000_000  # the same with torch and transformers
SHARE = 0.85  # of the memory at hand that a model may take
MIN_CONTEXT = 1024

_SIMPLE = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
MAX_ITEMS = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What memory depends on. value_bits: of a weight as it is computed with, where it is not quantised."""

    n_layers: int
    n_kv_heads: int
    head_dim: int
    n_embd: int
    n_ff: int
    n_vocab: int
    trained_context: int
    weight_bytes: int
    value_bits: int = 16

    @property
    def kv_values_per_token(self) -> int:
        return 2 * self.n_layers * self.n_kv_heads * self.head_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a model is run, and what that takes in bytes. context: tokens of each of the `parallel` conversations."""

    context: int
    parallel: int
    kv_bits: float
    weights: int
    kv_per_token: int
    kv: int
    compute: int
    runtime: int
    at_hand: int

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.compute + self.runtime

    @property
    def fits(self) -> bool:
        return self.total <= SHARE * self.at_hand

    def lines(self) -> list[str]:
        """The calculation, for people."""
        return [
            f"weights   {_mb(self.weights)}",
            f"KV cache  {_mb(self.kv)} = {self.kv_per_token:,} bytes per token ({self.kv_bits:g} bits a value) × {self.context:,} tokens × {self.parallel}",
            f"computing {_mb(self.compute)}, runtime {_mb(self.runtime)}",
            f"together  {_mb(self.total)} of {_mb(self.at_hand)} at hand, of which {SHARE:.0%} may be taken",
        ]


def plan(shape: Shape, at_hand: int, *, context: int = 0, parallel: int = 1, batch: int = 128) -> Plan:
    """The longest context that fits, at most what the model was trained for, or `context` if that is asked for.

    Where the usual 16-bit KV cache leaves less than MIN_CONTEXT tokens, it is kept in 8 bits.
    Raises: ModelError when not even that fits.
    """
    for kv_bits in (16.0, 8.5):
        made = _planned(shape, at_hand, context, parallel, batch, kv_bits)
        if _does(made, context, shape):
            return made
    raise _too_large(made)


def whole_prompt_plan(shape: Shape, at_hand: int, *, context: int = 0, parallel: int = 1) -> Plan:
    """The same for transformers, which computes a prompt in one go and keeps the cache as it computes. Raises: ModelError."""
    kv = shape.kv_values_per_token * shape.value_bits // 8
    computing = 2 * shape.value_bits // 8 * (2 * shape.n_ff + 4 * shape.n_embd)
    left = SHARE * at_hand - shape.weight_bytes - TORCH_BYTES
    longest = max(MIN_CONTEXT, int(left / ((kv + computing) * parallel)) // 256 * 256)
    chosen = min(context or longest, shape.trained_context)
    made = Plan(context=chosen, parallel=parallel, kv_bits=float(shape.value_bits), weights=shape.weight_bytes, kv_per_token=kv,
                kv=kv * chosen * parallel, compute=computing * chosen * parallel, runtime=TORCH_BYTES, at_hand=at_hand)  # fmt: skip
    if not _does(made, context, shape):
        raise _too_large(made)
    return made


def _does(made: Plan, context: int, shape: Shape) -> bool:
    return made.fits and made.context >= min(context or MIN_CONTEXT, shape.trained_context)


def _too_large(made: Plan) -> ModelError:
    return ModelError(
        f"The model takes {_mb(made.total)} with a context of {made.context} tokens; {_mb(made.at_hand)} are at hand. "
        "Use a smaller model or a smaller --context, or free memory."
    )


def _planned(shape: Shape, at_hand: int, context: int, parallel: int, batch: int, kv_bits: float) -> Plan:
    per_token = int(shape.kv_values_per_token * kv_bits / 8)
    compute = batch * 4 * (shape.n_vocab + 2 * shape.n_ff + 4 * shape.n_embd)
    left = SHARE * at_hand - shape.weight_bytes - compute - RUNTIME_BYTES
    longest = min(shape.trained_context, max(MIN_CONTEXT, int(left / (per_token * parallel)) // 256 * 256))
    chosen = min(context, shape.trained_context) if context else longest
    return Plan(context=chosen, parallel=parallel, kv_bits=kv_bits, weights=shape.weight_bytes, kv_per_token=per_token,
                kv=per_token * chosen * parallel, compute=compute, runtime=RUNTIME_BYTES, at_hand=at_hand)  # fmt: skip


# ---------------------------------------------------------------- shapes


def gguf_shape(path: Path) -> Shape:
    """Read a GGUF file's header. Raises: ModelError for a file that is none.

    Source: the GGUF specification of ggml, version 3.
    """
    try:
        with path.open("rb") as file:
            found = _metadata(file)
        arch = str(found["general.architecture"])
        heads = int(found[f"{arch}.attention.head_count"])
        n_embd = int(found[f"{arch}.embedding_length"])
        return Shape(
            n_layers=int(found[f"{arch}.block_count"]), n_kv_heads=int(found.get(f"{arch}.attention.head_count_kv", heads)),
            head_dim=int(found.get(f"{arch}.attention.key_length", n_embd // heads)), n_embd=n_embd,
            n_ff=int(found[f"{arch}.feed_forward_length"]),
            n_vocab=int(found.get(f"{arch}.vocab_size", 0) or found.get("tokenizer.ggml.tokens", 0)),
            trained_context=int(found[f"{arch}.context_length"]), weight_bytes=path.stat().st_size,
        )  # fmt: skip
    except (OSError, KeyError, ValueError, TypeError, struct.error, UnicodeDecodeError, MemoryError) as error:
        raise ModelError(f"{path} is no GGUF file that can be read ({error}). Pull the model again.") from error


def _metadata(file: BinaryIO) -> dict[str, Any]:
    if file.read(4) != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    version, _, n_pairs = struct.unpack("<IQQ", file.read(20))
    if version not in (2, 3) or n_pairs > 100_000:
        raise ValueError(f"version {version}")
    return {_string(file): _value(file, struct.unpack("<I", file.read(4))[0]) for _ in range(n_pairs)}


def _value(file: BinaryIO, kind: int) -> Any:
    """A value; of an array its length alone."""
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        inner, n_items = struct.unpack("<IQ", file.read(12))
        if n_items > MAX_ITEMS:
            raise ValueError("an array is too long")
        if inner in _SIMPLE:
            file.seek(struct.calcsize(_SIMPLE[inner]) * n_items, 1)
        else:
            for _ in range(n_items):
                _value(file, inner)
        return n_items
    return struct.unpack(_SIMPLE[kind], file.read(struct.calcsize(_SIMPLE[kind])))[0]


def _string(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > 10_000_000:
        raise ValueError("a text is too long")
    return file.read(length).decode("utf-8", "replace")


def folder_shape(folder: Path) -> Shape:
    """Of a transformers model: config.json and the size of its safetensors. Raises: ModelError."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = config.get("text_config", config)
        heads = int(config["num_attention_heads"])
        return Shape(
            n_layers=int(config["num_hidden_layers"]), n_kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or config["hidden_size"] // heads), n_embd=int(config["hidden_size"]),
            n_ff=int(config["intermediate_size"]), n_vocab=int(config["vocab_size"]),
            trained_context=int(config["max_position_embeddings"]),
            weight_bytes=sum(one.stat().st_size for one in folder.glob("*.safetensors")),
            value_bits=32 if "float32" in (config.get("dtype"), config.get("torch_dtype")) else 16,
        )  # fmt: skip
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{folder} is no model folder that can be read ({error}).") from error


# ---------------------------------------------------------------- memory at hand


def memory_at_hand() -> int:
    """Bytes that this process may still take: free memory, or what its container leaves, whichever is less."""
    found = [_meminfo(), *_cgroup()]
    return min(found) if found else 4_000_000_000


def _meminfo() -> int:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import os

    try:  # macOS: all of it; what is free changes by the second there
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 8_000_000_000


def _cgroup() -> list[int]:
    pairs = (("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
             ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"))  # fmt: skip
    found = []
    for limit, used in pairs:
        try:
            found.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):
            continue  # none, or "max"
    return [one for one in found if 0 < one < 1 << 50]


def gpu_memory(run: Callable[..., Any] = subprocess.run) -> tuple[str, int] | None:
    """Name and free bytes of the first NVIDIA GPU, as its own tool says; None where there is none."""
    query = ["nvidia-smi", "--query-gpu=name,memory.free", "--format=csv,noheader,nounits"]
    try:
        ended = run(query, capture_output=True, text=True, timeout=10, check=True)
        name, _, free = ended.stdout.splitlines()[0].rpartition(",")
        return name.strip(), int(free) * 1024 * 1024
    except (OSError, subprocess.SubprocessError, LookupError, ValueError):
        return None


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.0f} MB"
