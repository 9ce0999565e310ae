"""A chat model on record: what it said is written into a file, and the file can answer in its place."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rag.errors import ChatError, UsageError
from rag.reply_cache import reply_key
from rag.types import ChatDelta, ChatModel, Message, Usage

NOT_RECORDED = "E_NOT_RECORDED"


class RecordedChat:
    """Answers from the file; asks the model for what is not in it, and adds that. Threads may share it.

    chat: None replays: what is not in the file raises ChatError E_NOT_RECORDED. The model's name is recorded with its
    replies and is part of what is looked up, so the recording of one model never answers for another.
    Lines that a crash cut off are passed over; only whole replies at temperature 0 are kept.
    Raises: UsageError when the file cannot be read, or there is none to replay.
    """

    def __init__(self, path: str | Path, chat: ChatModel | None) -> None:
        self._path, self._chat, self._lock = Path(path), chat, threading.Lock()
        self._replies, recorded = _read(self._path, must_exist=chat is None)
        self.name = chat.name if chat is not None else recorded
        self.n_calls = 0

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        json_schema: Mapping[str, Any] | None = None,
        deadline_s: float | None = None,
    ) -> Iterator[ChatDelta]:
        key = reply_key(self.name, messages, max_tokens, json_schema)
        if temperature == 0 and key in self._replies:
            yield ChatDelta(text=self._replies[key])
            yield ChatDelta(done=True, finish_reason="stop", usage=Usage(model=self.name))
            return
        if self._chat is None:
            raise ChatError(NOT_RECORDED, f"{self._path} holds no reply to this prompt. Record it again with a model: --record {self._path}")  # fmt: skip
        self.n_calls += 1
        text = ""
        for delta in self._chat.stream(
            messages, max_tokens=max_tokens, temperature=temperature, json_schema=json_schema, deadline_s=deadline_s
        ):
            text += delta.text
            if delta.done and temperature == 0:
                self._keep(key, text)
            yield delta

    def close(self) -> None:
        if self._chat is not None:
            self._chat.close()

    def _keep(self, key: str, reply: str) -> None:
        line = json.dumps({"key": key, "model": self.name, "reply": reply}, ensure_ascii=False)
        with self._lock:
            self._replies[key] = reply
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a", encoding="utf-8", newline="\n") as file:
                    file.write(line + "\n")
            except OSError as error:
                raise UsageError(f"The recording {self._path} cannot be written ({error.strerror}). Choose another with --record.") from error  # fmt: skip


def _read(path: Path, *, must_exist: bool) -> tuple[dict[str, str], str]:
    if not path.exists() and not must_exist:
        return {}, ""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UsageError(f"The recording {path} cannot be read ({error.strerror}). Check --replay.") from error
    replies: dict[str, str] = {}
    model = ""
    for line in lines:
        try:
            one = json.loads(line)
            replies[str(one["key"])], model = str(one["reply"]), str(one.get("model") or model)
        except (ValueError, TypeError, KeyError):
            continue
    return replies, model
