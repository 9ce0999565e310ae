"""Perplexity of references: by hand on a tiny random model, and from the command."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from eval.answer_commands import answers
from eval.perplexity import Asked, LanguageModel, perplexity, prompt_of
from rag.errors import ModelError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 with two tiny random layers and a vocabulary of bytes."""
    torch = pytest.importorskip("torch")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("gpt2")
    letters = {token: at for at, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(path)
    config = GPT2Config(vocab_size=len(letters), n_positions=64, n_embd=16, n_layer=2, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(path)
    return path


def test_the_surprise_is_what_a_loop_gives(folder: Path) -> None:
    import torch

    model = LanguageModel(str(folder))
    total, n = model.surprise("Where? ", "Rome")
    ids = [model._tokenizer(text)["input_ids"] for text in ("Where? ", "Rome")]
    by_hand = 0.0
    for at, token in enumerate(ids[1]):
        logits = model._model(torch.tensor([ids[0] + ids[1][:at]])).logits[0, -1].detach()
        by_hand -= float(torch.log_softmax(logits, dim=-1)[token])
    assert n == 4 and total == pytest.approx(by_hand, rel=1e-4)
    long, n = model.surprise("x" * 500, "y" * 500)
    assert n == 63 and math.isfinite(long) and model.surprise("a", "") == (0.0, 0)


def test_the_perplexity_of_an_untrained_model_is_its_vocabulary(folder: Path) -> None:
    rows = {
        "q": Asked(question="Who?", reference="Ann", passages=("Ann did.",) * 5),
        "z": Asked(question="谁？", reference="安"),
    }
    assert prompt_of(rows["q"]) == "Ann did.\nAnn did.\nAnn did.\n\nQuestion: Who?\nAnswer: " and "问题：谁？" in prompt_of(rows["z"])  # fmt: skip
    found = perplexity(rows, model=LanguageModel(str(folder)))
    assert found["perplexity"] == pytest.approx(256, rel=0.15) and found["n_tokens"] == 6
    assert perplexity({}, model=LanguageModel(str(folder)))["perplexity"] == 0.0


def test_the_command(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("id,question,answer,source\nq1,When?,1759,a.md\nq2,Where?,,a.md\n")
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": "q1", "answer": "1759", "passages": ["Lit in 1759."]}))
    options: dict[str, Any] = {"recorded": [str(tmp_path / "a.jsonl")], "open_kb": lambda *_: None}
    tree, _ = answers(tmp_path / "q.csv", language_model=str(folder), **options)
    assert tree["perplexity"]["a"]["n"] == 1 and tree["perplexity"]["a"]["perplexity"] > 1
    with pytest.raises(ModelError, match="cannot be loaded"):
        answers(tmp_path / "q.csv", language_model=str(tmp_path / "none"), **options)
