"""The embedder with real models and real back ends: exports, calibration, identity, agreement with sentence-transformers."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag import embedding
from rag.embedding import LocalEmbedder, open_embedder
from rag.errors import ModelError
from rag.models import models_dir, resolve
from rag.settings import EmbeddingSettings, ModelsSettings
from tests.contract.test_embedder_contract import make_tiny_bert

E5 = "e5-small-zh-en"
PASSAGES = ["the river rises in the hills", "retrieval with overlap", "numbers 3.14 and 42", "a" * 30]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("models") / "tiny")


def open_tiny(folder: Path, root: Path | None = None, **settings: Any) -> LocalEmbedder:
    models = ModelsSettings(dir=str(root or folder.parent))
    return open_embedder(EmbeddingSettings(model=str(folder), **settings), models)


# ---------------------------------------------------------------- against sentence-transformers


@pytest.mark.parametrize("backend", ["openvino-fp32", "torch-fp32"])
def test_float32_is_sentence_transformers(tiny: Path, backend: str) -> None:
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(tiny), device="cpu").encode(PASSAGES, normalize_embeddings=True)
    ours = open_tiny(tiny, backend=backend).embed_passages(PASSAGES)
    assert (ours * theirs).sum(axis=1).min() > 0.9999


@pytest.mark.model
@pytest.mark.slow
def test_default_model_is_sentence_transformers_on_its_folder(embedder: LocalEmbedder) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(resolve(E5, "embedding", models_dir())), device="cpu", local_files_only=True)
    texts = ["Where does the river rise?", "重叠部分如何计算？", "Ａ full－width ～ text\twith\u200bodd spaces"]
    passages = model.encode(texts, prompt="passage: ", normalize_embeddings=True)
    queries = model.encode(texts, prompt="query: ", normalize_embeddings=True)
    exact = open_embedder(EmbeddingSettings(backend="openvino-fp32"), ModelsSettings())
    assert (exact.embed_passages(texts) * passages).sum(axis=1).min() > 0.9999
    assert (exact.embed_queries(texts) * queries).sum(axis=1).min() > 0.9999
    assert (embedder.embed_passages(texts) * passages).sum(axis=1).min() > embedding.MIN_COSINE
    assert exact.fingerprint == embedder.fingerprint, "back ends share an index"


# ---------------------------------------------------------------- starting


@pytest.mark.model
def test_a_later_start_imports_no_torch(embedder: LocalEmbedder) -> None:
    if not embedder.backend.startswith("openvino"):
        pytest.skip("this machine computes with torch")
    code = (
        "import sys; from rag.embedding import open_embedder; from rag.settings import Settings; s = Settings();"
        "e = open_embedder(s.embedding, s.models, notify=lambda line: sys.exit(line));"
        "assert e.embed_queries(['overlap']).shape == (1, e.dim);"
        "heavy = {'torch', 'sentence_transformers', 'transformers', 'huggingface_hub'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_preparing_touches_no_network(tiny: Path, tmp_path: Path) -> None:
    """Neither the hub nor OpenVINO's usage statistics are called, even where the hub is allowed."""
    code = (
        "import socket, sys\n"
        "def refuse(*args): raise SystemExit(f'the network was asked for: {args[1:]}')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from rag.embedding import open_embedder\n"
        "from rag.settings import EmbeddingSettings, ModelsSettings\n"
        f"e = open_embedder(EmbeddingSettings(model={str(tiny)!r}), ModelsSettings(dir={str(tmp_path)!r}))\n"
        "assert e.backend.startswith('openvino'), e.backend\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_the_second_start_measures_and_exports_nothing(tiny: Path, tmp_path: Path) -> None:
    said: list[str] = []
    models = ModelsSettings(dir=str(tmp_path))
    first = open_embedder(EmbeddingSettings(model=str(tiny)), models, notify=said.append)
    assert [line.split()[0] for line in said] == ["Preparing", "Measuring", str(tiny)]
    assert first.backend in said[-1]
    second = open_embedder(EmbeddingSettings(model=str(tiny)), models, notify=pytest.fail)
    assert second.backend == first.backend and second.fingerprint == first.fingerprint
    np.testing.assert_array_equal(first.embed_passages(PASSAGES), second.embed_passages(PASSAGES))


def test_a_damaged_export_is_named(tiny: Path, tmp_path: Path) -> None:
    open_tiny(tiny, tmp_path, backend="openvino-fp32")
    export = next(path for path in (tmp_path / ".compiled").iterdir() if path.is_dir())
    (export / "model.xml").write_text("<net")
    with pytest.raises(ModelError, match=rf"OpenVINO cannot load .*{export.name}.*Delete the folder"):
        open_tiny(tiny, tmp_path, backend="openvino-fp32")
    (export / "card.json").write_text("{}")
    with pytest.raises(ModelError, match="is damaged"):
        open_tiny(tiny, tmp_path, backend="openvino-fp32")


# ---------------------------------------------------------------- any model


def test_an_unusual_stack_runs_in_torch(tmp_path: Path) -> None:
    def layer_norm() -> list[Any]:
        from sentence_transformers import models as modules

        return [modules.LayerNorm(32)]

    folder = make_tiny_bert(tmp_path / "unusual", extra=layer_norm)
    model = open_tiny(folder)
    assert model.backend.startswith("torch-")
    assert model.embed_passages(PASSAGES).shape == (4, 32)
    with pytest.raises(ModelError, match="has no OpenVINO export"):
        open_tiny(folder, backend="openvino-fp32")


def test_dense_layers_are_part_of_the_export(tmp_path: Path) -> None:
    def dense() -> list[Any]:
        from sentence_transformers import models as modules

        return [modules.Dense(32, 12), modules.Normalize()]

    folder = make_tiny_bert(tmp_path / "dense", extra=dense)
    vectors = open_tiny(folder, backend="openvino-fp32").embed_passages(PASSAGES)
    assert vectors.shape == (4, 12)
    assert (vectors * open_tiny(folder, backend="torch-fp32").embed_passages(PASSAGES)).sum(axis=1).min() > 0.9999


def test_pickled_weights_are_not_loaded(tiny: Path, tmp_path: Path) -> None:
    import torch

    folder = tmp_path / "pickled"
    shutil.copytree(tiny, folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot load the model in"):
        open_tiny(folder, tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody/no-such-model", r"'nobody/no-such-model' is no alias and no folder, and it cannot be fetched"),
        ("e5-small-zh", r"Did you mean e5-small-zh-en\?"),
    ],
)
def test_a_wrong_name_gives_one_sentence(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        open_embedder(EmbeddingSettings(model=name), ModelsSettings(dir=str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither modules.json nor config.json"):
        open_tiny(tmp_path)


# ---------------------------------------------------------------- identity


def test_the_fingerprint_is_of_the_content_not_of_the_name(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "elsewhere")
    other = make_tiny_bert(tmp_path / "other", seed=1)
    first = open_tiny(tiny, backend="openvino-fp32").fingerprint
    assert open_tiny(tmp_path / "elsewhere", backend="torch-fp32").fingerprint == first
    assert open_tiny(other, backend="torch-fp32").fingerprint != first
    assert open_tiny(tiny, backend="openvino-fp32", passage_prefix="passage: ").fingerprint != first


def test_settings_override_the_models_prompts(tiny: Path) -> None:
    plain = open_tiny(tiny, backend="openvino-fp32")
    prefixed = open_tiny(tiny, backend="openvino-fp32", query_prefix="abc ")
    np.testing.assert_allclose(prefixed.embed_queries(["x"]), plain.embed_queries(["abc x"]), atol=1e-6)
    np.testing.assert_allclose(prefixed.embed_passages(["x"]), plain.embed_passages(["x"]), atol=1e-6)


@pytest.mark.model
def test_the_default_models_prompts(embedder: LocalEmbedder) -> None:
    assert (embedder.query_prefix, embedder.passage_prefix) == ("query: ", "passage: ")
    assert (embedder.dim, embedder.max_tokens) == (384, 512)


def test_a_cut_query_keeps_its_prefix(tiny: Path) -> None:
    """The cut falls at the end of the text, not on the prefix in front of it."""
    model = open_tiny(tiny, backend="openvino-fp32", query_prefix="q: ")
    room = model.max_tokens - 2 - 2  # special tokens; q and the colon (unknown, one token)
    cut, fits = model.embed_queries(["a " * 300, " ".join("a" * room)])
    assert model.n_truncated == 1
    np.testing.assert_allclose(cut, fits, atol=1e-5)


# ---------------------------------------------------------------- guards and choice, with back ends made up


class FakeBackend:
    """Gives the vectors it is told to."""

    parallel = 1

    def __init__(self, name: str, rows: Any, busy_s: float = 0.0) -> None:
        self.name = name
        self.rows = np.asarray(rows, np.float32)
        self.busy_s = busy_s

    def run(self, batch: Any) -> Any:
        end = time.process_time() + self.busy_s
        while time.process_time() < end:
            pass
        return np.tile(self.rows, (len(batch.ids), 1))


@pytest.mark.parametrize("row", [[0.0] * 32, [float("nan")] * 32, [float("inf")] * 32])
def test_a_useless_vector_is_an_error(tiny: Path, row: Sequence[float]) -> None:
    model = open_tiny(tiny, backend="openvino-fp32")
    model._run = FakeBackend("broken", [row])
    with pytest.raises(ModelError, match="back end broken gave a vector that is zero or not a number"):
        model.embed_passages(["text"])


def test_a_wrong_shape_is_an_error(tiny: Path) -> None:
    model = open_tiny(tiny, backend="openvino-fp32")
    model._run = FakeBackend("broken", [[1.0] * 31])
    with pytest.raises(ModelError, match=r"gave shape \(1, 31\) for 1 texts of 32"):
        model.embed_passages(["text"])


def test_calibration_takes_the_fastest_that_is_right(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def candidates(prepared: Any, threads: int) -> list[FakeBackend]:
        return [
            FakeBackend("openvino-fp32", [[1.0, 0.0]], 0.02),
            FakeBackend("openvino-int8", [[1.0, 0.1]], 0.001),  # cosine 0.995
            FakeBackend("openvino-bf16", [[1.0, 0.01]], 0.005),
            FakeBackend("torch-bf16", [[1.0, 0.0]], 0.0045),  # faster, but not by enough for torch's loading time
        ]

    monkeypatch.setattr(embedding, "_candidates", candidates)
    said: list[str] = []
    settings = EmbeddingSettings(model=str(tiny))
    model = open_embedder(settings, ModelsSettings(dir=str(tmp_path)), notify=said.append)
    assert model.backend == "openvino-bf16"
    kept = json.loads(next(tmp_path.glob(".compiled/*/calibration.json")).read_text())
    (outcome,) = kept.values()
    assert outcome["backend"] == "openvino-bf16"
    assert outcome["min_cosine"]["openvino-int8"] < embedding.MIN_COSINE < outcome["min_cosine"]["openvino-bf16"]


def test_batches_hold_every_text_once_and_respect_both_limits() -> None:
    lengths = [5, 500, 7, 100, 100, 3, 512, 64] * 20
    batches = embedding._batches(lengths, 16, parallel=2)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= 16
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= embedding.TOKENS_PER_CALL
    assert embedding._batches([], 16, parallel=2) == []


# ---------------------------------------------------------------- retrieval


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("xquad-zh", 0.99), ("xquad-en", 0.99)])
def test_the_default_model_finds_passages(embedder: LocalEmbedder, shared: Path, name: str, least: float) -> None:
    folder = shared / "data" / "sets" / name

    def read(file: str) -> list[Any]:
        with gzip.open(folder / file, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    passages, queries = read("corpus.jsonl.gz")[:120], read("queries.dev.jsonl.gz")[:200]
    ids = [passage["_id"] for passage in passages]
    with gzip.open(folder / "qrels.dev.tsv.gz", "rt") as lines:
        relevant = {row.split("\t")[0]: row.split("\t")[1] for row in list(lines)[1:]}
    queries = [query for query in queries if relevant.get(query["_id"]) in set(ids)]
    room = embedder.max_tokens - embedder.passage_overhead() - 2
    texts = []
    for passage in passages:
        spans = embedder.token_offsets(passage["text"])[:room]
        texts.append(passage["text"][: spans[-1][1]])
    scores = embedder.embed_queries([query["text"] for query in queries]) @ embedder.embed_passages(texts).T
    best = np.argsort(-scores, axis=1)[:, :5]
    found = [relevant[query["_id"]] in {ids[i] for i in row} for query, row in zip(queries, best, strict=True)]
    assert len(found) > 100 and np.mean(found) >= least


def test_the_first_vectors_may_be_asked_for_from_several_threads(tiny_settings, repo: Path) -> None:  # type: ignore[no-untyped-def]
    """In a fresh process, with nothing embedded before: the binding must not lock itself up."""
    script = """
import json, sys, threading
from rag.embedding import open_embedder
from rag.settings import Settings
settings = Settings.load(overrides=json.loads(sys.argv[1]))
embedder = open_embedder(settings.embedding, settings.models)
barrier = threading.Barrier(4)
def first():
    barrier.wait()
    embedder.embed_passages(["green tea", "water", "river " * 50] * 40)
threads = [threading.Thread(target=first) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
    values = {"embedding.model": tiny_settings.embedding.model, "embedding.backend": "openvino-fp32",
              "models.dir": tiny_settings.models.dir, "embedding.threads": 4}  # fmt: skip
    for _ in range(3):
        command = [sys.executable, "-c", script, json.dumps(values)]
        assert subprocess.run(command, cwd=repo, timeout=120).returncode == 0
