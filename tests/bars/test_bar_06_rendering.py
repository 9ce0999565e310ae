"""Bar 6: whatever a model, a document or a person writes, the browser loads nothing of it and runs nothing of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rag import Document, KnowledgeBase
from rag.threads import Threads
from rag.types import Answer, Citation
from tests.bars.harness import FULL, says
from tests.page_server import CHROMIUM, FLAGS, answered, idle, listening, serving

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.bar, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]

TEXT = "Green tea is steeped at 80 degrees."


def payloads(u: str) -> list[str]:
    """u: the canary's address. `owned` in window says that a script ran."""
    h = u.removeprefix("http://")
    run = f"window.owned=1;fetch('{u}/fetch')"
    return [
        # images
        f"![x]({u}/1)", f"![x](<{u}/2>)", f"![x][r]\n\n[r]: {u}/3", f"![r]\n\n[r]: {u}/4 'title'", f"![]({u}/5 \"t\")", f"![a![b]({u}/6)]({u}/7)",
        f"![x](//{h}/8)", f"![x](HTTP://{h}/9)", f"[![x]({u}/10)]({u}/11)", f"| a |\n| --- |\n| ![x]({u}/12) |", f"> - 1. ![x]({u}/13)",
        f"\\![x]({u}/14) \\\\![x]({u}/15)", f"!&#91;x&#93;&#40;{u}/16&#41;", f"!&lbrack;x&rbrack;({u}/17)",
        # HTML
        f"<img src={u}/18>", f"<IMG SRC='{u}/19' onerror=\"{run}\">", f"<script>{run}</script>", f"<script src={u}/20></script>",
        f"<iframe src={u}/21></iframe>", f"<svg onload=\"{run}\"><image href={u}/22 /></svg>", f"<link rel=stylesheet href={u}/23>",
        f"<style>@import '{u}/24'; body{{background:url({u}/25)}}</style>", f"<video src={u}/26 autoplay></video>", f"<object data={u}/27></object>",
        f"<base href={u}/28>", f"<meta http-equiv=refresh content='0;url={u}/29'>", f"<details open ontoggle=\"{run}\">", f"<body onload=\"{run}\">",
        f"<input autofocus onfocus=\"{run}\">", f"&lt;img src={u}/30&gt;", f"<form action={u}/31><input type=submit autofocus></form>",
        # links, autolinks and other schemes
        f"[x](javascript:{run})", f"[x](JaVaScRiPt&colon;{run})", f"[x](data:text/html,<script>{run}</script>)", f"<{u}/32>", f"{u}/33", f"www.{h}/34",
        f"[x]({u}/35){{target=_self}}", "mailto:a@example.org a@example.org", f"![x](data:image/svg+xml,<svg onload=\"{run}\"/>)",
        # LaTeX, code, Streamlit's own directives
        f"$\\includegraphics{{{u}/36}}$ $$\\href{{{u}/37}}{{x}}$$", f"`![x]({u}/38)` ``![x]({u}/39)``", f"```\n![x]({u}/40)\n```\n![x]({u}/41)",
        f"~~~html\n<img src={u}/42>\n~~~", f":red[![x]({u}/43)] :material/home: :blue-badge[![x]({u}/44)]", f"[1]: {u}/45\n![x][1] [1]",
        f"[^1]\n\n[^1]: ![x]({u}/46)", f"# ![x]({u}/47)\n\n---\n\n* ![x]({u}/48)", f"a\u2028![x]({u}/49)\u0000![x]({u}/50)",
    ]  # fmt: skip


ORDINARY = "Some **bold** words [1].\n\n- one\n- two `code = 1`\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\n```python\nprint('x')\n```\n\n[ragstone](https://example.org)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, tiny_settings) -> Iterator:  # type: ignore[no-untyped-def, type-arg]
    """A page over threads in which everything is a payload: questions, answers, titles, file names, quotes, errors."""
    home = tmp_path_factory.mktemp("rendering") / "home"
    with listening() as (url, hits):
        wanted = payloads(url)
        with KnowledgeBase.open(home, settings=tiny_settings) as kb:
            kb.ingest([
                Document(f"# {one}\n\n{TEXT}\n\n{one}", doc_id=f"d{at}", title=one, source=f"{one.splitlines()[0]}.md")
                for at, one in enumerate(wanted[: len(wanted) if FULL else 12])
            ])  # fmt: skip
            threads = Threads(kb.catalog.engine)
            made = (
                [_thread(threads, [one], title=one) for one in wanted]
                if FULL
                else [_thread(threads, wanted, title=wanted[0])]
            )
            good = _thread(threads, [ORDINARY], title="Ordinary")
        with serving(home, tiny_settings) as server, playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            opened = browser.new_page(locale="en-US")
            opened.set_default_timeout(60_000)
            yield opened, server.url, made, good, hits, url, len(wanted)
            browser.close()


def _thread(threads: Threads, texts: list[str], *, title: str) -> str:
    made = threads.create("", title)
    for text in texts:
        threads.attach(made.thread_id, text, TEXT)
        turn = threads.ask(made.thread_id, text, collection="default", mode="hybrid")
        quoted = Citation(marker=1, chunk_id="d0#0-1", doc_id=f"attached:{text}", source=text, title=text, quote=TEXT, start=0, end=len(TEXT),
                          page=None, supported=False)  # fmt: skip
        said = Answer(
            text=f"{TEXT} {text} [1]", citations=(quoted,), unsupported=(TEXT, text), warnings=(text,), broke_off=text
        )
        threads.save(turn.turn_id, "done", said, follow_ups=(text,))
        failed = threads.ask(made.thread_id, text, collection="default", mode="hybrid")
        threads.save(failed.turn_id, "failed", error=text)
    return made.thread_id


def test_nothing_is_loaded_and_nothing_runs(page) -> None:  # type: ignore[no-untyped-def]
    opened, address, made, _, hits, url, n = page
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url) if request.url.startswith(url) else None)
    opened.goto(address)  # the empty page: questions made of headings
    opened.get_by_test_id("stChatInputTextArea").wait_for()
    idle(opened)
    for thread_id in made:
        opened.goto(f"{address}/?thread={thread_id}&source=0.1")
        opened.locator("[class*='st-key-source-0-']").first.wait_for()
        answered(opened)
    opened.wait_for_load_state("networkidle")
    assert n >= 40
    assert (hits, asked) == ([], [])
    assert opened.evaluate("window.owned") is None
    assert (
        opened.locator(f"a[href*='{url.removeprefix('http://')}'], a[href^='javascript:'], a[href^='data:']").count()
        == 0
    )
    says("06", payloads=n, threads=len(made), requests=len(hits), scripts=0)


def test_the_same_one_character_at_a_time(page) -> None:  # type: ignore[no-untyped-def]
    """As a stream shows them: every beginning of every payload, through the function that the page draws with."""
    from markdown_it import MarkdownIt

    from ui.web.markup import answer_parts, plain, safe

    url, reader, n = page[5], MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]), 0
    for payload in payloads(url):
        for end in range(len(payload) + 1):
            begun = payload[:end]
            for shown in (
                safe(begun) + " ▌",
                plain(begun),
                *(part for code, part in answer_parts(begun, {1}, [begun]) if not code),
            ):
                kinds = {token.type for block in reader.parse(shown) for token in (block, *(block.children or ()))}
                assert "p://" not in shown and "www." not in shown, "an address by itself would become a link"
                assert not kinds & {"image", "link_open", "html_block", "html_inline"}, shown
                n += 1
    says("06", beginnings=n)


def test_ordinary_markdown_still_shows(page) -> None:  # type: ignore[no-untyped-def]
    opened, address, _, good, *_ = page
    opened.goto(f"{address}/?thread={good}")
    answer = answered(opened)
    assert answer.locator("strong").first.inner_text() == "bold"
    assert answer.locator("li").count() == 2 and answer.locator("table td").count() == 2
    assert answer.locator("li code").inner_text() == "code = 1"
    assert "print('x')" in answer.get_by_test_id("stCode").inner_text()
    assert "ragstone (https" in answer.inner_text().replace("\u2060", "")
