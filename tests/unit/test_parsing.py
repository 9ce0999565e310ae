"""The parser pool: files that hang, crash, bloat or lie cost themselves only, and no process is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from rag import parsing
from rag.errors import DocumentError
from rag.parse_child import KINDS, pack_blocks, page_starts, unpack_blocks
from rag.parsing import ParserPool, page_image, parse_parts
from rag.settings import ParseSettings
from rag.sources import FoundFile, content_hash, find
from rag.types import Block, Failure, ParsedDocument, Part

linux = pytest.mark.skipif(sys.platform != "linux", reason="limits and /proc as on Linux")


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the loaders' door with another behind it: documents that are orders to misbehave."""
    package = tmp_path / "site"
    package.mkdir()
    (package / "sitecustomize.py").write_text(
        textwrap.dedent("""
        import os, socket, subprocess, sys, time
        import rag.loaders.markdown as markdown

        honest = markdown.load

        def load(data, *, name, password=""):
            order, _, argument = data.decode("latin-1").partition(" ")
            if order == "hang":
                time.sleep(600)
            if order == "crash":
                os.abort()
            if order == "exit":
                os._exit(0)
            if order == "memory":
                kept = [bytearray(1 << 24) for _ in range(1 << 16)]
            if order == "abort-on-memory":
                try:
                    kept = [bytearray(b"x" * (1 << 24)) for _ in range(1 << 16)]
                except MemoryError:
                    os.abort()
            if order == "bug":
                raise KeyError("oops")
            if order == "deep":
                load(data, name=name)
            if order == "print":
                print("noise on stdout", flush=True)
                os.write(1, b"more noise")
                sys.stdin.read()
            if order == "write":
                open(argument, "w").write("x")
            if order == "connect":
                socket.create_connection(("127.0.0.1", int(argument)))
            if order == "run":
                subprocess.run(["touch", argument])
            if order == "environment":
                return honest(repr(sorted(os.environ)).encode(), name=name)
            return honest(data, name=name)

        markdown.load = load
        """)
    )
    monkeypatch.setenv("PYTHONPATH", str(package))
    return tmp_path


def code_of(pool: ParserPool, text: str) -> str:
    with pytest.raises(DocumentError) as caught:
        pool.parse(text.encode(), "order.md")
    return caught.value.code


def found(path: Path) -> FoundFile:
    (item,) = find(path)
    assert isinstance(item, FoundFile)
    return item


def test_a_document_comes_back_whole() -> None:
    text = "---\nauthor: Ada\n---\n# Head 中文 👨\u200d👩\u200d👧\n\nText.\n\n- a\n- b\n"
    with ParserPool(ParseSettings(), workers=1) as pool:
        parsed = pool.parse(text.encode(), "file.md")
        assert parsed.title == "Head 中文 👨\u200d👩\u200d👧"
        assert parsed.metadata == {"author": "Ada"}
        assert [block.kind for block in parsed.blocks] == ["heading", "paragraph", "list"]
        assert [parsed.text[b.start : b.end] for b in parsed.blocks][1:] == ["Text.", "- a\n- b"]
        assert code_of(pool, "") == "E_EMPTY"


@linux
@pytest.mark.parametrize(
    ("order", "code"),
    [
        ("hang", "E_TIMEOUT"), ("crash", "E_CRASH"), ("exit", "E_CRASH"), ("memory", "E_MEMORY"), ("abort-on-memory", "E_MEMORY"),
        ("bug", "E_PARSE"), ("deep", "E_TOO_DEEP"),
    ],
)  # fmt: skip
def test_a_bad_file_gets_its_code_and_the_next_one_is_read(hostile: Path, order: str, code: str) -> None:
    with ParserPool(ParseSettings(timeout_s=3, memory_mb=200), workers=1) as pool:
        assert pool.parse(b"good before", "a.md").text == "good before"
        assert code_of(pool, order) == code
        assert pool.parse(b"good after", "b.md").text == "good after"


@linux
def test_the_child_cannot_write_connect_or_start_programs(hostile: Path) -> None:
    import socket

    with ParserPool(ParseSettings(), workers=1) as pool, socket.create_server(("127.0.0.1", 0)) as server:
        target = hostile / "written"
        for order in (f"write {target}", f"run {target}", f"connect {server.getsockname()[1]}"):
            with pytest.raises(DocumentError, match="may not") as caught:
                pool.parse(order.encode(), "order.md")
            assert caught.value.code == "E_PARSE"
        assert not target.exists()
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_what_libraries_print_does_not_reach_the_protocol(hostile: Path) -> None:
    with ParserPool(ParseSettings(), workers=1) as pool:
        assert pool.parse(b"print", "a.md").text == "print"


def test_the_child_sees_no_secrets(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    with ParserPool(ParseSettings(), workers=1) as pool:
        names = pool.parse(b"environment", "a.md").text
    assert "PYTHONPATH" in names and "OPENAI" not in names


def outcome(pool: ParserPool, file: FoundFile) -> ParsedDocument | str:
    """What a file parses to, or the code that it fails with."""
    try:
        return pool.parse_file(file.path)
    except DocumentError as error:
        return error.code


def test_many_files_in_order_with_failures_between(tmp_path: Path) -> None:
    for i in range(12):
        (tmp_path / f"{i:02}.txt").write_text(f"text {i}")
    (tmp_path / "05.txt").write_bytes(b"")
    (tmp_path / "07.pdf").write_bytes(b"%PDF-1.7\n")
    files = [item for item in find(tmp_path) if isinstance(item, FoundFile)]
    files.append(FoundFile(path=str(tmp_path / "gone"), source="gone", size=1, mtime_ns=0))
    with ParserPool(ParseSettings(), workers=2) as pool:
        results = list(pool.side_by_side(lambda file: (file.name, outcome(pool, file)), iter(files)))
    assert [name for name, _ in results] == [file.name for file in files]
    codes = {name: result for name, result in results if isinstance(result, str)}
    assert codes == {"05.txt": "E_EMPTY", "07.pdf": "E_CORRUPT", "gone": "E_UNREADABLE"}
    assert [result.text for name, result in results if name == "03.txt" and not isinstance(result, str)] == ["text 3"]


def test_files_inside_files_are_read_each_on_its_own() -> None:
    parts = (
        Part(name="a.txt", data=b"first"),
        Part(name="sub/b.pdf", data=b"%PDF-1.7\n"),
        Part(name="c.md", data=b"# Third"),
    )
    with ParserPool(ParseSettings(), workers=1) as pool:
        found, warnings = parse_parts(pool, ParsedDocument(text="", parts=parts), "/x/box.zip")
    assert [part.name for part in found] == ["a.txt", "sub/b.pdf", "c.md"] and warnings == []
    assert isinstance(found[0].result, ParsedDocument) and found[0].result.text == "first"
    assert isinstance(found[1].result, Failure) and found[1].result.source == "/x/box.zip!/sub/b.pdf"
    assert found[0].digest == content_hash(b"first") and found[0].size == 5


def test_more_parts_than_the_limit_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.parsing.MAX_PARTS", 2)
    parts = tuple(Part(name=f"{n}.txt", data=b"text") for n in range(5))
    with ParserPool(ParseSettings(), workers=1) as pool:
        found, _ = parse_parts(pool, ParsedDocument(text="", parts=parts), "box.zip")
    assert [isinstance(part.result, Failure) for part in found] == [False, False, True]
    last = found[-1].result
    assert isinstance(last, Failure) and last.code == "E_TOO_LARGE"


def test_only_a_few_files_are_read_ahead(tmp_path: Path) -> None:
    asked = 0

    def endless() -> object:
        nonlocal asked
        (tmp_path / "a.txt").write_text("a")
        file = found(tmp_path / "a.txt")
        while True:
            asked += 1
            yield file

    with ParserPool(ParseSettings(), workers=1) as pool:
        results = pool.side_by_side(lambda file: outcome(pool, file), endless())  # type: ignore[arg-type, var-annotated]
        next(results)
        assert asked <= 4
        results.close()  # type: ignore[attr-defined]


def test_files_over_the_limit_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "big.txt").write_bytes(b"x" * 2_000_001)
    with ParserPool(ParseSettings(max_file_mb=2), workers=1) as pool, pytest.raises(DocumentError) as caught:
        pool.parse_file(tmp_path / "big.txt")
    assert caught.value.code == "E_TOO_LARGE"


def test_blocks_survive_the_wire_and_nonsense_is_refused() -> None:
    blocks = tuple(
        Block(kind=kind, start=i * 3, end=i * 3 + 2, level=i % 7, page=i or None) for i, kind in enumerate(KINDS)
    )  # type: ignore[arg-type]
    data = pack_blocks(blocks)
    assert unpack_blocks(data, 100) == blocks
    with pytest.raises(ValueError, match="order"):
        unpack_blocks(data, 10)
    with pytest.raises(ValueError, match="cut"):
        unpack_blocks(data[:-4], 100)
    with pytest.raises(ValueError, match="order"):
        unpack_blocks(pack_blocks(blocks[::-1]), 100)


def test_where_pages_begin_can_be_told_from_packed_blocks() -> None:
    pages = (None, 1, 1, None, 2, 4)
    blocks = [Block(kind="paragraph", start=i * 3, end=i * 3 + 2, page=page) for i, page in enumerate(pages)]
    assert page_starts(pack_blocks(blocks)) == [(3, 1), (12, 2), (15, 4)]
    assert page_starts(b"") == page_starts(pack_blocks(blocks[:1])) == []


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def ends(pid: int, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not is_running(pid):
            return True
        time.sleep(0.02)
    return False


@linux
@pytest.mark.parametrize("busy", [False, True])
def test_no_child_outlives_its_parent(hostile: Path, busy: bool) -> None:
    script = textwrap.dedent(f"""
        import os, threading
        from rag.parsing import ParserPool, page_image, parse_parts
        from rag.settings import ParseSettings
        pool = ParserPool(ParseSettings(timeout_s=100), workers=1)
        pool.parse(b"text", "a.md")
        child = pool._slots.queue[-1]
        if {busy}:
            threading.Thread(target=pool.parse, args=(b"hang", "b.md")).start()
        print(child._process.pid, flush=True)
        threading.Event().wait()
    """)
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ["PYTHONPATH"]])}
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout
    pid = int(parent.stdout.readline())
    assert is_running(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert ends(pid, within_s=10)


@linux
def test_closing_ends_the_children() -> None:
    with ParserPool(ParseSettings(), workers=1) as pool:
        pool.parse(b"text", "a.md")
        child = pool._slots.queue[-1]
        assert child is not None
    assert ends(child._process.pid, within_s=5)
    with pytest.raises(RuntimeError, match="closed"):
        pool.parse(b"text", "a.md")


def test_the_hostile_collection(shared: Path) -> None:
    """Every file of the fuzzed PDF and Office sets ends as text or with a code, in one pool that lives through all."""
    n_text = 0
    with ParserPool(ParseSettings(timeout_s=100), workers=2) as pool:  # one takes 7 s, and the machine may be busy
        for folder in ("fuzz-pdf", "fuzz-office"):
            files = [
                item
                for item in find(shared / "data" / "bad" / folder)
                if isinstance(item, FoundFile) and not item.name.endswith(".json")
            ]
            for name, result in pool.side_by_side(lambda file: (file.name, outcome(pool, file)), files):
                assert result not in ("E_PARSE", "E_CRASH", "E_TIMEOUT"), name
                n_text += isinstance(result, ParsedDocument)
    assert n_text >= 5


def test_a_page_is_drawn_in_a_child() -> None:
    from io import BytesIO

    from PIL import Image
    from reportlab.pdfgen import canvas

    out = BytesIO()
    drawing = canvas.Canvas(out, pagesize=(400, 600))
    for number in (1, 2):
        drawing.drawString(50, 500, f"Page {number}")
        drawing.rect(0, 0, 400, 100, fill=number == 2)
        drawing.showPage()
    drawing.save()
    png, n_pages = page_image(out.getvalue(), 2, settings=ParseSettings(), width=800)
    image = Image.open(BytesIO(png))
    assert n_pages == 2 and image.size == (800, 1200)
    assert image.getpixel((400, 1100)) == (0, 0, 0) and image.getpixel((400, 400)) == (255, 255, 255)
    with pytest.raises(DocumentError, match="no page 3"):
        page_image(out.getvalue(), 3, settings=ParseSettings())
    with pytest.raises(DocumentError, match="cannot be drawn"):
        page_image(b"%PDF-1.4 broken", 1, settings=ParseSettings())


@linux
@pytest.mark.parametrize(
    ("ready", "used_s", "times"),
    [(True, 0.0, parsing.BUSY), (True, 60.0, 1), (False, 0.0, 1)],
    ids=["busy", "slow", "hangs"],
)
def test_only_a_child_that_waits_for_a_core_gets_longer(
    monkeypatch: pytest.MonkeyPatch, ready: bool, used_s: float, times: float
) -> None:
    spent = iter([(True, 0.0)])  # at the start; after that what the case says
    looks: list[float] = []  # a second passes between two looks at the clock

    def clock() -> float:
        looks.append(len(looks))
        return looks[-1]

    monkeypatch.setattr(parsing, "_work", lambda _pid: next(spent, (ready, used_s)))
    monkeypatch.setattr(parsing, "time", SimpleNamespace(monotonic=clock))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        guard = parsing._Guard(child, 10.0)
        assert child.wait() == -signal.SIGKILL
        guard.stop()
    assert guard.timed_out and 10 * times <= looks[-1] <= 10 * times + 3


@linux
def test_the_work_of_a_process_is_told() -> None:
    ready, used_s = parsing._work(os.getpid())
    assert ready and used_s > 0
    assert parsing._work(2**22 + 1) == (False, 0.0)
