"""A chat model folder in transformers' layout (safetensors), run by torch: where neither vLLM nor a GGUF file is to be had."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rag.errors import ChatError, ModelError, UsageError
from rag.sizing import Plan
from rag.spoken_calls import read_calls
from rag.types import ChatDelta, Message, Usage


class TransformersChat:
    """As many conversations at once as the plan says; threads may share it, and more of them wait their turn.

    plan: how many conversations, and the longest, see rag/sizing.py. threads: of torch; 0 leaves torch's own choice.
    name: what clients call it; the folder's own if left out. device: cpu or cuda; chosen if left out.
    Raises: ModelError when the folder is no causal model with safetensors.
    """

    def __init__(self, folder: Path, plan: Plan, *, threads: int = 0, name: str = "", device: str = "") -> None:
        try:
            import torch
            import transformers

            self._torch, self._transformers = torch, transformers
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False, dtype="auto", local_files_only=True
            )
        except (OSError, ValueError, ImportError, KeyError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise ModelError(f"{folder} cannot be served as a chat model ({first}). Give a folder of a causal model with safetensors.") from error  # fmt: skip
        if threads:
            torch.set_num_threads(threads)
        self.name = name or folder.name
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._model = loaded.eval().to(device)
        self._device, self._context, self._parallel = device, plan.context, plan.parallel
        self._turns, self._entering = threading.BoundedSemaphore(plan.parallel), threading.Lock()

    @property
    def calls_tools(self) -> bool:
        """Whether the model was trained to call tools: its chat template then has a place for them."""
        return "tools" in json.dumps(self._tokenizer.chat_template or "")

    def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int | None = None,
        stop: Sequence[str] = (), tools: Sequence[Mapping[str, Any]] = (),
    ) -> Iterator[ChatDelta]:  # fmt: skip
        """The reply as it comes, up to the first of `stop`; the last delta has `done` set. Generation stops when the consumer does.

        tools: {name, description, parameters}; the calls that the model makes are in the last delta, and its text comes as one piece.
        Raises: UsageError for a conversation that is too long, and for tools where the model knows none; ChatError.
        """
        if tools and not self.calls_tools:
            raise UsageError(f"The model {self.name} takes no tools: its chat template has no place for them. Ask without, or serve another model.")  # fmt: skip
        prompt = self._prompt(messages, tools)
        room = self._context - len(prompt)
        if room < 1:
            raise UsageError(f"The conversation has {len(prompt):,} tokens, and the model reads {self._context:,}. Send less, or serve it with a larger --context.")  # fmt: skip
        reply = self._generated(prompt, min(max_tokens, room), temperature, top_p, seed, [one for one in stop if one], shows_marks=bool(tools))  # fmt: skip
        return self._with_calls(reply, [str(tool["name"]) for tool in tools]) if tools else reply

    def _with_calls(self, reply: Iterator[ChatDelta], names: Sequence[str]) -> Iterator[ChatDelta]:
        """A reply with its calls taken out of the text, which is known when it has ended."""
        text = ""
        for delta in reply:
            text += delta.text
            if delta.done:
                said, calls = read_calls(text, names)
                yield ChatDelta(text=said)
                yield ChatDelta(done=True, finish_reason=delta.finish_reason, usage=delta.usage, tool_calls=calls)

    def _prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> list[int]:
        turns = [_turn(message) for message in messages]
        if self._tokenizer.chat_template:
            functions = [{"type": "function", "function": dict(tool)} for tool in tools] or None
            try:
                text = self._tokenizer.apply_chat_template(
                    turns, tools=functions, tokenize=False, add_generation_prompt=True
                )
            except Exception as error:  # what a model's own template raises for turns that it does not know
                raise UsageError(f"The model {self.name} was not made for such a conversation ({str(error)[:200]}).") from error  # fmt: skip
            return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        text = "".join(f"{turn['role']}: {turn['content']}\n" for turn in turns)
        return list(self._tokenizer(f"{text}assistant:")["input_ids"])

    def _generated(
        self, prompt: list[int], n_most: int, temperature: float, top_p: float, seed: int | None, stop: Sequence[str], *, shows_marks: bool
    ) -> Iterator[ChatDelta]:  # fmt: skip
        """Runs `generate` on a thread of its own, and takes its tokens as they are made.

        shows_marks: the tokens that mark a call are part of the text.
        """
        started = time.monotonic()
        made: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()
        unwanted = threading.Event()
        sampling: dict[str, Any] = {"do_sample": False}
        if temperature > 0:
            sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p}
        with self._turn(alone=seed is not None and temperature > 0):
            work = threading.Thread(
                target=self._work, args=(prompt, n_most, sampling, seed, made, unwanted), daemon=True
            )
            work.start()
            tokens: list[int] = []
            held_back = max(map(len, stop), default=1) - 1  # what may be the beginning of a stop
            text = told = ""
            stopped = False
            try:
                while not stopped and (token := made.get()) is not None:
                    if isinstance(token, BaseException):
                        raise ChatError("E_LLM_INCOMPLETE", f"The chat model {self.name} failed ({type(token).__name__}: {str(token)[:200]}).") from token  # fmt: skip
                    tokens.append(token)
                    shown = [one for one in tokens if one not in self._ends()] if shows_marks else tokens
                    text = self._tokenizer.decode(shown, skip_special_tokens=not shows_marks)
                    if text.endswith("�"):  # half a character
                        continue
                    found = [at for one in stop if (at := text.find(one)) >= 0]
                    stopped = bool(found)
                    ready = text[: min(found)] if found else text[: len(text) - held_back]
                    if len(ready) > len(told):
                        yield ChatDelta(text=ready[len(told) :])
                        told = ready
                if not stopped and len(text) > len(told):
                    yield ChatDelta(text=text[len(told) :])
            finally:
                unwanted.set()
                work.join()
        ended = stopped or (bool(tokens) and tokens[-1] in self._ends())
        usage = Usage(
            n_prompt_tokens=len(prompt),
            n_answer_tokens=len(tokens),
            seconds=time.monotonic() - started,
            model=self.name,
        )
        yield ChatDelta(done=True, finish_reason="stop" if ended else "length", usage=usage)

    def _work(
        self, prompt: list[int], n_most: int, sampling: dict[str, Any], seed: int | None, made: queue.SimpleQueue[Any],
        unwanted: threading.Event,
    ) -> None:  # fmt: skip
        torch = self._torch
        try:
            if seed is not None:
                torch.manual_seed(seed)
            with torch.inference_mode():
                self._model.generate(
                    torch.tensor([prompt], device=self._device), attention_mask=torch.ones(1, len(prompt), device=self._device, dtype=torch.long),
                    max_new_tokens=n_most, streamer=_Tokens(made), pad_token_id=self._tokenizer.pad_token_id or 0,
                    stopping_criteria=self._transformers.StoppingCriteriaList([lambda ids, _scores, **_: torch.full((ids.shape[0],), unwanted.is_set(), device=ids.device)]),
                    **sampling,
                )  # fmt: skip
            made.put(None)
        except BaseException as error:
            made.put(error)

    @contextmanager
    def _turn(self, *, alone: bool) -> Iterator[None]:
        """One of the turns; all of them for what must be alone: torch has one source of chance for all threads."""
        n = self._parallel if alone else 1
        with self._entering:  # so that two that want all do not wait for each other
            for _ in range(n):
                self._turns.acquire()
        try:
            yield
        finally:
            self._turns.release(n)

    def _ends(self) -> set[int]:
        found = self._model.generation_config.eos_token_id
        return set(found) if isinstance(found, list) else {found}


def _turn(message: Message) -> dict[str, Any]:
    """A message as chat templates expect it: the arguments of calls as values."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [
            {"id": one.call_id, "type": "function", "function": {"name": one.name, "arguments": _arguments(one.arguments)}}
            for one in message.tool_calls
        ]  # fmt: skip
    if message.role == "tool":
        turn["tool_call_id"] = message.call_id
    return turn


def _arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class _Tokens:
    """What `generate` hands its tokens to; the first it hands over is the prompt."""

    def __init__(self, made: queue.SimpleQueue[Any]) -> None:
        self._made, self._is_prompt = made, True

    def put(self, value: Any) -> None:
        if self._is_prompt:
            self._is_prompt = False
            return
        for token in value.reshape(-1).tolist():
            self._made.put(int(token))

    def end(self) -> None:
        """`_work` says itself when all is over."""
