"""A scripted chat model in the process: it says what the script says, in order, and fails when it runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rag.errors import ChatError
from rag.types import ChatDelta, Message, Usage

Scripted = str | ChatError


class ScriptedChat:
    """script: replies in order, or a function of the messages. `asked` holds every request."""

    name = "scripted"

    def __init__(self, script: Sequence[Scripted] | Callable[[Sequence[Message]], Scripted]) -> None:
        self._script = script if callable(script) else list(script)
        self.asked: list[tuple[Message, ...]] = []

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        json_schema: Mapping[str, Any] | None = None,
        deadline_s: float | None = None,
    ) -> Iterator[ChatDelta]:
        self.asked.append(tuple(messages))
        if callable(self._script):
            reply = self._script(messages)
        else:
            assert self._script, f"the script has no reply to {messages[-1].content!r}"
            reply = self._script.pop(0)
        if isinstance(reply, ChatError):
            raise reply
        yield ChatDelta(text=reply)
        yield ChatDelta(done=True, finish_reason="stop", usage=Usage(model=self.name))

    def close(self) -> None:
        """Nothing to let go of."""
