"""Bar 17: a hundred people at once on the page. All are answered, none sees a word of another, and memory stays bounded.

Each session speaks Streamlit's own protocol over its WebSocket, as a browser does.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import time
from pathlib import Path

import pytest

from rag import Document, KnowledgeBase
from tests.bars.harness import FULL, says
from tests.fakes.openai_server import OpenAIServer, Reply, Request
from tests.fakes.openai_server import says as reply
from tests.page_server import serving

pytestmark = pytest.mark.bar
N_SESSIONS = 100 if FULL else 12
MODEL_S = 2.0 if FULL else 0.2
MAX_MB = 600


def scripted(request: Request) -> Reply:
    """Takes its time, then says the number that the question names."""
    time.sleep(MODEL_S)
    question = request.json["messages"][-1]["content"]
    number = question.rpartition("tag")[2].split()[0].strip("?.")
    return reply(f"Green tea is steeped at 80 degrees [1].\n\ncanary{number} was here.")


async def session(url: str, n: int) -> tuple[float, bytes]:
    """Open the page, ask, and read until the answer is whole: the seconds, and all that the server sent."""
    import websockets
    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

    received: list[bytes] = []
    async with websockets.connect(
        f"{url.replace('http', 'ws')}/_stcore/stream",
        subprotocols=["streamlit"],
        max_size=None,
        open_timeout=240,
        ping_interval=None,
    ) as ws:  # type: ignore[list-item]

        async def until(done) -> None:  # type: ignore[no-untyped-def]
            while True:
                received.append(await asyncio.wait_for(ws.recv(), 240))  # type: ignore[arg-type]
                message = ForwardMsg()
                message.ParseFromString(received[-1])
                if done(message):
                    return

        def finished(message: ForwardMsg) -> bool:
            return message.WhichOneof("type") == "script_finished"

        begin = BackMsg()
        begin.rerun_script.query_string = ""
        await ws.send(begin.SerializeToString())
        widget = ""

        def first_run(message: ForwardMsg) -> bool:
            nonlocal widget
            if message.WhichOneof("type") == "delta" and message.delta.new_element.HasField("chat_input"):
                widget = message.delta.new_element.chat_input.id
            return finished(message)

        await until(first_run)
        start = time.perf_counter()
        ask = BackMsg()
        state = ask.rerun_script.widget_states.widgets.add()
        state.id = widget
        state.chat_input_value.data = f"How many degrees for green tea, tag{n} ?"
        await ws.send(ask.SerializeToString())
        said = rated = False

        def answered(message: ForwardMsg) -> bool:
            """The answer is drawn for good, with its rating below."""
            nonlocal said, rated
            said = said or f"canary{n}".encode() in received[-1]
            rated = rated or (said and b"rating-" in received[-1])
            return rated and finished(message)

        await until(answered)
        return time.perf_counter() - start, b"".join(received)


def rss_mb(pid: int) -> float:
    """Resident memory of a process and those under it, without what they share."""
    total = 0.0
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if os.getpgid(int(entry.name)) == os.getpgid(pid):
                    total += sum(int(line.split()[1]) for line in (entry / "smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))  # fmt: skip
            except OSError:
                continue
    return total / 1024


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="memory is read from /proc")
def test_all_are_answered_and_none_sees_another(tmp_path: Path, tiny_settings) -> None:  # type: ignore[no-untyped-def]
    with KnowledgeBase.open(tmp_path / "home", settings=tiny_settings) as kb:
        kb.ingest([Document("# Tea\n\nGreen tea is steeped at 80 degrees.", doc_id="green", source="green.md")])

    async def everybody(url: str) -> list[tuple[float, bytes]]:
        return await asyncio.gather(*(session(url, 1000 + n) for n in range(N_SESSIONS)))

    with OpenAIServer(always=scripted) as model, serving(tmp_path / "home", tiny_settings, llm_url=model.url) as server:
        ended = asyncio.run(everybody(server.url))
        megabytes = rss_mb(server.pid)
    seconds = sorted(one for one, _ in ended)
    says(
        "17", sessions=N_SESSIONS, answered=len(ended), median_s=round(statistics.median(seconds), 2),
        p95_s=round(seconds[int(0.95 * (len(seconds) - 1))], 2), mb=round(megabytes), load=round(os.getloadavg()[0], 1),
    )  # fmt: skip
    assert len(ended) == N_SESSIONS
    for n, (_, received) in enumerate(ended):
        assert set(re.findall(rb"canary\d+", received)) == {b"canary%d" % (1000 + n)}
    assert megabytes <= MAX_MB
