"""What the page serves from memory, and the theme that it remembers."""

from __future__ import annotations

import gzip
import re
from typing import Any

import pytest

pytest.importorskip("streamlit")

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from streamlit.runtime import app_session

from ui.web import assets, serve


def client(address: str = "127.0.0.1") -> TestClient:
    async def rest(_request: Any) -> PlainTextResponse:
        return PlainTextResponse("the rest")

    app = Starlette(routes=[Route("/{path:path}", rest)], middleware=[*assets.OUTSIDE, *assets.INSIDE])
    return TestClient(app, client=(address, 50_000))


def test_the_first_document_names_scripts_that_are_there() -> None:
    page = client().get("/documents")
    named = re.findall(r'(?:href|src)="\.(/static/[^"]+)"', page.text)
    assert "<title>ragstone</title>" in page.text and page.headers["cache-control"] == "no-cache"
    assert any("/ChatInput." in name for name in named), "Streamlit calls it something else: bring FIRST up to date"
    assert len(named) == len(set(named)) and set(named) <= assets.names()
    for name in named:
        assert client().get(name).status_code == 200


@pytest.mark.parametrize(
    ("address", "browser", "language"),
    [
        ("/", "en-US", "en"),
        ("/", "zh-CN,zh;q=0.9", "zh-CN"),
        ("/lab?lang=English", "zh-CN", "en"),
        ("/?lang=中文", "en-US", "zh-CN"),
    ],
)
def test_the_first_document_says_its_language(address: str, browser: str, language: str) -> None:
    page = client().get(address, headers={"accept-language": browser})
    assert f'<html lang="{language}">' in page.text


def test_a_script_is_kept_for_good_and_comes_packed_to_other_machines() -> None:
    name = next(one for one in assets.names() if "/ChatInput." in one)
    here, there = client().get(name), client("192.0.2.7").get(name)
    assert here.content == there.content == assets.content(name)
    assert "content-encoding" not in here.headers and there.headers["content-encoding"] == "gzip"
    assert int(there.headers["content-length"]) < int(here.headers["content-length"]) / 2
    assert "immutable" in here.headers["cache-control"] and here.headers["content-type"].startswith("text/javascript")
    assert client("192.0.2.7").get(name, headers={"accept-encoding": "identity"}).content == here.content
    assert gzip.decompress(assets.packed(name)) == here.content


@pytest.mark.parametrize("path", ["/static/js/", "/static/../index.html", "/static/js/..%2f..%2findex.html", "/sign-in", "/_stcore/health"])  # fmt: skip
def test_everything_else_is_left_to_others(path: str) -> None:
    assert client().get(path).text == "the rest"


def test_the_theme_that_is_remembered_is_the_theme(monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlit import config
    from streamlit.proto.NewSession_pb2 import CustomThemeConfig

    def made() -> CustomThemeConfig:
        message = CustomThemeConfig()
        app_session._populate_theme_msg(message)
        app_session._populate_theme_msg(message.light, "theme.light")
        app_session._populate_theme_msg(message.dark, "theme.dark")
        return message

    before = config.get_option("theme.light.primaryColor")
    config.set_option("theme.light.primaryColor", "#2f6f5e")
    try:
        worked_out = made()
        monkeypatch.setattr(app_session, "_populate_theme_msg", app_session._populate_theme_msg)
        serve.remember_theme()
        assert made() == made() == worked_out
        assert made().light.primary_color == "#2f6f5e" and not made().HasField("dark")
    finally:
        config.set_option("theme.light.primaryColor", before)
