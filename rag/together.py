"""Questions that arrive while one of their kind is being answered are asked together, in one call.

The embedded Milvus answers one call at a time, but the questions of one call on all cores: two questions take it no
longer than one. Nobody waits for company; a question that comes alone is asked alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from rag.turns import turns

MOST = 16  # questions in one call, so that the first of them is not kept long


class Together:
    """Threads share one of these; `ask` may be called from all of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # for what follows
        self._gathering: dict[Hashable, _Call] = {}
        self._turn = threading.Lock()  # held by the call that is being answered

    def ask(self, key: Hashable, question: Any, call: Callable[[list[Any]], Sequence[Any]]) -> Any:
        """The answer to `question` from `call`, which answers a list of them in order.

        key: what must be equal for questions to share a call. Raises: what `call` raised. When a shared call fails, each of its
        questions is asked again alone: one that cannot be answered takes no other with it.
        """
        with self._lock:
            mine = self._gathering.get(key)
            if mine is None or len(mine.questions) >= MOST:
                mine = self._gathering[key] = _Call()
            place = len(mine.questions)
            mine.questions.append(question)
        with turns.waiting():
            if place == 0:  # who comes first asks for all
                with self._turn:
                    with self._lock:  # whoever comes now gathers for the next call
                        if self._gathering.get(key) is mine:
                            del self._gathering[key]
                    mine.answer(call)
            mine.answered.wait()
        if mine.error is not None:
            if len(mine.questions) > 1:
                return call([question])[0]
            raise mine.error
        return mine.answers[place]


class _Call:
    def __init__(self) -> None:
        self.questions: list[Any] = []
        self.answers: Sequence[Any] = ()
        self.error: BaseException | None = None
        self.answered = threading.Event()

    def answer(self, call: Callable[[list[Any]], Sequence[Any]]) -> None:
        try:
            self.answers = call(self.questions)
        except BaseException as error:
            self.error = error
        finally:
            self.answered.set()
