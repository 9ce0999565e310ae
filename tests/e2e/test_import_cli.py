"""Imports from the command line as people run them: dry, watched, stopped by a signal, from the web."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

PAGE = "<html><head><title>{title}</title></head><body><main><h1>{title}</h1><p>{text}</p></main></body></html>"


@pytest.fixture
def environment(tiny_settings) -> dict[str, str]:  # type: ignore[no-untyped-def]
    values = {"EMBEDDING__MODEL": tiny_settings.embedding.model, "EMBEDDING__BACKEND": tiny_settings.embedding.backend,
              "MODELS__DIR": tiny_settings.models.dir, "LLM__MODEL": "none", "CHUNK__SIZE": "64", "CHUNK__OVERLAP": "8"}  # fmt: skip
    return dict(os.environ) | {f"RAGSTONE__{key}": value for key, value in values.items()}


def command(home: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "ui.cli", *arguments, "--home", str(home)]


def run(repo: Path, environment: dict[str, str], home: Path, *arguments: str) -> tuple[int, Any]:
    done = subprocess.run(
        command(home, *arguments, "--json"), cwd=repo, env=environment, capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


@contextmanager
def started(repo: Path, environment: dict[str, str], home: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command(home, *arguments), cwd=repo, env={**environment, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_dry_run_tells_what_an_import_would_take(repo: Path, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Slate splits into thin plates. " * 40)
    code, data = run(repo, environment, tmp_path / "home", "ingest", str(tmp_path / "a.txt"), "--dry-run")
    assert code == 0 and data["dry_run"] and data["estimate"]["n_chunks"] == data["chunks"] > 0
    assert data["estimate"]["seconds"] > 0 and data["estimate"]["n_model_calls"] == 0
    _, listed = run(repo, environment, tmp_path / "home", "docs", "list")
    assert listed["documents"] == []


def test_a_signal_stops_an_import_and_the_same_command_goes_on(
    repo: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for n in range(3000):
        (docs / f"{n:04}.txt").write_text(f"Stone {n} is grey and heavy.")
    home = tmp_path / "home"
    with started(repo, environment, home, "ingest", str(docs), "--json") as process:
        while not any(one["state"] == "live" for one in run(repo, environment, home, "docs", "list")[1]["documents"]):
            assert process.poll() is None, "the import ended before anything was seen of it"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    data = json.loads(out)
    assert process.returncode == 1 and data["stopped"] and "stopping after the documents" in err
    n_done = data["documents"]["added"]
    assert 0 < n_done < 3000
    code, data = run(repo, environment, home, "ingest", str(docs))
    assert code == 0 and data["documents"] == {
        "added": 3000 - n_done,
        "updated": 0,
        "unchanged": n_done,
        "deleted": 0,
        "failed": 0,
    }
    assert run(repo, environment, home, "verify")[1]["ok"]


def test_watching_imports_what_changes(repo: Path, environment: dict[str, str], tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text("Granite is hard.")
    home = tmp_path / "home"
    with started(repo, environment, home, "ingest", str(docs), "--watch", "--prune") as process:
        assert process.stdout is not None

        def sources() -> set[str]:
            documents = run(repo, environment, home, "docs", "list")[1]["documents"]
            return {Path(one["source"]).name for one in documents if one["state"] == "live"}

        def until(wanted: set[str]) -> None:
            while sources() != wanted:
                assert process.poll() is None

        until({"a.txt"})
        (docs / "b.txt").write_text("Chalk is soft.")
        until({"a.txt", "b.txt"})
        (docs / "a.txt").unlink()
        until({"b.txt"})
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) in (0, 1)


def test_watching_needs_something_that_can_be_watched(repo: Path, environment: dict[str, str], tmp_path: Path) -> None:
    for arguments in (["https://example.org/", "--watch"], [str(tmp_path), "--watch", "--dry-run"]):
        done = subprocess.run(
            command(tmp_path / "home", "ingest", *arguments), cwd=repo, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 2 and "--watch" in done.stderr and len(done.stderr.strip().splitlines()) == 1


class Site(BaseHTTPRequestHandler):
    pages: dict[str, str] = {}
    n_full = 0

    def do_GET(self) -> None:
        text = self.pages.get(self.path)
        etag = f'"{hash(text)}"'
        same = self.headers.get("If-None-Match") == etag
        self.send_response(404 if text is None else 304 if same else 200)
        self.send_header("Content-Type", "application/xml" if self.path.endswith(".xml") else "text/html")
        self.send_header("ETag", etag)
        body = b"" if text is None or same else text.encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        Site.n_full += bool(body)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        base = f"http://127.0.0.1:{server.server_port}"
        places = "".join(f"<url><loc>{base}/{name}</loc></url>" for name in ("one", "two"))
        Site.pages = {
            "/one": PAGE.format(title="One", text="Basalt cooled quickly."),
            "/two": PAGE.format(title="Two", text="Gabbro cooled slowly."),
            "/sitemap.xml": f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{places}</urlset>',
        }
        yield base
        server.shutdown()
        thread.join()


def test_pages_of_a_site(repo: Path, environment: dict[str, str], tmp_path: Path, site: str) -> None:
    port = site.rpartition(":")[2]
    environment |= {"RAGSTONE__FETCH__ALLOW_HOSTS": "127.0.0.1", "RAGSTONE__FETCH__PORTS": port}
    home = tmp_path / "home"
    code, data = run(repo, environment, home, "ingest", f"{site}/sitemap.xml")
    assert code == 0 and data["documents"]["added"] == 2
    _, found = run(repo, environment, home, "search", "gabbro", "--mode", "bm25")
    assert [hit["source"] for hit in found["hits"]] == [f"{site}/two"] and found["hits"][0]["title"] == "Two"
    Site.n_full = 0
    assert run(repo, environment, home, "ingest", f"{site}/one")[1]["documents"]["unchanged"] == 1
    assert Site.n_full == 0  # the server was asked whether it changed, and sent nothing
    Site.pages["/one"] = PAGE.format(title="One", text="Pumice floats.")
    assert run(repo, environment, home, "ingest", f"{site}/one")[1]["documents"]["updated"] == 1
    code, data = run(repo, environment, home, "ingest", f"{site}/gone")
    assert code == 3 and data["failures"][0]["code"] == "E_URL_STATUS"


def test_private_addresses_are_not_fetched(repo: Path, environment: dict[str, str], tmp_path: Path, site: str) -> None:
    environment |= {"RAGSTONE__FETCH__PORTS": site.rpartition(":")[2]}
    Site.n_full = 0
    code, data = run(repo, environment, tmp_path / "home", "ingest", f"{site}/one")
    assert code == 3 and data["failures"][0]["code"] == "E_URL_FORBIDDEN" and Site.n_full == 0
