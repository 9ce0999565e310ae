"""Bar 12, agents: killed between any two steps a run goes on, loses no message and makes no call twice.

A process with everything imported forks for each point, the child kills itself at its n-th statement to a database,
request to the model or call of a tool, and this process goes on with the thread.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents import Agent, flow, tool
from agents.traces import RecordedChat
from rag.chat import OpenAIChat
from rag.errors import UsageError
from rag.settings import Settings
from tests.bars.harness import FULL, REPO, spread
from tests.bars.harness import says as report
from tests.fakes.openai_server import OpenAIServer, Reply, Request, calls, says

pytestmark = pytest.mark.bar

N_POINTS = 30 if FULL else 4
N_CALLS = 3
FIRST, SECOND = "I am Ada, and my garden lies at 913 m.", "Act three times."

# Reads lines of JSON {home, url, at, signal}, forks for each, and says how many points the child passed and how it ended.
FORKING = """
import json, os, sys, threading
from agents import Agent, flow, tool
from rag.chat import OpenAIChat
from rag.settings import Settings
from tests.bars.test_bar_12_agents import acting

def child(home, url, at, number, write):
    passed, lock = 0, threading.Lock()
    def point(statement=""):
        nonlocal passed
        with lock:
            passed += at >= 0 or "INTO checkpoints" in statement
            if passed == abs(at):
                os.kill(os.getpid(), number)
    settings = Settings().with_values(llm__base_url=url)
    with Agent(tools=[acting(home, point)], chat=OpenAIChat(settings.llm), home=home, settings=settings, approve="all") as agent:
        agent._threads._db.set_trace_callback(point)
        agent.journal._db.set_trace_callback(point)
        agent.run("Act three times.", thread="t")
    os.write(write, str(passed).encode())

print("ready", flush=True)
for line in sys.stdin:
    given = json.loads(line)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            child(given["home"], given["url"], given["at"], given["signal"], write)
        finally:
            os._exit(0)
    os.close(write)
    passed = os.read(read, 100).decode()
    os.close(read)
    _, status = os.waitpid(pid, 0)
    print(json.dumps({"passed": int(passed or 0), "code": os.waitstatus_to_exitcode(status)}), flush=True)
"""


def acting(home: str | Path, point: Any = lambda: None) -> Any:
    """A tool that leaves a line for every call."""

    @tool
    def act(n: int) -> str:
        """Has an effect."""
        point()
        with open(Path(home) / "effects", "a") as file:
            file.write(f"{n}\n")
        point()
        return "done"

    return act


def model(request: Request) -> Reply:
    """Three calls after the last message of the user, then the answer."""
    messages = request.json["messages"]
    done = [one["role"] for one in messages[::-1]].index("user")
    n = sum(one["role"] == "tool" for one in messages[len(messages) - done :])
    if "garden" in messages[len(messages) - done - 1]["content"]:
        return says("Noted.")
    return calls(("act", {"n": n})) if n < N_CALLS else says("Acted.")


class Forking:
    def __init__(self, server: OpenAIServer, folder: Path) -> None:
        self._server, self._folder, self._n = server, folder, 0
        environment = {**os.environ, "PYTHONPATH": str(REPO)}
        self._process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", FORKING], cwd=REPO, env=environment, text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def agent(self, home: Path) -> Agent:
        settings = Settings().with_values(llm__base_url=self._server.url)
        return Agent(tools=[acting(home)], chat=OpenAIChat(settings.llm), home=home, settings=settings, approve="all")

    def killed(self, at: int, number: int) -> tuple[Path, dict[str, int]]:
        """A thread whose second run ended at this point; 0: it was not killed; -n: before its n-th checkpoint was written."""
        self._n += 1
        home = self._folder / str(self._n)
        with self.agent(home) as agent:
            agent.run(FIRST, thread="t")
        assert self._process.stdin is not None
        given = {"home": str(home), "url": self._server.url, "at": at, "signal": number}
        self._process.stdin.write(json.dumps(given) + "\n")
        self._process.stdin.flush()
        return home, json.loads(self._line())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@pytest.fixture(scope="module")
def forking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forking]:
    with OpenAIServer(always=model) as server:
        opened = Forking(server, tmp_path_factory.mktemp("forking"))
        yield opened
        opened.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_goes_on(number: signal.Signals, forking: Forking) -> None:
    home, whole = forking.killed(0, number)
    assert whole["code"] == 0 and (home / "effects").read_text().split() == ["0", "1", "2"]
    counts = {"points": 0, "not begun": 0, "unknown outcome": 0, "went on": 0}
    before_checkpoints = [-4, -5]  # a node has ended, and the graph does not know of it yet
    for at in [*spread(N_POINTS - 2, whole["passed"]), *before_checkpoints]:
        home, ended = forking.killed(at, number)
        assert ended["code"] == -number
        counts["points"] += 1
        with forking.agent(home) as agent:
            listed = {run["task"]: run for run in agent.journal.runs()}
            _, _, unfinished = flow.state(agent._app, "t")
            if SECOND in listed and listed[SECOND]["stopped"] != "answered":
                assert listed[SECOND]["stopped"] == "interrupted" and "resume" in listed[SECOND]["reason"]
            try:
                result = agent.resume("t")
                counts["went on"] += 1
            except UsageError:  # nothing waits: it had not begun, or it was at its end
                assert not unfinished
                if flow.state(agent._app, "t")[0]["task"] == FIRST:
                    assert not (home / "effects").exists()
                    counts["not begun"] += 1
                    result = agent.run(SECOND, thread="t")
                else:
                    result = None
            values, waits, unfinished = flow.state(agent._app, "t")
        made = (home / "effects").read_text().split()
        unknown = sum(step["code"] == "unknown_outcome" for step in values["steps"])
        counts["unknown outcome"] += unknown
        assert len(made) == len(set(made)) and len(made) >= N_CALLS - unknown and unknown <= 1
        assert [asked for asked, _ in values["turns"]] == [FIRST, SECOND] and not waits and not unfinished
        assert values["stopped"] == "answered" and (result is None or result.answer == "Acted.")
    report("12", signal=number.name, of=whole["passed"], **counts)
    assert counts["went on"] > 0


def test_a_long_thread_stays_small(tmp_path: Path) -> None:
    """1,000 turns: neither the file nor the prompt grows with them, and what the first one said is still known."""
    n_turns = 1000 if FULL else 60
    sizes: list[int] = []
    sent: list[int] = []

    class Counting(RecordedChat):
        def stream(self, messages: Any, **options: Any) -> Any:
            sent.append(sum(len(message.content) for message in messages))
            return super().stream(messages, **options)

    script = [{"text": f"Answer {n}.", "native": True} for n in range(2 * n_turns)]
    with Agent(chat=Counting(script), home=tmp_path, settings=Settings()) as agent:
        for n in range(n_turns):
            agent.run(FIRST if n == 0 else f"What about tea {n}, and what about its leaves?", thread="t")
            sizes.append(sum(agent._threads._db.execute(f"select total(length({column})) from {table}").fetchone()[0]
                             for table, column in (("checkpoints", "checkpoint"), ("writes", "value"))))  # fmt: skip
        values, _, _ = flow.state(agent._app, "t")
    on_disk = sum(path.stat().st_size for path in tmp_path.glob("threads.sqlite3*"))
    early = n_turns // 4
    report("12", turns=n_turns, on_disk=on_disk, bytes_early=max(sizes[:early]), bytes_late=max(sizes[early:]),
           prompt_early=max(sent[:early]), prompt_late=max(sent[early:]))  # fmt: skip
    assert any("913" in fact for fact in values["facts"]) and on_disk < 8_000_000
    assert max(sizes[early:]) <= 1.5 * max(sizes[:early]) and max(sent[early:]) <= 1.5 * max(sent[:early])


def test_many_threads_at_once_lose_nothing(tmp_path: Path) -> None:
    """Two runs each on many threads of one process: every turn is there, and none is in another's thread."""
    n_threads = 50 if FULL else 12
    echo = OpenAIServer(always=lambda request: says(f"re: {request.json['messages'][-1]['content']}"))
    with echo as server:
        settings = Settings().with_values(llm__base_url=server.url)
        with Agent(chat=OpenAIChat(settings.llm), home=tmp_path, settings=settings) as agent:

            def work(name: int) -> None:
                for part in "ab":
                    agent.run(f"message {name}{part}", thread=f"t{name}")

            workers = [threading.Thread(target=work, args=(name,)) for name in range(n_threads)]
            for one in workers:
                one.start()
            for one in workers:
                one.join()
            turns = {name: flow.state(agent._app, f"t{name}")[0]["turns"] for name in range(n_threads)}
    kept = sum(len(found) for found in turns.values())
    report("12", threads=n_threads, turns_kept=f"{kept} of {2 * n_threads}")
    for name, found in turns.items():
        assert found == [[f"message {name}{part}", f"re: message {name}{part}"] for part in "ab"]
