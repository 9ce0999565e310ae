"""Settings and health in a real browser: who sees what, tests of parts, the doctor, people and keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag import Document, KnowledgeBase
from rag.accounts import Accounts
from rag.principals import Principal
from rag.users import Users
from tests.page_server import CHROMIUM, answered, ask, idle, press_inside, serving, shown

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

ADMIN, GOOD = "root", "seven cups of tea"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any) -> Path:
    """Two tenants with a document each, an editor of one and a viewer of the other."""
    home = tmp_path_factory.mktemp("people") / "home"
    with KnowledgeBase.open(home, settings=tiny_settings) as kb:
        for tenant, canary in (("north", "OTTERCANARY"), ("south", "HERONCANARY")):
            document = Document(f"The word of the day is {canary}.", doc_id="day", title=canary, source=f"{canary}.md")
            kb.view(principal=Principal(tenant=tenant)).ingest([document])
        users = Users(kb.catalog.engine)
        users.add(ADMIN, GOOD, role="admin")
        users.add("nora", GOOD, role="editor", tenant="north")
        users.add("sven", GOOD, role="viewer", tenant="south")
    return home


@pytest.fixture(scope="module")
def address(home: Path, tiny_settings: Any) -> Iterator[str]:
    with serving(home, tiny_settings) as server:
        yield server.url


def at_the_door(browser: Any, address: str, *, chinese: bool = False) -> Any:
    page = browser.new_context(locale="zh-CN" if chinese else "en-US").new_page()
    page.set_default_timeout(45_000)
    page.goto(f"{address}/settings")
    return page


def sign_in(page: Any, name: str, password: str = GOOD) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def signed_in(browser: Any, address: str, name: str) -> Any:
    page = at_the_door(browser, address)
    sign_in(page, name)
    page.get_by_role("heading", name="Settings").wait_for()
    idle(page)
    return page


def part(page: Any, name: str) -> None:
    page.locator(".st-key-settings-part").get_by_role("radio", name=name).click()
    idle(page)


@pytest.fixture(scope="module")
def admin(browser: Any, address: str) -> Iterator[Any]:
    page = signed_in(browser, address, ADMIN)
    yield page
    page.context.close()


def test_a_viewer_sees_health_alone_and_no_details(browser: Any, address: str) -> None:
    page = signed_in(browser, address, "sven")
    page.get_by_text("Everything works.").wait_for()
    parts = page.locator(".st-key-settings-part").get_by_role("radio").all_inner_texts()
    assert parts == ["Health", "Your account"] and page.locator(".st-key-health-again").count() == 0
    page.get_by_text("Chat model").wait_for()
    idle(page)
    shown(page.get_by_text("Disk space"), 1)
    assert page.get_by_text("GB free").count() == 0
    page.context.close()


@pytest.mark.parametrize(
    ("name", "own", "other"), [("nora", "OTTERCANARY", "HERONCANARY"), ("sven", "HERONCANARY", "OTTERCANARY")]
)
def test_a_tenant_sees_its_own_documents_alone(browser: Any, address: str, name: str, own: str, other: str) -> None:
    page = signed_in(browser, address, name)
    page.goto(f"{address}/documents")
    page.get_by_text(f"{own}.md").locator("visible=true").locator("visible=true").first.wait_for()
    idle(page)
    assert other not in page.content()
    page.goto(address)
    ask(page, "What is the word of the day?")
    answered(page)
    assert own in page.content() and other not in page.content()
    page.context.close()


def test_each_part_is_really_called(admin: Any) -> None:
    part(admin, "Models")
    admin.locator(".st-key-test-embedding button").click()
    admin.get_by_text("turned a question into 32 numbers.").wait_for()
    idle(admin)
    admin.locator(".st-key-test-milvus button").click()
    admin.get_by_text("It answers. Indexes: 2.").wait_for()
    idle(admin)
    admin.locator(".st-key-test-reranker button").click()
    admin.get_by_text("put the right passage first").wait_for()
    assert admin.locator(".st-key-test-chat").count() == 0, "there is none"


def test_the_doctor_says_what_it_found(admin: Any) -> None:
    part(admin, "Health")
    admin.get_by_text("Everything works.").wait_for()
    admin.get_by_text("GB free").wait_for()


def test_settings_in_effect_are_those_that_somebody_set(admin: Any) -> None:
    part(admin, "Settings")
    admin.get_by_role("cell", name="RAGSTONE__CHUNK__SIZE").wait_for()
    assert admin.get_by_role("cell", name="default", exact=True).count() == 0
    admin.get_by_label("Search the settings").fill("no such setting")
    admin.get_by_label("Search the settings").press("Enter")
    admin.get_by_text("No setting fits these words.").wait_for()


def test_an_admin_adds_and_removes_a_person(admin: Any, home: Path, tiny_settings: Any) -> None:
    part(admin, "Access")
    form = admin.locator(".st-key-add-person")
    form.locator("summary").click()
    form.get_by_role("textbox", name="Name").fill("vera")
    form.get_by_role("textbox", name="Password").fill("short")
    form.get_by_role("textbox", name="Password").press("Tab")
    idle(admin)
    form.get_by_role("button", name="Add", exact=True).click()
    form.get_by_text("A password has 10 to 200 characters.").wait_for()
    form.get_by_role("textbox", name="Password").fill(GOOD)
    form.get_by_role("textbox", name="Tenant").fill("north")
    form.get_by_role("textbox", name="Tenant").press("Tab")
    idle(admin)
    form.get_by_role("button", name="Add", exact=True).click()
    admin.get_by_text("vera may sign in now.").wait_for()
    with KnowledgeBase.open(home, settings=tiny_settings) as kb:
        made = Users(kb.catalog.engine).get("vera")
        assert made is not None and (made.role, made.tenant) == ("viewer", "north")
    idle(admin)
    person = admin.locator(".st-key-person-vera")
    person.locator("summary").click()
    sure = admin.locator(".st-key-remove-vera button")
    press_inside(person.get_by_role("button", name="Remove"), sure)
    admin.get_by_text("vera is removed.").wait_for()
    assert admin.locator(f".st-key-person-{ADMIN}").get_by_role("button", name="Remove").count() == 0


def test_a_key_is_shown_once_and_its_use_counted(admin: Any, home: Path, tiny_settings: Any) -> None:
    part(admin, "Access")
    form = admin.locator(".st-key-add-key")
    form.locator("summary").click()
    form.get_by_role("textbox", name="What the key is for").fill("wiki")
    form.get_by_role("textbox", name="What the key is for").press("Tab")
    idle(admin)
    form.get_by_role("button", name="Add", exact=True).click()
    secret = admin.locator(".st-key-new-key code").inner_text()
    with KnowledgeBase.open(home, settings=tiny_settings) as kb:
        accounts = Accounts(kb.catalog.engine)
        key = accounts.find(secret)
        assert key is not None and key.scopes == ("read",)
        accounts.spend(key.key_id, n_requests=3, n_tokens=1234)
    part(admin, "Usage")
    admin.get_by_role("cell", name="1,234").wait_for()
    part(admin, "Access")
    admin.locator(f".st-key-key-{key.key_id}").wait_for()
    assert secret not in admin.content()
    sure = admin.locator(f".st-key-key-{key.key_id}-revoke button")
    press_inside(admin.locator(f".st-key-key-{key.key_id}").get_by_role("button", name="Revoke"), sure)
    admin.get_by_text("The key wiki is revoked.").wait_for()


def test_somebody_changes_their_own_password(browser: Any, address: str) -> None:
    page = signed_in(browser, address, "sven")
    other = signed_in(browser, address, "sven")
    part(page, "Your account")

    def give(now: str, new: str) -> None:
        for label, text in (("Your password now", now), ("New password", new), ("The new one again", new)):
            page.get_by_label(label, exact=True).fill(text)
        page.get_by_label("The new one again", exact=True).blur()
        idle(page)
        page.locator(".st-key-own-password-change button").click()

    give("not my password", "eight cups of tea")
    page.get_by_text("The password is not the one that you have now.").wait_for()
    idle(page)
    give(GOOD, "eight cups of tea")
    page.get_by_text("Your password is changed.").wait_for()
    page.reload()
    page.get_by_role("heading", name="Settings").wait_for()  # this session stays
    other.goto(f"{address}/settings")
    sign_in(other, "sven", "eight cups of tea")  # the other one has ended
    other.get_by_role("heading", name="Settings").wait_for()
    other.context.close()
    page.context.close()


def test_the_page_speaks_chinese(browser: Any, address: str) -> None:
    page = at_the_door(browser, address, chinese=True)
    page.get_by_label("用户名").fill("nora")
    page.get_by_label("密码").fill(GOOD)
    page.get_by_role("button", name="登录").click()
    page.get_by_text("一切正常。").wait_for()
    page.get_by_text("向量库").wait_for()
    page.context.close()
