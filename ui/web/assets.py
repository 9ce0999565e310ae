"""The page's fixed files, from memory: Streamlit's own route reads a hundred of them from disk for every new browser.

The names of scripts, styles and fonts hold a hash of their content, so a browser keeps them for good. The first document
names what the chat page needs beyond Streamlit's core, so that the browser loads it at once and not piece by piece as the
page is drawn. A file that is not there any more in another version of Streamlit is left to Streamlit.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import Response

from ui.web.words import LANGUAGES

TYPES = {".js": "text/javascript", ".css": "text/css", ".woff2": "font/woff2"}
FIRST = (
    "ButtonGroup",
    "Html",
    "Button",
    "Selectbox",
    "ChatInput",
    "FileUploader",
    "TextInput",
    "record.esm",
    "wavesurfer.esm",
)
# a stone; a picture that stands in the address needs no request, and Streamlit need not go through all emojis for it
ICON = "data:image/svg+xml," + quote(
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'><path fill='#2f6f5e' d='M4 21 9 9l9-4 8 5 3 11-6 6H9z'/>"
    "<path fill='#6fbfa4' d='m9 9 9-4 8 5-9 4z'/><path fill='#3f8c77' d='m17 14 9-4 3 11-6 6z'/></svg>"
)
TAGS = {"en": "en", "zh": "zh-CN"}
FOREVER = "public, immutable, max-age=31536000"

_PAGE = re.compile(r"/[a-z]*")  # a page of the menu; Streamlit answers these with the same document
_IMPORT = re.compile(rb'(?:from|import)"\./([\w.-]+\.js)"')


class Assets:
    """Scripts, styles and fonts, for everybody: the form to sign in stands before them."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or scope["path"] not in names():
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        headers = {"Cache-Control": FOREVER, "Vary": "Accept-Encoding", "X-Content-Type-Options": "nosniff"}
        body = content(path)
        if packs(scope):
            body = await run_in_threadpool(packed, path)
            headers["Content-Encoding"] = "gzip"
        await Response(body, headers=headers, media_type=TYPES[Path(path).suffix])(scope, receive, send)


class FirstDocument:
    """What every page of the menu begins with, for whoever may come in."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and _PAGE.fullmatch(scope["path"]):
            answer = Response(
                document(spoken(scope)), headers={"Cache-Control": "no-cache", "Vary": "Accept-Language"}, media_type="text/html"
            )  # fmt: skip
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def spoken(scope: Any) -> str:
    """The language of a page, for who reads it aloud: as its address keeps it, else as the browser says."""
    chosen = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("lang", [""])[0]
    preferred = "zh" if Headers(scope=scope).get("accept-language", "").lower().startswith("zh") else "en"
    return LANGUAGES.get(chosen, preferred)


def packs(scope: Any) -> bool:
    """Whether the way to the browser is slower than packing: not on this machine."""
    here = (scope.get("client") or ("",))[0] in ("127.0.0.1", "::1")
    kind = Path(scope["path"]).suffix
    return not here and kind != ".woff2" and "gzip" in Headers(scope=scope).get("accept-encoding", "")


@cache
def _folder() -> Path:
    found = find_spec("streamlit")
    if found is None or not found.submodule_search_locations:
        return Path("streamlit")  # and no file in it
    return Path(found.submodule_search_locations[0]) / "static"


@cache
def names() -> frozenset[str]:
    """The addresses that are served from here: no other path is ever looked up on disk."""
    files = (_folder() / "static").glob("*/*")
    return frozenset(f"/static/{file.parent.name}/{file.name}" for file in files if file.suffix in TYPES)


@cache
def content(path: str) -> bytes:
    """A file's bytes. path: one of `names()`."""
    return (_folder() / path.lstrip("/")).read_bytes()


@cache
def packed(path: str) -> bytes:
    """The same, compressed once."""
    return gzip.compress(content(path), 6, mtime=0)


@cache
def document(language: str = "en") -> bytes:
    """Streamlit's first document in a language, with what the chat page needs and our name."""
    html = (_folder() / "index.html").read_text(encoding="utf-8")
    scripts = "".join(
        f'<link rel="modulepreload" crossorigin href="./static/js/{name}">' for name in needed() if name not in html
    )
    fonts = "".join(
        f'<link rel="preload" href=".{path}" as="font" type="font/woff2" crossorigin>'
        for path in sorted(names())
        if "/MaterialSymbols-Rounded" in path
    )
    return (
        html.replace("<title>Streamlit</title>", "<title>ragstone</title>")
        .replace('<html lang="en">', f'<html lang="{TAGS[language]}">')
        .replace("./favicon.png", ICON)
        .replace("</head>", f"{fonts}{scripts}</head>")
        .encode()
    )


def needed() -> list[str]:
    """The scripts of the chat page, with all that they import."""
    seen: dict[str, None] = {}

    def walk(name: str) -> None:
        if name not in seen and (path := f"/static/js/{name}") in names():
            seen[name] = None
            for wanted in _imports(content(path)):
                walk(wanted)

    for path in sorted(names()):
        stem = path.rpartition("/")[2]
        if any(re.fullmatch(rf"{re.escape(first)}\.[\w-]+\.js", stem) for first in FIRST):
            walk(stem)
    return list(seen)


def _imports(script: bytes) -> Iterator[str]:
    """What stands at a script's beginning: dynamic imports are not followed."""
    for found in _IMPORT.finditer(script[:20_000]):
        yield found[1].decode()


OUTSIDE = [Middleware(Assets)]
INSIDE = [Middleware(FirstDocument)]
