"""A folder of a causal model, served through transformers: a small random Llama behind the real command's application."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from rag.chat import OpenAIChat
from rag.errors import ChatError, ModelError, UsageError
from rag.settings import LlmSettings
from rag.sizing import folder_shape, plan
from rag.transformers_chat import TransformersChat
from rag.types import Message, ToolCall
from tests.api_server import listening
from tests.tiny_model import WORDS
from ui.api.model_app import ModelService, create_model_app

END = 3  # the token that ends a reply
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "user", "assistant", ":", "茶", "绿"]


def build(place: Path, *, n_positions: int, marks: Sequence[str] = (), template: str = "") -> Path:
    """A folder with a small random Llama. marks: tokens that are written as they are."""
    torch = pytest.importorskip("torch")
    from transformers import BertTokenizerFast, LlamaConfig, LlamaForCausalLM

    place.mkdir()
    (place / "vocab.txt").write_text("\n".join(PIECES), encoding="utf-8")
    tokenizer = BertTokenizerFast(str(place / "vocab.txt"))
    tokenizer.add_tokens(list(marks))
    tokenizer.chat_template = template or None
    tokenizer.save_pretrained(place)
    torch.manual_seed(7)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=n_positions, eos_token_id=END, pad_token_id=0, **shape
    )
    LlamaForCausalLM(config).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("causal") / "tiny-llama", n_positions=128)


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
    tools = [{"type": "function", "function": {"name": "f"}}]
    for more in (
        {"response_format": {"type": "json_object"}},  # random weights write none
        {"response_format": {"type": "grammar"}},
        {"n": 2},
        {"logprobs": True},
        {"tools": tools},  # its tokenizer has no template
        {"tools": tools, "tool_choice": "required"},
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
    assert chat._turns._value == chat._parallel
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


# ---------------------------------------------------------------- tools and JSON


TEMPLATE = (
    "{% for one in tools or [] %}{{ one.function.name }} : {% endfor %}{% for m in messages %}{{ m.role }} : {{ m.content }} "
    "{% for c in m.tool_calls or [] %}{{ c.function.arguments.leaf }} of {% endfor %}{% endfor %}assistant :"
)
TOOL = {
    "name": "garden",
    "description": "Looks.",
    "parameters": {"type": "object", "properties": {"leaf": {"type": "string"}}},
}
SAYS_CALL = '{"name": "garden", "arguments": {"leaf": "green"}}'
SAYS_JSON = '{"n": "7", "more": 1}'
SEVEN = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
CALLED = ToolCall(call_id="1", name="garden", arguments='{"leaf": "green"}')
ASKED = Message(role="user", content="tea")
RETURNED = [
    ASKED,
    Message(role="assistant", content="", tool_calls=(CALLED,)),
    Message(role="tool", content="river", call_id="1"),
]


def learned(chat: TransformersChat, lessons: Sequence[tuple[list[int], str]]) -> None:
    """Teach the small model to answer each prompt with these words."""
    torch = pytest.importorskip("torch")
    model, tokenizer = chat._model, chat._tokenizer
    rows = [(prompt, [*tokenizer(words, add_special_tokens=False)["input_ids"], END]) for prompt, words in lessons]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model.train()
    for _ in range(80):
        optimizer.zero_grad()
        for prompt, answer in rows:
            ids = torch.tensor([prompt + answer])
            labels = torch.tensor([[-100] * len(prompt) + answer])
            model(ids, labels=labels).loss.backward()
        optimizer.step()
    model.eval()


@pytest.fixture(scope="module")
def skilled(tmp_path_factory: pytest.TempPathFactory) -> TransformersChat:
    """Two conversations at once, calls a tool, and writes JSON that is nearly valid."""
    marks = ["<tool_call>", "</tool_call>", SAYS_CALL, SAYS_JSON]
    place = build(tmp_path_factory.mktemp("skilled") / "skilled", n_positions=512, marks=marks, template=TEMPLATE)
    chat = TransformersChat(place, plan(folder_shape(place), 2_000_000_000, parallel=2), threads=1)
    told = f"tea\n\nReply with JSON only, valid for this schema: {json.dumps(SEVEN)}"
    learned(chat, [
        (chat._prompt([ASKED], [TOOL]), f"the tea <tool_call> {SAYS_CALL} </tool_call>"),
        (chat._prompt(RETURNED, [TOOL]), "green leaf"),
        (chat._prompt([Message(role="user", content=told)], []), SAYS_JSON),
    ])  # fmt: skip
    return chat


@pytest.fixture(scope="module")
def skilled_url(skilled: TransformersChat) -> Iterator[str]:
    with listening(create_model_app(ModelService(key="", chat=skilled))) as url:
        yield f"{url}/v1"


def of(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key="-", max_retries=0, http_client=httpx2.Client(trust_env=False))


def test_it_calls_tools_and_reads_what_they_say(skilled_url: str) -> None:
    tools = [{"type": "function", "function": TOOL}]
    message = {"role": "user", "content": "tea"}
    choice = ask(of(skilled_url), tools=tools, messages=[message]).choices[0]
    (call,) = choice.message.tool_calls
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "the tea")
    assert (call.function.name, json.loads(call.function.arguments)) == ("garden", {"leaf": "green"})
    result = {"role": "tool", "tool_call_id": call.id, "content": "river"}
    asked = {"role": "assistant", "content": None, "tool_calls": [call.model_dump()]}
    after = ask(of(skilled_url), tools=tools, messages=[message, asked, result])
    assert (after.choices[0].message.content, after.choices[0].finish_reason) == ("green leaf", "stop")
    parts = [part.choices[0] for part in ask(of(skilled_url), tools=tools, messages=[message], stream=True)]
    assert [one.function.name for part in parts for one in part.delta.tool_calls or ()] == ["garden"]
    assert parts[-1].finish_reason == "tool_calls"
    without = ask(of(skilled_url), tools=tools, tool_choice="none", messages=[message]).choices[0]
    assert without.message.tool_calls is None


def test_our_own_client_uses_its_tools_and_does_without_where_there_are_none(
    skilled_url: str, client: openai.OpenAI
) -> None:
    chat = OpenAIChat(LlmSettings(base_url=skilled_url, model="skilled"))
    *_, end = chat.stream([ASKED], max_tokens=20, tools=[TOOL])
    assert [(one.name, one.arguments) for one in end.tool_calls] == [("garden", '{"leaf": "green"}')]
    *_, end = chat.stream(RETURNED, max_tokens=20, tools=[TOOL])
    assert end.tool_calls == () and end.finish_reason == "stop"
    plain = OpenAIChat(LlmSettings(base_url=str(client.base_url), model="tiny-llama"))
    with pytest.raises(ChatError) as refused:
        list(plain.stream([ASKED], max_tokens=20, tools=[TOOL]))
    assert refused.value.code == "E_LLM_NO_TOOLS" and not plain.calls_tools


def test_json_is_valid_for_the_schema_or_refused(skilled_url: str) -> None:
    message = {"role": "user", "content": "tea"}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": SEVEN}}
    answer = ask(of(skilled_url), messages=[message], response_format=form)
    assert json.loads(answer.choices[0].message.content) == {"n": 7}
    parts = list(ask(of(skilled_url), messages=[message], response_format=form, stream=True))
    assert json.loads("".join(part.choices[0].delta.content or "" for part in parts)) == {"n": 7}
    other = {"type": "json_schema", "json_schema": {"name": "m", "schema": {"type": "object", "required": ["tea"]}}}
    with pytest.raises(openai.BadRequestError, match="response_format"):
        ask(of(skilled_url), messages=[message], response_format=other)
    chat = OpenAIChat(LlmSettings(base_url=skilled_url, model="skilled"))
    text = "".join(
        delta.text for delta in chat.stream([ASKED], max_tokens=30, json_schema={"type": "object", "required": ["tea"]})
    )
    assert text and "response_format" in chat._refused  # asked again, in words of its own


def test_as_many_run_at_once_as_the_plan_says(skilled: TransformersChat) -> None:
    first, second = (
        skilled.stream([Message(role="user", content=f"tea {word}")], max_tokens=200) for word in ("of", "in")
    )
    next(first), next(second)  # with one turn the second would wait for the first's end
    third: list[str] = []
    waiting = threading.Thread(target=lambda: third.append(next(skilled.stream([ASKED], max_tokens=2)).text))
    waiting.start()
    assert skilled._turns._value == 0 and not third
    first.close(), second.close()  # type: ignore[attr-defined]
    waiting.join(60)
    assert third and skilled._turns._value == 2


def test_a_seed_holds_beside_others(skilled: TransformersChat) -> None:
    def said(seed: int) -> str:
        return "".join(one.text for one in skilled.stream([ASKED], max_tokens=12, temperature=1.0, seed=seed))

    expected = [said(seed) for seed in range(4)]
    found: dict[int, str] = {}
    threads = [threading.Thread(target=lambda seed=seed: found.update({seed: said(seed)})) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [found[seed] for seed in range(4)] == expected
