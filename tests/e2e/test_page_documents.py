"""The documents page in a real browser: upload, progress, the list, one document, editing, deleting; closing the tab stops nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.bars.test_bar_06_rendering import payloads
from tests.page_server import CHROMIUM, PageServer, idle, listening, opened, serving

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any) -> Iterator[PageServer]:
    with serving(tmp_path_factory.mktemp("documents") / "home", tiny_settings) as server:
        yield server


@pytest.fixture
def address(server: PageServer) -> str:
    return f"{server.url}/documents"


def handbook() -> bytes:
    from reportlab.pdfgen import canvas

    out = BytesIO()
    drawing = canvas.Canvas(out, pagesize=(400, 300))
    drawing.setTitle("The handbook")
    for number in (1, 2):
        drawing.drawString(40, 200, f"Chapter {number}: the kettle is descaled every {number + 3} weeks.")
        drawing.showPage()
    drawing.save()
    return out.getvalue()


def open_form(page: Any) -> None:
    """Open what documents are added with; in an empty collection it is open."""
    form = page.locator(".st-key-documents-add")
    if form.locator("details").get_attribute("open") is None:
        form.locator("summary").click()


def upload(page: Any, *files: tuple[str, bytes]) -> None:
    open_form(page)
    payload = [{"name": name, "mimeType": "application/octet-stream", "buffer": data} for name, data in files]
    page.locator("input[type=file]").first.set_input_files(payload)
    page.locator(".st-key-documents-import button").click()


def row(page: Any, title: str) -> Any:
    return page.locator("[class*=st-key-row-]").filter(has=page.get_by_role("button", name=title, exact=True))


def test_an_upload_is_seen_through_to_its_passages(address: str, browser: Any) -> None:
    page = opened(browser, address)
    page.get_by_text("This collection is empty").wait_for()
    upload(
        page,
        ("handbook.pdf", handbook()),
        ("notes.md", b"# Tea notes\n\nGreen tea is steeped at 80 degrees."),
        ("broken.pdf", b"%PDF-1.4 no"),
    )
    page.get_by_text("2 new, 0 updated, 0 unchanged; 1 could not be read").wait_for()
    page.get_by_text("The file is damaged. Open it in its program and save it again.").locator(
        "visible=true"
    ).first.wait_for()
    page.get_by_text("3 documents, 1 could not be read").wait_for()
    row(page, "broken.pdf").get_by_text("not readable").wait_for()
    row(page, "Tea notes").get_by_text("ready").wait_for()

    page.get_by_role("button", name="The handbook", exact=True).click()
    page.get_by_role("heading", name="What was read").wait_for()
    image = page.get_by_role("img", name="Page 1 of 2")
    image.wait_for()
    assert image.evaluate("image => image.complete && image.naturalWidth") >= 800
    page.locator(".st-key-document-extracted").get_by_text("descaled every 4 weeks").first.wait_for()
    page.get_by_role("button", name=re.compile("2")).filter(has_text=re.compile("^2$")).click()
    page.get_by_role("img", name="Page 2 of 2").wait_for()
    page.locator(".st-key-document-extracted").get_by_text("descaled every 5 weeks").first.wait_for()
    page.reload()
    page.get_by_role("img", name="Page 1 of 2").wait_for()
    page.context.close()


def test_a_document_is_renamed_switched_off_and_deleted_in_chinese(address: str, browser: Any) -> None:
    page = opened(browser, address, chinese=True)
    page.get_by_role("button", name="Tea notes", exact=True).click()
    page.locator(".st-key-document-edit button").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("标题").fill("绿茶笔记")
    dialog.get_by_label("标题").press("Tab")
    page.locator(".st-key-document-save button").click()
    page.get_by_role("heading", name="绿茶笔记").wait_for()
    page.locator(".st-key-document-switch button:visible").first.click()
    page.get_by_text("已停用：重新启用之前").wait_for()
    page.locator(".st-key-documents-back button").click()
    row(page, "绿茶笔记").get_by_text("已停用").wait_for()
    row(page, "绿茶笔记").locator("[data-testid=stCheckbox] label").click()
    page.get_by_text("已选 1 个").wait_for()
    page.locator(".st-key-documents-delete button").click()
    page.locator(".st-key-documents-delete-sure button").click()
    page.get_by_text("2 个文档，其中 1 个无法读取").wait_for()
    page.get_by_role("button", name="绿茶笔记", exact=True).wait_for(state="detached")
    page.context.close()


def test_an_import_goes_on_after_its_tab_is_closed_and_the_server_was_killed(
    server: PageServer, address: str, browser: Any
) -> None:
    page = opened(browser, address)
    files = [(f"note-{n:03d}.md", f"# Note {n:03d}\n\nIt says {n}.".encode()) for n in range(60)]
    upload(page, *files)
    page.get_by_text("You can close this page: the import goes on.").locator("visible=true").first.wait_for()
    page.context.close()
    server.restart()
    page = opened(browser, address)
    page.get_by_label("Search by name or title").fill("note-0")
    page.get_by_label("Search by name or title").press("Enter")
    page.get_by_text("1–25 of 60").wait_for()
    page.get_by_label("Search by name or title").fill("note 05")
    page.get_by_label("Search by name or title").press("Enter")
    page.get_by_text("1–11 of 11").wait_for()
    page.locator("[class*=st-key-row-]").get_by_text("ready").nth(10).wait_for()
    page.context.close()


def test_nothing_that_a_document_names_is_loaded(address: str, browser: Any) -> None:
    """In names, texts and metadata: on the list, in a document, in the lab."""
    with listening() as (url, hits):
        wanted = payloads(url)
        front = "---\ntitle: " + json.dumps(wanted[0]) + "\nnote: " + json.dumps(wanted[19]) + "\n---\n"
        page = opened(browser, address)
        upload(
            page,
            (
                f"zeppelin ![x]({url.removeprefix('http://')}).md",
                f"{front}\nZeppelin.\n\n{chr(10).join(wanted)}".encode(),
            ),
        )
        page.get_by_text("1 new, 0 updated").wait_for()
        page.get_by_label("Search by name or title").fill("zeppelin")
        page.get_by_label("Search by name or title").press("Enter")
        page.get_by_text("1–1 of 1").wait_for()
        page.locator("[class*=st-key-row-] button").first.click()
        page.locator(".st-key-document-extracted").get_by_text("Zeppelin").first.wait_for()
        page.get_by_text("Metadata", exact=True).click()
        page.locator(".st-key-document-way").get_by_text("Text", exact=True).click()
        idle(page)
        page.goto(address.replace("/documents", "/lab"))
        page.get_by_label("Question or words").fill("zeppelin script")
        page.get_by_role("button", name="Compare").click()
        page.get_by_text(re.compile("passages in")).locator("visible=true").first.wait_for()
        page.locator(".st-key-lab-steps summary").click()
        idle(page)
        page.wait_for_load_state("networkidle")
        assert hits == [] and page.evaluate("window.owned") is None
        assert page.locator(f"img[src*='{url}'], a[href*='{url}']").count() == 0
        page.context.close()


def test_a_folder_keeps_the_names_of_its_folders(address: str, browser: Any, tmp_path: Path) -> None:
    for name in ("2024", "2025"):
        (tmp_path / "reports" / name).mkdir(parents=True)
        (tmp_path / "reports" / name / "report.md").write_text(f"# Report of {name}\n\nSales rose.", encoding="utf-8")
    page = opened(browser, address)
    open_form(page)
    page.get_by_text("A folder", exact=True).click()
    page.get_by_text("Choose a folder of your computer").wait_for()
    page.locator("input[type=file]").first.set_input_files(tmp_path / "reports")
    page.locator(".st-key-documents-import button").click()
    page.get_by_text("2 new, 0 updated, 0 unchanged", exact=True).locator("visible=true").first.wait_for()
    page.get_by_label("Search by name or title").fill("report of")
    page.get_by_label("Search by name or title").press("Enter")
    for name in ("2024", "2025"):
        row(page, f"Report of {name}").get_by_text(f"reports/{name}/report.md").wait_for()
    page.context.close()
