"""What enrichment will ask of the chat model, told by going through it without asking: how often, how much, how long.

A few of the calls are made, so that the model's own tokens and seconds are known. Their replies are kept, and the import
that follows does not ask for them again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rag import prompts
from rag.enrich import Price
from rag.errors import ChatError
from rag.prompts import Task
from rag.reply_cache import CachedChat, ReplyCache
from rag.settings import EnrichSettings
from rag.types import ChatModel, Message

SAMPLE_CALLS = 9  # of all kinds together; the first is not timed, for a local model is loaded in it
KEPT_CALLS = 64  # of a kind, evenly over the import


@dataclass(slots=True)
class _Kind:
    """The calls of one task. sample: every `stride`-th of them, as (messages, characters)."""

    task: Task
    n_calls: int = 0
    n_chars: int = 0
    stride: int = 1
    sample: list[tuple[Sequence[Message], int]] = field(default_factory=list)

    def add(self, messages: Sequence[Message]) -> None:
        n_chars = sum(len(one.content) for one in messages)
        if self.n_calls % self.stride == 0:
            self.sample.append((messages, n_chars))
        self.n_calls += 1
        self.n_chars += n_chars
        if len(self.sample) > KEPT_CALLS:
            self.sample, self.stride = self.sample[::2], self.stride * 2

    def picked(self, n: int) -> list[tuple[Sequence[Message], int]]:
        step = len(self.sample) / n
        return [self.sample[int(step * (at + 0.5))] for at in range(n)] if step >= 1 else self.sample


@dataclass(slots=True)
class _Measured:
    """What some calls took."""

    n_chars: int = 0
    n_prompt_tokens: int = 0
    n_answer_tokens: int = 0
    n_calls: int = 0
    seconds: float = 0.0
    n_timed: int = 0


class Rehearsal:
    """Stands where the writer of enrich.py stands. It writes nothing, so summaries are sentences and a tree grows as it will."""

    def __init__(self, chat: ChatModel | None, settings: EnrichSettings, cache: ReplyCache) -> None:
        self._chat = CachedChat(chat, cache) if chat else None
        self._settings = settings
        self._kinds: dict[str, _Kind] = {}
        self._left = settings.max_calls

    def write(self, task: Task, text: str, lang: str, *, n: int = 1) -> list[str]:
        """Note what would be asked; nothing is written."""
        messages = prompts.task_messages(task, text, lang, n=n)
        if self._chat and self._left > 0 and not self._chat.knows(messages, task.max_tokens, task.schema):
            self._left -= 1
            self._kinds.setdefault(task.key, _Kind(task)).add(messages)
        return []

    def price(self, clock: Callable[[], float] = time.perf_counter) -> Price:
        """What is still to be asked. The model is asked for a sample unless its tokens have a price; a model that fails
        leaves the time unknown.
        """
        n_calls = sum(one.n_calls for one in self._kinds.values())
        free = not (self._settings.usd_per_million_prompt_tokens or self._settings.usd_per_million_answer_tokens)
        n_prompt = n_answer = seconds = 0.0
        n_to_ask, known, loaded = 0, True, False
        for one in self._kinds.values():
            measured = _Measured()
            if free and known:
                n = max(2, round(SAMPLE_CALLS * one.n_calls / n_calls))
                known, loaded = self._measure(one, n, measured, clock, loaded), True
            of_chars = (
                measured.n_prompt_tokens / measured.n_chars if measured.n_prompt_tokens else _tokens_per_char(one)
            )
            n_left = one.n_calls - measured.n_calls  # the replies of those that were made are kept
            n_to_ask += n_left
            n_prompt += one.n_chars * of_chars * n_left / one.n_calls
            of_calls = (
                measured.n_answer_tokens / measured.n_calls if measured.n_answer_tokens else one.task.max_tokens / 3
            )
            n_answer += n_left * of_calls
            known = known and free and measured.n_timed > 0
            seconds += n_left * measured.seconds / max(measured.n_timed, 1)
        usd = (
            n_prompt * self._settings.usd_per_million_prompt_tokens
            + n_answer * self._settings.usd_per_million_answer_tokens
        ) / 1e6
        return Price(
            n_calls=n_to_ask, n_prompt_tokens=round(n_prompt), n_answer_tokens=round(n_answer), usd=round(usd, 4),
            seconds=round(seconds, 1) if known else None,
        )  # fmt: skip

    def _measure(self, kind: _Kind, n: int, into: _Measured, clock: Callable[[], float], loaded: bool) -> bool:
        """Make n of the calls. Whether the model answered."""
        assert self._chat is not None
        task: Task = kind.task
        options: dict[str, Any] = {"max_tokens": task.max_tokens, "json_schema": task.schema}
        for messages, n_chars in kind.picked(n if loaded else n + 1):
            began = clock()
            try:
                deltas = list(self._chat.stream(messages, deadline_s=self._settings.deadline_s, **options))
            except ChatError:
                return False
            if loaded:
                into.seconds += clock() - began
                into.n_timed += 1
            loaded = True
            into.n_calls += 1
            if (usage := deltas[-1].usage) is not None and usage.n_prompt_tokens:
                into.n_chars += n_chars
                into.n_prompt_tokens += usage.n_prompt_tokens
                into.n_answer_tokens += usage.n_answer_tokens
        return True


def _tokens_per_char(kind: _Kind) -> float:
    """About, where no model told: four letters are a token, or three characters of Chinese two."""
    text = "".join(message.content for messages, _ in kind.sample for message in messages)
    n_wide = sum(char > "\u2e7f" for char in text)
    return (n_wide * 2 / 3 + (len(text) - n_wide) / 4) / max(len(text), 1)
