"""The page's server before the page is loaded."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("streamlit")

from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from rag.errors import UsageError
from rag.knowledge_base import KnowledgeBase
from rag.settings import Settings
from rag.users import Users
from ui.web import assets, soon

SCRIPT = "/static/js/" + next(name.rpartition("/")[2] for name in sorted(assets.names()) if name.endswith(".js"))


class App:
    """What is served at last; it remembers whether it was started and ended."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def lifespan(self) -> Callable[[Any], Any]:
        @asynccontextmanager
        async def living(_app: Any) -> AsyncIterator[None]:
            self.said.append("started")
            yield
            self.said.append("ended")

        return living

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse(f"the page {scope['path']}")(scope, receive, send)


@contextmanager
def asked(client: TestClient, path: str) -> Iterator[list[str]]:
    """A request that goes on while something else happens; its answer is there afterwards."""
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(client.get(path).text))
    thread.start()
    yield answers
    thread.join(30)


@pytest.mark.parametrize("open_to_all", [True, False])
def test_what_never_changes_is_served_while_the_rest_is_loaded(open_to_all: bool) -> None:
    app, loaded = App(), threading.Event()

    def load() -> App:
        assert loaded.wait(30)
        return app

    with TestClient(soon.Soon(load, open_to_all=open_to_all)) as client:
        assert client.get(SCRIPT).content == assets.content(SCRIPT)
        if open_to_all:
            assert client.get("/").content == assets.document()
        with asked(client, "/" if not open_to_all else "/_stcore/health") as answers:
            assert client.get(SCRIPT).status_code == 200 and not answers
            loaded.set()
        assert answers == ["the page /" if not open_to_all else "the page /_stcore/health"]
        assert client.get("/").text == "the page /"  # from now on everything is the app's
    assert app.said == ["started", "ended"]


def test_what_cannot_be_loaded_ends_the_server_and_says_why() -> None:
    def load() -> App:
        raise UsageError("The home folder is not writable.")

    ended = threading.Event()
    server = soon.Soon(load, open_to_all=False, on_failure=ended.set)
    with TestClient(server) as client:
        assert client.get("/").status_code == 503
    assert ended.is_set() and str(server.failed) == "The home folder is not writable."
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UsageError, match="not writable"):
        soon.listen(load, host="127.0.0.1", port=port, open_to_all=False)


def test_accepted_sockets_send_at_once() -> None:
    with soon.bound("127.0.0.1", 0) as listening:
        listening.setblocking(True)
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with pytest.raises(OSError):
            soon.bound("127.0.0.1", listening.getsockname()[1])


def test_accounts_are_seen_before_the_catalog_is_opened(tmp_path: Path) -> None:
    settings, home = Settings.load(environ={}), tmp_path / "home"
    assert not soon.may_have_accounts(str(home), settings), "a home that is not there has none"
    with KnowledgeBase.open(home, settings=settings) as kb:
        assert not kb.collections() and not soon.may_have_accounts(str(home), settings)
        users = Users(kb.catalog.engine)
        assert not soon.may_have_accounts(str(home), settings)
        users.add("ada", "correct horse battery")
        assert soon.may_have_accounts(str(home), settings)
        users.remove("ada")
        assert not soon.may_have_accounts(str(home), settings)
    (home / "catalog.sqlite3").write_bytes(b"no database")
    assert soon.may_have_accounts(str(home), settings), "nobody can tell"
    assert soon.may_have_accounts("http://milvus:19530", settings)
    assert soon.may_have_accounts(None, settings.with_values(catalog__url="postgresql+pg8000://db/ragstone"))
    assert soon.may_have_accounts(None, settings.with_values(ui__oidc_roles=["admin:role=admin"]))
