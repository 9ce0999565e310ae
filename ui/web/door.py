"""The page's door: who has an account signs in here, before anything of the page is served.

Streamlit's own forms cannot set a cookie that scripts do not see, so the door stands in front of Streamlit, as routes and
a middleware of the ASGI app that it is (`streamlit.starlette.App`): a plain form without scripts, posted to us, answered
with a cookie that is HttpOnly and SameSite=Lax (and Secure over TLS). The cookie is a random token; the database keeps its
SHA-256. So a session outlives a reload and a restart, signing out ends it on the server, and neither a script on the
page nor another site can use it. Without a session no page, no WebSocket, no upload and no media file is served.
As long as no account exists the door stands open; the page is then served on this machine only.

Sign-in by OIDC is Streamlit's own, with a signed cookie that is HttpOnly, too; its callback is a page of Streamlit. So with
`ui.oidc_roles` the door lets everybody as far as the script, which shows nothing but the way to the provider.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from rag.errors import RagstoneError
from rag.knowledge_base import KnowledgeBase
from rag.settings import Settings
from rag.users import SESSION_DAYS, Users
from ui.web.words import LANGUAGES, word

COOKIE = "ragstone_session"
MAX_FORM = 8_000  # bytes
ALWAYS = (
    "RAGSTONE_PAGE_SIGN_IN"  # in the environment: served beyond this machine, so nobody comes in without an account
)

_OPEN = re.compile(
    r"/(sign-in|sign-out|_stcore/(health|host-config)|static/.*|favicon.*|[^/]+\.(png|ico|svg|js|css|json|txt))"
)
_BACK = re.compile(r"/[a-z]{0,40}")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # with no-referrer a form's own Origin is null
    "X-Content-Type-Options": "nosniff",
}


@cache
def _settings() -> Settings:
    return Settings.load(os.environ.get("RAGSTONE_PAGE_CONFIG"))


@cache
def users() -> Users:
    """The accounts of the home that the command line named."""
    return Users(KnowledgeBase.open(os.environ.get("RAGSTONE_PAGE_HOME"), settings=_settings()).catalog.engine)


def oidc_roles() -> list[str]:
    """Who may sign in by an identity provider, as what; empty: nobody does."""
    return _settings().ui.oidc_roles


def needed() -> bool:
    """Whether people have to sign in."""
    return bool(os.environ.get(ALWAYS) or oidc_roles()) or users().any()


class Door:
    """Lets through whoever is signed in, and what must be there before."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket") or _OPEN.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        asking = HTTPConnection(scope)
        if await run_in_threadpool(_may_enter, asking.cookies.get(COOKIE, "")):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()  # the handshake; closing before it is accepted refuses it with 403
            await send({"type": "websocket.close", "code": 1008})
        elif scope["method"] in ("GET", "HEAD") and not scope["path"].startswith(("/_stcore", "/media", "/component")):
            await _to_form(asking)(scope, receive, send)
        else:
            await PlainTextResponse("Sign in first.", 401)(scope, receive, send)


def _may_enter(token: str) -> bool:
    return bool(oidc_roles()) or _is_in(token)


def _is_in(token: str) -> bool:
    return not needed() or users().signed_in(token) is not None


def _to_form(asking: HTTPConnection) -> Response:
    back = asking.url.path + (f"?{asking.url.query}" if asking.url.query else "")
    if back == "/" or not _is_ours(back):
        return RedirectResponse("/sign-in", 303, headers=_HEADERS)
    return RedirectResponse(f"/sign-in?back={quote(back, safe='')}", 303, headers=_HEADERS)


def _is_ours(back: str) -> bool:
    """Whether it is a page of this server: a form that sends people elsewhere helps impostors."""
    parts = urlsplit(back)
    return not parts.scheme and not parts.netloc and bool(_BACK.fullmatch(parts.path)) and back.isprintable()


async def _form(request: Request) -> Response:
    back = request.query_params.get("back", "/")
    if request.method == "GET":
        if await run_in_threadpool(_is_in, request.cookies.get(COOKIE, "")):
            return RedirectResponse("/", 303, headers=_HEADERS)
        return _page(request, back)
    origin = request.headers.get("origin", "")
    if origin and urlsplit(origin).netloc != request.headers.get("host", ""):
        return PlainTextResponse("This form belongs to another page.", 403)
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_FORM:
            return PlainTextResponse("Too long.", 413)
    fields = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    back = fields.get("back", "/")
    name = fields.get("name", "").strip()
    address = request.client.host if request.client else ""
    try:
        token = await run_in_threadpool(users().sign_in, name, fields.get("password", ""), address)
    except RagstoneError:
        return _page(request, back, name=name, problem="sign_in.tries", status=429)
    if not token:
        return _page(request, back, name=name, problem="sign_in.wrong", status=401)
    answer = RedirectResponse(back if _is_ours(back) else "/", 303, headers=_HEADERS)
    safe = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
    answer.set_cookie(COOKIE, token, max_age=SESSION_DAYS * 86_400, httponly=True, samesite="lax", secure=safe)
    return answer


async def _out(request: Request) -> Response:
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return RedirectResponse("/", 303, headers=_HEADERS)  # another site cannot sign anybody out
    await run_in_threadpool(users().sign_out, request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/sign-in", 303, headers=_HEADERS)
    answer.delete_cookie(COOKIE, httponly=True, samesite="lax")
    return answer


def _page(request: Request, back: str, *, name: str = "", problem: str = "", status: int = 200) -> Response:
    language = "zh" if request.headers.get("accept-language", "").lower().startswith("zh") else "en"
    language = LANGUAGES.get(
        parse_qs(urlsplit(back).query).get("lang", [""])[0], language
    )  # as the page's address keeps it

    def said(key: str) -> str:
        return html.escape(word(key, language))

    page = _FORM.format(
        language="zh-CN" if language == "zh" else "en", title=said("sign_in.sign_in"), hint=said("sign_in.hint"),
        problem=f'<p role="alert">{said(problem)}</p>' if problem else "", name_label=said("sign_in.name"),
        password_label=said("sign_in.password"), button=said("sign_in.sign_in"), name=html.escape(name[:64]),
        back=html.escape(back if _is_ours(back) else "/"), focus_name="" if name else " autofocus", focus_password=" autofocus" if name else "",
    )  # fmt: skip
    return HTMLResponse(page, status, headers=_HEADERS)


ROUTES = [Route("/sign-in", _form, methods=["GET", "POST"]), Route("/sign-out", _out)]
MIDDLEWARE = [Middleware(Door)]

_FORM = """<!doctype html>
<html lang="{language}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>ragstone</title><style>
:root {{ color-scheme: light dark; --ground: #f4f6f3; --paper: #fff; --ink: #22292a; --line: #dfe3de; --main: #2f6f5e; --on: #fff; --bad: #a3485b; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ground: #111515; --paper: #1a2020; --ink: #e6ebe8; --line: #334040; --main: #6fbfa4; --on: #10201b; --bad: #f0a0ae; }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, "Noto Sans CJK SC", sans-serif; }}
form {{ width: min(22rem, calc(100vw - 2rem)); background: var(--paper); border: 1px solid var(--line); border-radius: 14px; padding: 2rem; }}
h1 {{ font-size: 1.4rem; margin: 0 0 .25rem; }} p {{ margin: 0 0 1.25rem; opacity: .8; }} p[role=alert] {{ color: var(--bad); opacity: 1; }}
label {{ display: block; font-size: .9rem; margin-bottom: 1rem; }}
input {{ display: block; width: 100%; font: inherit; margin-top: .25rem; padding: .55rem .7rem; border: 1px solid var(--line); border-radius: 10px; background: transparent; color: inherit; }}
button {{ width: 100%; font: inherit; font-weight: 600; padding: .6rem; border: 0; border-radius: 10px; background: var(--main); color: var(--on); cursor: pointer; }}
:focus-visible {{ outline: 2px solid var(--main); outline-offset: 2px; }}
</style></head><body><form method="post" action="/sign-in"><h1>ragstone</h1><p>{hint}</p>{problem}
<input type="hidden" name="back" value="{back}">
<label>{name_label}<input name="name" autocomplete="username" required maxlength="64" value="{name}"{focus_name}></label>
<label>{password_label}<input name="password" type="password" autocomplete="current-password" required maxlength="200"{focus_password}></label>
<button>{button}</button></form></body></html>"""
