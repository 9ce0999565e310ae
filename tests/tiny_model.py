"""A sentence-transformers folder with a tiny random BERT: a real model through the real code path, fast enough to kill."""

from __future__ import annotations

from pathlib import Path

import pytest

HAN = "绿茶红乌龙黑白黄水温度分钟冲泡的是在和陆羽著经作者年代杭州祁门云南普洱发酵历史文化第一二三四五六七八九十"
WORDS = [
    "tea",
    "green",
    "black",
    "water",
    "leaf",
    "minutes",
    "degrees",
    "history",
    "garden",
    "river",
    "the",
    "of",
    "is",
    "and",
    "in",
]


def build(folder: Path, *, dim: int = 32, max_tokens: int = 128) -> Path:
    """Write the model into `folder`. The weights are random, but the same every time."""
    torch = pytest.importorskip("torch")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(7)
    raw = folder / "raw"
    raw.mkdir(parents=True)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *dict.fromkeys(HAN)]
    letters = [chr(code) for code in range(33, 127)]
    pieces += [piece for piece in [*letters, *("##" + letter for letter in letters)] if piece not in pieces]
    (raw / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    BertTokenizerFast(str(raw / "vocab.txt"), model_max_length=128).save_pretrained(raw)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=dim,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=130,
    )
    BertModel(config).save_pretrained(raw)
    word = Transformer(str(raw), max_seq_length=max_tokens)
    model = SentenceTransformer(modules=[word, Pooling(dim, pooling_mode="mean"), Normalize()], device="cpu")
    model.save(str(folder / "model"))
    return folder / "model"
