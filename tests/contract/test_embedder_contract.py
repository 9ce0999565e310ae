"""What every embedder promises (rag.types.Embedder), checked on each back end with tiny random models, and on the default."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag.embedding import open_embedder
from rag.errors import ModelError
from rag.settings import EmbeddingSettings, ModelsSettings
from rag.types import Embedder

MAX_TOKENS = 48
TEXTS = [
    "overlap",
    "How is overlap counted in a text that is cut into chunks of equal size, and why?",
    "重叠部分如何计算？",
    "",
    "The river rises in the hills. " * 4,
    "mixed 中文 and English, 3.14, naïve façade 😀",
]


def make_tiny_bert(folder: Path, *, seed: int = 0, extra: Callable[[], list[Any]] = list) -> Path:
    """A random BERT with a character vocabulary as a sentence-transformers folder; `extra` modules come last."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers import models as modules
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(seed)
    plain = folder.with_name(folder.name + "-plain")
    plain.mkdir(parents=True)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?!-"
    vocab = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *letters,
        *(f"##{c}" for c in letters),
        *"重叠部分如何计算中文",
    ]
    (plain / "vocab.txt").write_text("\n".join(vocab), encoding="utf-8")
    BertTokenizerFast(str(plain / "vocab.txt"), model_max_length=MAX_TOKENS).save_pretrained(plain)
    config = BertConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=MAX_TOKENS,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(plain)
    transformer = modules.Transformer(str(plain), max_seq_length=MAX_TOKENS)
    stack = [transformer, modules.Pooling(32, pooling_mode="mean"), *extra()]
    SentenceTransformer(modules=stack, device="cpu").save(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(
    scope="module", params=["openvino-fp32", "openvino-bf16", "openvino-int8", "torch-fp32", "torch-bf16", "default"]
)
def model(request: pytest.FixtureRequest) -> Embedder:
    if request.param == "default":
        default: Embedder = request.getfixturevalue("embedder")
        return default
    folder: Path = request.getfixturevalue("tiny")
    settings = EmbeddingSettings(
        model=str(folder), backend=request.param, query_prefix="query: ", passage_prefix="passage: ", batch_size=4
    )
    return open_embedder(settings, ModelsSettings(dir=str(folder.parent)))


def short(model: Embedder) -> list[str]:
    """The texts that fit into the model."""
    room = model.max_tokens - model.passage_overhead()
    return [text for text in TEXTS if len(model.token_offsets(text)) <= room]


def test_vectors_are_unit_float32_rows(model: Embedder) -> None:
    texts = short(model)
    for vectors in (model.embed_passages(texts), model.embed_queries(texts)):
        assert vectors.shape == (len(texts), model.dim) and vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_no_texts_give_no_rows(model: Embedder) -> None:
    for vectors in (model.embed_passages([]), model.embed_queries([])):
        assert vectors.shape == (0, model.dim) and vectors.dtype == np.float32


def test_one_text_in_place_of_a_list_is_a_mistake(model: Embedder) -> None:
    with pytest.raises(TypeError, match="a sequence of texts"):
        model.embed_queries("one text")


def test_a_vector_does_not_depend_on_its_neighbours(model: Embedder) -> None:
    """Order is kept, and padding and batching change nothing beyond rounding."""
    texts = short(model) * 5
    together = model.embed_passages(texts)
    alone = np.concatenate([model.embed_passages([text]) for text in texts])
    assert (together * alone).sum(axis=1).min() > 0.999
    np.testing.assert_array_equal(
        (together @ alone.T).argmax(axis=1) % len(short(model)), np.arange(len(texts)) % len(short(model))
    )


def test_eight_threads_get_what_one_gets(model: Embedder) -> None:
    queries = [f"question {n} about chunks" for n in range(40)]
    one = [model.embed_queries([query]) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        eight = list(pool.map(lambda query: model.embed_queries([query]), queries))
    np.testing.assert_array_equal(np.concatenate(one), np.concatenate(eight))


def test_queries_and_passages_have_their_own_prefix(model: Embedder) -> None:
    query, passage = model.embed_queries(["overlap"]), model.embed_passages(["overlap"])
    assert float((query * passage).sum()) < 0.9999


def test_a_passage_over_the_limit_is_an_error_with_the_count(model: Embedder) -> None:
    long = "word " * model.max_tokens
    with pytest.raises(ModelError, match=rf"A passage of \d+ tokens is over the limit of {model.max_tokens} "):
        model.embed_passages(["short", long])


def test_a_passage_that_fills_the_limit_is_embedded_whole(model: Embedder) -> None:
    text = " ".join("a" * (model.max_tokens - model.passage_overhead()))
    assert len(model.token_offsets(text)) == model.max_tokens - model.passage_overhead()
    assert model.embed_passages([text]).shape == (1, model.dim)


def test_a_query_over_the_limit_is_cut_and_said(model: Embedder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="rag.embedding"):
        first, second = model.embed_queries(["a " * 2000, "a " * 2500 + "z"])
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert f"was cut to {model.max_tokens}" in caplog.text
    assert float((first * second).sum()) > 0.9999


def test_lone_surrogates_do_no_harm(model: Embedder) -> None:
    assert np.isfinite(model.embed_queries(["broken \ud800 text"])).all()
    assert model.token_offsets("a \ud800 b")[-1].tolist() == [4, 5]


def test_offsets_are_spans_of_the_text_in_order(model: Embedder) -> None:
    for text in TEXTS:
        spans = np.asarray(model.token_offsets(text))
        assert spans.shape[1] == 2 and np.issubdtype(spans.dtype, np.integer)
        assert (spans[:, 0] < spans[:, 1]).all() and (spans >= 0).all() and (spans <= len(text)).all()
        assert (np.diff(spans[:, 0]) >= 0).all() and (np.diff(spans[:, 1]) >= 0).all()
        covered = {i for start, end in spans for i in range(start, end)}
        assert all(text[i].isspace() for i in set(range(len(text))) - covered)


def test_offsets_count_code_points(model: Embedder) -> None:
    spans = model.token_offsets("😀 中文 overlap")
    assert spans[-1][1] == len("😀 中文 overlap")


def test_offsets_of_nothing(model: Embedder) -> None:
    assert model.token_offsets("").shape == (0, 2)


def test_a_long_text_has_the_tokens_of_its_parts(model: Embedder) -> None:
    """Long texts are tokenized in pieces; where the pieces meet must not show."""
    line = "The river rises in the hills, and 重叠部分如何计算 is asked there."
    alone, whole = model.token_offsets(line), model.token_offsets("\n".join([line] * 400))
    assert len(whole) == 400 * len(alone)
    np.testing.assert_array_equal(whole[-len(alone) :] - 399 * (len(line) + 1), alone)


def test_passage_overhead_is_what_a_passage_gets(model: Embedder) -> None:
    assert 2 <= model.passage_overhead() <= 12


def test_it_says_what_it_is(model: Embedder) -> None:
    assert model.name and len(model.fingerprint) >= 16 and model.dim > 0
    assert model.max_tokens > model.passage_overhead()
