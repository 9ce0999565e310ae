"""A folder of a causal model, served through transformers: a small random Llama behind the real command's application."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from rag.errors import ModelError, UsageError
from rag.sizing import folder_shape, plan
from rag.transformers_chat import TransformersChat
from rag.types import Message
from tests.api_server import listening
from tests.tiny_model import WORDS
from ui.api.model_app import ModelService, create_model_app


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch = pytest.importorskip("torch")
    from transformers import BertTokenizerFast, LlamaConfig, LlamaForCausalLM

    place = tmp_path_factory.mktemp("causal") / "tiny-llama"
    place.mkdir()
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "user", "assistant", ":", "茶", "绿"]
    (place / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    BertTokenizerFast(str(place / "vocab.txt")).save_pretrained(place)
    torch.manual_seed(7)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(pieces), max_position_embeddings=128, eos_token_id=3, pad_token_id=0, **shape)
    LlamaForCausalLM(config).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def chat(folder: Path) -> TransformersChat:
    return TransformersChat(folder, plan(folder_shape(folder), 2_000_000_000), threads=1)


@pytest.fixture(scope="module")
def client(chat: TransformersChat) -> Iterator[openai.OpenAI]:
    with listening(create_model_app(ModelService(key="", chat=chat))) as url:
        yield openai.OpenAI(
            base_url=f"{url}/v1", api_key="-", max_retries=0, http_client=httpx2.Client(trust_env=False)
        )


def ask(client: openai.OpenAI, **more: Any) -> Any:
    body = {
        "model": "tiny-llama",
        "messages": [{"role": "user", "content": "tea 绿 茶"}],
        "max_tokens": 12,
        "temperature": 0,
    }
    return client.chat.completions.create(**{**body, **more})


def test_it_says_what_the_model_itself_says(chat: TransformersChat, client: openai.OpenAI) -> None:
    torch = pytest.importorskip("torch")
    answer = ask(client)
    ids = chat._tokenizer("user: tea 绿 茶\nassistant:", return_tensors="pt")["input_ids"]
    expected: list[int] = []
    with torch.inference_mode():  # greedy, token by token, without generate and its cache
        while len(expected) < 12 and (not expected or expected[-1] != 3):
            logits = chat._model(torch.cat([ids, torch.tensor([expected], dtype=torch.long)], dim=1)).logits
            expected.append(int(logits[0, -1].argmax()))
    assert answer.choices[0].message.content == chat._tokenizer.decode(expected, skip_special_tokens=True)
    assert answer.usage.completion_tokens == len(expected) and answer.usage.prompt_tokens == ids.shape[1]
    assert answer.choices[0].finish_reason == ("stop" if expected[-1] == 3 else "length")


def test_a_stream_is_the_same_in_pieces(client: openai.OpenAI) -> None:
    parts = list(ask(client, stream=True, stream_options={"include_usage": True}))
    text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert text == ask(client).choices[0].message.content and len(parts) > 5
    assert parts[-1].usage.completion_tokens <= 12


def test_a_seed_repeats_what_chance_says(client: openai.OpenAI) -> None:
    first, again, other = (ask(client, temperature=1, seed=seed).choices[0].message.content for seed in (1, 1, 2))
    assert first == again != other


def test_a_stop_ends_it_and_is_not_said(client: openai.OpenAI) -> None:
    whole = ask(client).choices[0].message.content
    word = whole.split()[3]
    expected = whole[: whole.index(word)]
    choice = ask(client, stop=["zeppelin", word]).choices[0]
    assert (choice.message.content, choice.finish_reason) == (expected, "stop")
    parts = list(ask(client, stop=word, stream=True))
    assert "".join(part.choices[0].delta.content or "" for part in parts) == expected
    assert ask(client, stop="zeppelin").choices[0].message.content == whole


def test_what_it_cannot_do_is_refused(client: openai.OpenAI) -> None:
    for more in (
        {"response_format": {"type": "json_object"}},
        {"n": 2},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
    ):
        with pytest.raises(openai.APIStatusError) as refused:
            ask(client, **more)
        assert refused.value.status_code in (400, 422)
    with pytest.raises(openai.APIStatusError, match="reads 128"):
        ask(client, messages=[{"role": "user", "content": "tea " * 200}])


def test_who_leaves_ends_the_generation(chat: TransformersChat) -> None:
    stream = chat.stream([Message(role="user", content="tea")], max_tokens=100)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert not chat._turn.locked()
    assert list(chat.stream([Message(role="user", content="tea")], max_tokens=2))[-1].done
    with pytest.raises(UsageError):
        chat.stream([Message(role="user", content="tea " * 200)], max_tokens=2)


def test_a_folder_without_safe_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        if (folder / name).exists():
            (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match="safetensors"):
        TransformersChat(tmp_path, plan(folder_shape(folder), 2_000_000_000))
