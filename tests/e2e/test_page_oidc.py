"""Signing in by an identity provider on loopback, in a real browser."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from rag import Document, KnowledgeBase
from tests.page_server import CHROMIUM, FLAGS, PageServer, idle, serving

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("authlib")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


class Provider:
    """An OpenID provider that signs in whoever `email` says, without asking."""

    def __init__(self) -> None:
        from joserfc import jwt
        from joserfc.jwk import RSAKey

        key, self.email, codes = RSAKey.generate_key(2048, {"kid": "k", "use": "sig", "alg": "RS256"}), "", {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                if parts.path == "/authorize":
                    codes["code"] = asked
                    self.send_response(302)
                    back = urlencode({"code": "code", "state": asked["state"]})
                    self.send_header("Location", f"{asked['redirect_uri']}?{back}")
                    self.end_headers()
                elif parts.path == "/keys":
                    self._json({"keys": [key.as_dict(private=False)]})
                else:
                    self._json({
                        "issuer": provider.url, "authorization_endpoint": f"{provider.url}/authorize", "token_endpoint": f"{provider.url}/token",
                        "jwks_uri": f"{provider.url}/keys", "id_token_signing_alg_values_supported": ["RS256"],
                    })  # fmt: skip

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked, now = codes["code"], int(time.time())
                claims = {"iss": provider.url, "aud": asked["client_id"], "sub": "1", "iat": now, "exp": now + 600,
                          "email": provider.email, "email_verified": True, "nonce": asked.get("nonce", "")}  # fmt: skip
                token = jwt.encode({"alg": "RS256", "kid": "k"}, claims, key)
                self._json({"access_token": "x", "token_type": "Bearer", "expires_in": 600, "id_token": token})

            def _json(self, body: object) -> None:
                data = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    running = Provider()
    yield running
    running.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_settings, provider: Provider) -> Iterator[PageServer]:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("oidc")
    with KnowledgeBase.open(folder / "home", settings=tiny_settings) as kb:
        kb.ingest([Document("The kettle boils at noon.", doc_id="open", title="Hall", source="hall.md")])
    secrets = Path(folder / "user" / ".streamlit" / "secrets.toml")
    secrets.parent.mkdir(parents=True)
    secrets.write_text(
        f'[auth]\nredirect_uri = "http://127.0.0.1:{{port}}/oauth2callback"\ncookie_secret = "{"x" * 40}"\nclient_id = "page"\n'
        f'client_secret = "not-secret"\nserver_metadata_url = "{provider.url}/.well-known/openid-configuration"\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder / "user"))
        with serving(folder / "home", tiny_settings, UI__OIDC_ROLES="@example.org=viewer,boss@example.org=admin") as running:  # fmt: skip
            yield running


def test_the_provider_says_who_it_is_and_the_settings_what_they_may(server: PageServer, provider: Provider) -> None:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for email, known in (("ann@example.org", True), ("eve@elsewhere.example", False)):
            provider.email = email
            page = browser.new_context(locale="en-US").new_page()
            page.set_default_timeout(30_000)
            page.goto(f"{server.url}/documents")
            page.get_by_role("button", name="Sign in with your organisation").click()
            if known:
                page.get_by_test_id("stChatInputTextArea").wait_for()
                assert page.locator(".st-key-frame-who").inner_text().startswith("person ann")
                page.goto(f"{server.url}/documents")
                page.get_by_text("hall.md").locator("visible=true").first.wait_for()
            else:
                page.get_by_text("may not come in here").wait_for()
                page.goto(f"{server.url}/documents")
                page.get_by_text("may not come in here").wait_for()
                assert page.get_by_text("hall.md").count() == 0
            idle(page)
            page.get_by_role("button", name="Sign out").click()
            page.get_by_role("button", name="Sign in with your organisation").wait_for()
            page.context.close()
        browser.close()
