"""Bar 7: no URL, redirect or name leads the fetch into the network it runs in; good pages and good redirects work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bars.ssrf_child import HARMLESS, NAMES, REDIRECTS, URLS

pytestmark = pytest.mark.bar


@pytest.fixture(scope="module")
def result(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happened inside of the namespace."""
    folder = tmp_path_factory.mktemp("ssrf")
    for tool in ("unshare", "ip", "mount", "openssl"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    apart = ["unshare", "-n", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-n", "-m"]
    if subprocess.run([*apart, "true"], capture_output=True).returncode != 0:
        pytest.skip("this machine does not allow network namespaces (unshare -n -m)")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-days", "2",
         "-subj", "/CN=secure.test", "-addext", "subjectAltName=DNS:secure.test"],
        check=True, capture_output=True,
    )  # fmt: skip
    env = {**os.environ, "SSL_CERT_FILE": str(folder / "cert.pem"), "http_proxy": "http://127.0.0.1:80", "HTTP_PROXY": "http://127.0.0.1:80",
           "ALL_PROXY": "http://127.0.0.1:80", "https_proxy": "http://127.0.0.1:80", "PYTHONPATH": str(repo)}  # fmt: skip
    ended = subprocess.run(
        [*apart, sys.executable, "-m", "tests.bars.ssrf_child", str(folder)],
        cwd=repo,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return json.loads(ended.stdout)  # type: ignore[no-any-return]


def test_no_url_reaches_the_inside(result: dict[str, Any]) -> None:
    assert len(URLS) >= 60 and result["n_listeners"] >= 40
    assert result["hits"] == []
    reached = {url: got for url, got in result["urls"].items() if not got.startswith("E_")}
    assert set(reached) == HARMLESS and set(reached.values()) == {"good page"}
    # Some resolvers know no 0177.1 and its like: then there is no such host.
    assert set(result["urls"].values()) <= {"E_URL_FORBIDDEN", "E_URL_UNREACHABLE", "good page"}
    assert list(result["urls"].values()).count("E_URL_FORBIDDEN") >= 60


def test_no_redirect_or_changing_name_reaches_the_inside(result: dict[str, Any]) -> None:
    assert len(REDIRECTS) + sum(name.startswith("rebind") for name in NAMES) >= 8
    assert set(result["redirects"]) == set(REDIRECTS)
    assert {
        path: got for path, got in result["redirects"].items() if path != "/to-rebinding" and got != "E_URL_FORBIDDEN"
    } == {}
    assert {
        got for many in [*result["rebinding"].values(), [result["redirects"]["/to-rebinding"]]] for got in many
    } == {"good page", "E_URL_FORBIDDEN"}


def test_good_pages_and_redirects_work(result: dict[str, Any]) -> None:
    assert set(result["good"].values()) == {"good page"}, result["good"]
    assert result["wrong_certificate"] == "E_URL_UNREACHABLE"
    assert (result["allowed"], result["allowed_hits"]) == ("SECRET", 1)


def test_size_and_time_are_limited(result: dict[str, Any]) -> None:
    assert result["bomb"] == result["endless"][0] == "E_TOO_LARGE"
    assert result["drip"][0] == "E_TIMEOUT"
    assert result["drip"][1] < 3 + 2 and result["endless"][1] < 15 + 2  # the deadlines, not a speed
