"""Bar 20: ten thousand documents, a text of 500 MB, a document of a million tokens, and a clock that jumps."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.hashing import HashingEmbedder
from bench.memory import Peak
from rag.knowledge_base import KnowledgeBase
from rag.settings import Settings
from rag.types import ChatDelta, Document, Message
from tests.bars.harness import FULL, REPO, live, needs, says, state, write_documents

pytestmark = pytest.mark.bar

N_DOCUMENTS = 10_000 if FULL else 400
TEXT_MB = 499 if FULL else 6
N_TOKENS = 1_000_000 if FULL else 100_000
INSTRUCTIONS = 600  # tokens of the prompt around the passages
MAX_MB, MAX_TEXT_MB = 1500, 1000

# An import with the model that costs nothing, in a process of its own. argv: home, source, most bytes that stay whole.
SCRIPT = """
import json, sys
from bench.hashing import HashingEmbedder
from rag import pieces
from rag.knowledge_base import KnowledgeBase
from rag.settings import Settings
home, source, whole = sys.argv[1], sys.argv[2], int(sys.argv[3])
if whole:
    pieces.SPLIT_BYTES, pieces.PIECE_BYTES = whole, whole // 2
with KnowledgeBase.open(home, settings=Settings().with_values(llm__model="none")) as kb:
    kb._embedder = HashingEmbedder()
    report = kb.ingest(source)
    print(json.dumps([report.added, report.unchanged, report.n_chunks, len(report.failures)]))
"""


def start(home: Path, source: Path, *, whole: int = 0, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(home), str(source), str(whole)]
    return subprocess.Popen(command, cwd=REPO, env=dict(os.environ, PYTHONPATH=str(REPO)) | environment,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)  # fmt: skip


def outcome(process: subprocess.Popen[str], timeout: float = 1200) -> tuple[int, int, int, int]:
    """(added, unchanged, chunks, failed) of an import that got through."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError("the import hangs") from None
    assert process.returncode == 0, err
    added, unchanged, n_chunks, n_failed = json.loads(out)
    return added, unchanged, n_chunks, n_failed


def opened(home: Path) -> KnowledgeBase:
    kb = KnowledgeBase.open(home, settings=Settings().with_values(llm__model="none"))
    kb._embedder = HashingEmbedder()  # type: ignore[assignment]
    return kb


def test_ten_thousand_documents(tmp_path: Path) -> None:
    folder, home = write_documents(tmp_path / "documents", N_DOCUMENTS, paragraphs=4), tmp_path / "home"
    first = start(home, folder)
    with Peak(first.pid) as before:
        while first.poll() is None and not (_catalog_ready(home) and len(live(home)) >= N_DOCUMENTS // 4):
            time.sleep(0.05)
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
    n_kept = len(live(home))
    assert 0 < n_kept <= N_DOCUMENTS
    second = start(home, folder)
    with Peak(second.pid) as peak:
        added, unchanged, _, n_failed = outcome(second)
    assert (added + unchanged, n_failed) == (N_DOCUMENTS, 0) and unchanged >= n_kept, (
        "finished documents were imported again"
    )
    with opened(home) as kb:
        assert len(state(kb).documents) == N_DOCUMENTS
    most = max(before.mb, peak.mb)
    says("20 (documents)", documents=N_DOCUMENTS, failed=n_failed, kept_after_kill=n_kept, rss_mb=round(most), engine_rss_mb=round(peak.engine_mb))  # fmt: skip
    assert most + peak.engine_mb <= MAX_MB


def _catalog_ready(home: Path) -> bool:
    try:
        return (home / "milvus.json").exists() and live(home) is not None
    except Exception:  # no table yet, or locked
        return False


def test_a_text_of_500_mb(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 20 * TEXT_MB * 1_000_000:
        pytest.skip("too little disk space")
    source, home = tmp_path / "large.txt", tmp_path / "home"
    paragraph = (
        "The tea of garden {} is picked in the seventh week and kept near the river until the water is warm. " * 5
    )
    with source.open("w") as out:
        at = written = 0
        while written < TEXT_MB * 1_000_000:
            written += out.write((paragraph + "\n\n").format(at, at + 1, at + 2, at + 3, at + 4))
            at += 5
    process = start(home, source, whole=0 if FULL else 2_000_000)
    with Peak(process.pid) as peak:
        added, _, n_chunks, n_failed = outcome(process, timeout=3000)
    with opened(home) as kb:
        infos = kb.documents()
        assert sum(info.n_chars for info in infos) >= written - 10 * len(infos), "text is missing"
        assert kb.search("garden", mode="bm25", top_k=1)[0].source.startswith(f"{source}!/")
    again = outcome(start(home, source, whole=0 if FULL else 2_000_000))
    assert again == (0, added, 0, 0)
    says("20 (large text)", mb=TEXT_MB, pieces=added, chunks=n_chunks, failed=n_failed, rss_mb=round(peak.mb), engine_rss_mb=round(peak.engine_mb))  # fmt: skip
    assert n_failed == 0 and peak.mb <= MAX_TEXT_MB
    with source.open("a") as out:
        out.write("One line more, quinquereme.\n")
    changed = outcome(start(home, source, whole=0 if FULL else 2_000_000))
    assert changed[1] >= added - 1, "pieces that did not change were imported again"


class Reader:
    """A chat model that keeps what it was given and cites the first passage."""

    name = "reader"

    def __init__(self) -> None:
        self.read = ""

    def stream(self, messages: Sequence[Message], **_: Any) -> Iterator[ChatDelta]:
        self.read = "\n".join(message.content for message in messages)
        yield ChatDelta(text="It sank in 1911 [1].")
        yield ChatDelta(done=True, finish_reason="stop")

    def close(self) -> None:
        pass


def test_an_answer_from_a_document_of_a_million_tokens(tmp_path: Path) -> None:
    """What a chat model is given stays within its budget however long the document is."""
    words = (f"tea{at} river{at % 97} garden leaf." if at != 777 else "The quinquereme sank in 1911." for at in range(N_TOKENS // 5))  # fmt: skip
    reader = Reader()
    with opened(tmp_path / "home") as kb:
        kb._chat, kb._chat_opened = reader, True
        report = kb.ingest(Document(" ".join(words), doc_id="long"))
        answer = kb.ask("When did the quinquereme sink?", mode="bm25")
        settings = kb.settings.answer
        longest = max(chunk.n_tokens for chunk in kb.chunks("long"))
    n_read = len(HashingEmbedder().token_offsets(reader.read))
    budget = settings.max_passages * settings.passage_tokens
    says("20 (long document)", tokens=N_TOKENS, chunks=report.n_chunks, longest_chunk=longest, prompt_tokens=n_read, budget=budget)  # fmt: skip
    assert "quinquereme sank in 1911" in reader.read and "1911" in answer.text
    assert n_read <= 2 * budget + INSTRUCTIONS, "passages are counted in about as many tokens"
    assert longest <= HashingEmbedder.max_tokens


# ---------------------------------------------------------------- the clock

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long jump(void) { const char *s = getenv("CLOCK_JUMP_S"); return s ? atol(s) : 0; }

int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*plain)(clockid_t, struct timespec *);
    if (!plain) plain = dlsym(RTLD_NEXT, "clock_gettime");
    int rc = plain(id, t);
    if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) t->tv_sec += jump();
    return rc;
}
time_t time(time_t *out) { struct timespec t; clock_gettime(CLOCK_REALTIME, &t); if (out) *out = t.tv_sec; return t.tv_sec; }
int gettimeofday(struct timeval *t, void *zone) {
    struct timespec now; clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec; t->tv_usec = now.tv_nsec / 1000; return 0;
}
"""
WEEK_S, TEN_YEARS_S = 7 * 86_400, 3653 * 86_400


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that moves CLOCK_REALTIME by CLOCK_JUMP_S seconds and leaves the monotonic clock alone."""
    needs("cc")
    if sys.platform != "linux":
        pytest.skip("LD_PRELOAD is Linux's")
    at = tmp_path_factory.mktemp("shim")
    (at / "shim.c").write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(at / "shim.so"), str(at / "shim.c"), "-ldl"], check=True)
    return at / "shim.so"


@pytest.mark.parametrize("jump_s", [-WEEK_S, TEN_YEARS_S])
def test_the_clock_jumps(jump_s: int, shim: Path, tmp_path: Path) -> None:
    """Imports before and after a jump: no hang, a lock that is held stays held, the later version is the one that counts."""
    jumped = {"LD_PRELOAD": str(shim), "CLOCK_JUMP_S": str(jump_s)}
    told = subprocess.run([sys.executable, "-c", "import time; print(time.time())"], env=dict(os.environ) | jumped, capture_output=True, text=True)  # fmt: skip
    assert abs(float(told.stdout) - time.time() - jump_s) < 3600, "the shim does not move the clock"
    folder, home = write_documents(tmp_path / "documents", 10, paragraphs=2), tmp_path / "home"
    assert outcome(start(home, folder), 120)[0] == 10
    path = folder / "00003.md"
    path.write_text("# Second\n\nquinquereme after the jump\n", encoding="utf-8")
    began = time.monotonic()
    assert outcome(start(home, folder, **jumped), 120)[1] == 9
    seconds = time.monotonic() - began
    with opened(home) as kb:
        assert "quinquereme" in kb.text(
            next(info.doc_id for info in kb.documents() if info.source.endswith("00003.md"))
        )
        if (
            jump_s > 0
        ):  # the clock is right again: what was written in ten years' time is hidden until it is written anew
            assert kb.search("quinquereme", mode="bm25").warnings
        assert kb.ingest(folder).unchanged == 10
        assert [hit.source for hit in kb.search("quinquereme", mode="bm25")] == [str(path)]
        first = state(kb)
        with kb._writing():
            refused = start(home, folder, **jumped)
            _, said = refused.communicate(timeout=60)
            assert refused.returncode != 0 and "LockedError" in said, "a held lock expired"
    path.write_text("# Third\n\ntrireme back in time\n", encoding="utf-8")  # by the clock, older than the second
    assert outcome(start(home, folder), 120)[1] == 9
    with opened(home) as kb:
        (info,) = [info for info in kb.documents() if info.source.endswith("00003.md")]
        assert "trireme" in kb.text(info.doc_id) and info.version == 3, "versions are ordered by the clock"
        assert len(state(kb).documents) == len(first.documents)
    says("20 (clock)", jump_s=jump_s, import_s=round(seconds, 1), order="kept", lock="held")
