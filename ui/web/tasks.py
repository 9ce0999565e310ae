"""Work that goes on when its tab is closed: answers, evaluations, graphs, agents' runs.

A task runs in a thread of the page's process and keeps what it emits; a tab looks at it, goes away and comes back. What
must outlive the process, too, is a job (`rag.jobs`).
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from rag.errors import RagstoneError

KEPT = 200  # ended tasks that are remembered, those ended last

log = logging.getLogger("ragstone.page")


class Task:
    """One piece of work. Threads share it.

    state: running, done, failed or stopped. result: what the work returned. error: one sentence for people. code: of the error, or E_BUG.
    """

    def __init__(self, owner: str, kind: str, title: str, about: str = "") -> None:
        self.task_id = secrets.token_hex(8)
        self.owner, self.kind, self.title, self.about = owner, kind, title, about
        self.state = "running"
        self.result: Any = None
        self.error = self.code = ""
        self.stop = threading.Event()  # the work looks at it and ends early
        self.started = time.time()
        self.ended: float | None = None
        self._events: list[Any] = []
        self._changed = threading.Condition()

    def emit(self, event: Any) -> None:
        """Called by the work: something that a tab may show."""
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def since(self, n: int, timeout_s: float = 0.0) -> list[Any]:
        """The events after the first n; waits for one at most timeout_s while the task runs."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._events) > n or self.state != "running", timeout_s)
            return self._events[n:]

    @property
    def running(self) -> bool:
        return self.state == "running"

    def _end(self, state: str, *, result: Any = None, error: str = "") -> None:
        with self._changed:
            self.state, self.result, self.error, self.ended = state, result, error, time.time()
            self._changed.notify_all()


class Tasks:
    """All tasks of the page's process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: dict[str, Task] = {}

    def start(self, owner: str, kind: str, title: str, work: Callable[[Task], Any], *, about: str = "") -> Task:
        """Do `work(task)` in a thread of its own. about: the id of what it works on, by which it is found again."""
        task = Task(owner, kind, title, about)
        with self._lock:
            self._tasks[task.task_id] = task
            ended = sorted((one for one in self._tasks.values() if one.ended), key=lambda one: one.ended or 0)
            for old in ended[: max(0, len(ended) - KEPT)]:
                del self._tasks[old.task_id]
        threading.Thread(target=self._run, args=(task, work), name=f"{kind}-{task.task_id}", daemon=True).start()
        return task

    def get(self, task_id: str, owner: str) -> Task | None:
        """The owner's task; None also for somebody else's."""
        task = self._tasks.get(task_id)
        return task if task is not None and task.owner == owner else None

    def on(self, owner: str, kind: str, about: str) -> Task | None:
        """The owner's newest task of a kind on one thing."""
        return next((task for task in self.list(owner, kind) if task.about == about), None)

    def list(self, owner: str, kind: str = "") -> list[Task]:
        """The owner's tasks, of one kind or all, the newest first."""
        with self._lock:
            mine = [one for one in self._tasks.values() if one.owner == owner and kind in ("", one.kind)]
        return sorted(mine, key=lambda one: one.started, reverse=True)

    def _run(self, task: Task, work: Callable[[Task], Any]) -> None:
        try:
            result = work(task)
        except RagstoneError as error:
            task.code = error.code
            task._end("failed", error=str(error))
        except Exception:  # the edge: a person reads a sentence, the log has the rest
            log.exception("%s %s failed", task.kind, task.task_id)
            task.code = "E_BUG"
            task._end("failed", error="E_BUG")
        else:
            task._end("stopped" if task.stop.is_set() else "done", result=result)
