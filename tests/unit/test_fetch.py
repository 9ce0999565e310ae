"""The guarded fetch against real servers on loopback: redirects, limits, types, what may be asked at all."""

from __future__ import annotations

import gzip
import socket
import threading
from http.server import BaseHTTPRequestHandler

import pytest

from rag.errors import CODES, DocumentError
from rag.fetch import clean_url, fetch, is_public
from rag.settings import FetchSettings
from tests.web import HTML, page, site


def code(call) -> str:  # type: ignore[no-untyped-def]
    with pytest.raises(DocumentError) as caught:
        call()
    assert caught.value.code in CODES
    assert str(caught.value).endswith(".")
    return caught.value.code


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        ("HTTP://Example.ORG:80", "http://example.org/"),
        (" https://example.org:443/a b".replace(" b", "%20b"), "https://example.org/a%20b"),
        ("https://example.org:8443/?q=1#part", "https://example.org:8443/?q=1"),
        ("https://例子.测试/文档?问=答", "https://xn--fsqu00a.xn--0zwm56d/%E6%96%87%E6%A1%A3?%E9%97%AE=%E7%AD%94"),
        ("http://[2606:4700::0:1111]/", "http://[2606:4700::1111]/"),
    ],
)
def test_urls_have_one_form(given: str, clean: str) -> None:
    assert clean_url(given) == clean
    assert clean_url(clean) == clean


@pytest.mark.parametrize(
    "url",
    [
        "", "example.org", "ftp://example.org/", "file:///etc/passwd", "gopher://127.0.0.1:70/_", "javascript:alert(1)", "data:text/html,x",
        "http://", "http:///etc", "http://user@example.org/", "http://user:word@example.org/", "http://example.org\\@127.0.0.1/",
        "http://example.org/a\nHost: x", "http://exa mple.org/", "http://[::1", "http://[fe80::1%25eth0]/", "http://example.org:99999/",
        "http://example.org:0/", "http://exam%70le.org/", "http://-a.org/", "http://a" + "a" * 300 + ".org/", "http://x/" + "a" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_web_address_is_refused_before_anything_is_asked(url: str) -> None:
    assert code(lambda: clean_url(url)) == "E_URL_FORBIDDEN"


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(DocumentError) as caught:
        clean_url("https://me:secret@example.org/")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.31.0.1", "192.0.0.8",
        "192.168.1.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "168.63.129.16", "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
        "::7f00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:7f00:1::", "fe80::1", "fe80::1%lo",
        "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "2606:4700::5efe:7f00:1", "100::1", "fec0::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::808:808"]
)
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


def test_a_page_comes_with_its_type_and_the_marks_for_next_time() -> None:
    with site(
        {"/a?q=1": (200, {**HTML, "ETag": '"v1"', "Last-Modified": "Mon, 02 Nov 2026 00:00:00 GMT"}, b"<p>hi")}
    ) as web:
        got = fetch(f"{web.url}/a?q=1#x", settings=web.settings(user_agent="tester/1"))
    assert (got.data, got.content_type, got.etag) == (b"<p>hi", "text/html; charset=utf-8", '"v1"')
    assert got.url == got.final_url == f"{web.url}/a?q=1"
    headers = web.requests[0][1]
    assert headers["User-Agent"] == "tester/1"
    assert headers["Host"] == f"127.0.0.1:{web.port}"


def test_what_did_not_change_is_not_sent_again() -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        same = request.headers.get("If-None-Match") == '"v1"'
        request.send_response(304 if same else 200)
        request.send_header("ETag", '"v1"')
        request.send_header("Content-Length", "0" if same else "2")
        request.end_headers()
        request.wfile.write(b"" if same else b"hi")

    with site({"/": answer}) as web:
        first = fetch(web.url, settings=web.settings())
        again = fetch(web.url, settings=web.settings(), etag=first.etag)
        assert code(lambda: fetch(web.url + "/none", settings=web.settings())) == "E_URL_STATUS"
    assert (first.data, first.not_modified) == (b"hi", False)
    assert (again.data, again.not_modified, again.etag) == (b"", True, '"v1"')


def test_redirects_are_followed_as_far_as_the_limit() -> None:
    answers = {f"/{i}": (302, {"Location": f"{i + 1}"}, b"") for i in range(5)}
    with site({**answers, "/5": page("end"), "/loop": (302, {"Location": "/loop"}, b"")}) as web:
        got = fetch(f"{web.url}/0", settings=web.settings())
        assert (got.data, got.final_url, got.url) == (b"end", f"{web.url}/5", f"{web.url}/0")
        assert code(lambda: fetch(f"{web.url}/0", settings=web.settings(max_redirects=4))) == "E_URL_STATUS"
        assert code(lambda: fetch(f"{web.url}/loop", settings=web.settings())) == "E_URL_STATUS"


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "http://u:p@127.0.0.1/", "http://127.0.0.2:{port}/", "//127.0.0.1:1/", "gopher://x/"],
)
def test_redirects_are_checked_like_first_urls(location: str) -> None:
    with site({"/": lambda request: None}) as web:
        web.answers["/"] = (302, {"Location": location.format(port=web.port)}, b"")
        assert code(lambda: fetch(web.url, settings=web.settings())) == "E_URL_FORBIDDEN"


def test_nothing_private_is_asked_without_leave() -> None:
    with site({"/": page("secret")}) as web:
        for settings in (FetchSettings(ports=[web.port]), FetchSettings(allow_hosts=["127.0.0.1"]),
                         web.settings(allow_hosts=["10.0.0.0/8", "localhost", "::1"])):  # fmt: skip
            assert code(lambda settings=settings: fetch(web.url, settings=settings)) == "E_URL_FORBIDDEN"
        assert web.requests == []
        for allowed in ("127.0.0.0/8", "127.0.0.1"):
            assert fetch(web.url, settings=web.settings(allow_hosts=[allowed])).data == b"secret"


def test_a_name_may_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    with site({"/": page("wiki")}) as web:
        settings = web.settings(allow_hosts=["LocalHost", "127.0.0.1"])
        assert fetch(f"http://localhost:{web.port}/", settings=settings).data == b"wiki"


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with site({}) as proxy, site({"/": page("straight")}) as web:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert fetch(web.url, settings=web.settings()).data == b"straight"
        assert proxy.requests == []


def test_sizes_are_limited_as_unpacked() -> None:
    bomb = gzip.compress(bytes(30_000_000))
    answers = {
        "/large": (200, HTML, b"x" * 2_000_001),
        "/bomb": (200, {**HTML, "Content-Encoding": "gzip"}, bomb),
        "/pdf": (200, {"Content-Type": "application/pdf"}, b"%PDF" + b"x" * 2_000_001),
        "/small": (
            200,
            {**HTML, "Content-Encoding": "gzip"},
            gzip.compress(b"a" * 1_000) + gzip.compress(b"b" * 1_000),
        ),
    }
    with site(answers) as web:
        settings = web.settings(max_page_mb=2)
        assert code(lambda: fetch(f"{web.url}/large", settings=settings)) == "E_TOO_LARGE"
        assert code(lambda: fetch(f"{web.url}/bomb", settings=settings)) == "E_TOO_LARGE"
        assert len(fetch(f"{web.url}/pdf", settings=settings).data) == 2_000_005
        assert code(lambda: fetch(f"{web.url}/pdf", settings=settings, max_bytes=1_000)) == "E_TOO_LARGE"
        assert fetch(f"{web.url}/small", settings=settings).data == b"a" * 1_000 + b"b" * 1_000


@pytest.mark.parametrize(
    "media", ["image/png", "video/mp4", "application/x-msdownload", "font/woff2", "application/wasm"]
)
def test_only_texts_and_documents_are_taken(media: str) -> None:
    with site({"/": (200, {"Content-Type": media}, b"x"), "/plain": (200, {}, b"x")}) as web:
        assert code(lambda: fetch(web.url, settings=web.settings())) == "E_URL_TYPE"
        assert fetch(f"{web.url}/plain", settings=web.settings()).data == b"x"


def test_a_body_that_breaks_off_is_no_page() -> None:
    answers = {
        "/short": (200, {**HTML, "Content-Length": "100"}, b"<p>half"),
        "/packed": (200, {**HTML, "Content-Encoding": "gzip"}, gzip.compress(b"half" * 5000)[:-20]),
        "/br": (200, {**HTML, "Content-Encoding": "br"}, b"xx"),
    }
    with site(answers) as web:
        codes = [code(lambda path=path: fetch(web.url + path, settings=web.settings())) for path in answers]
    assert codes == ["E_URL_UNREACHABLE", "E_CORRUPT", "E_URL_TYPE"]


@pytest.mark.parametrize("part", ["head", "body", "silence"])
def test_a_server_that_drips_is_left_at_the_deadline(part: str) -> None:
    stop = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        if part == "silence":
            stop.wait(20)
        start = b"HTTP/1.1 200 OK\r\n" if part == "head" else b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
        request.wfile.write(start)
        while not stop.wait(0.05):
            request.wfile.write(b"X-a: b\r\n"[:1])
            request.wfile.flush()

    with site({"/": drip}) as web:
        assert code(lambda: fetch(web.url, settings=web.settings(timeout_s=0.5))) == "E_TIMEOUT"
        stop.set()


def test_servers_that_are_not_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        settings = FetchSettings(allow_hosts=["127.0.0.1"], ports=[port])
        assert code(lambda: fetch(f"http://127.0.0.1:{port}/", settings=settings)) == "E_URL_UNREACHABLE"
        assert code(lambda: fetch("http://no-such-host.invalid/", settings=FetchSettings(timeout_s=10))) in (
            "E_URL_UNREACHABLE",
            "E_TIMEOUT",
        )


def test_something_that_speaks_no_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def talk() -> None:
            opened, _ = server.accept()
            opened.recv(1000)
            opened.sendall(b"220 mail.example ESMTP\r\n")
            opened.close()

        threading.Thread(target=talk, daemon=True).start()
        settings = FetchSettings(allow_hosts=["127.0.0.1"], ports=[port])
        assert code(lambda: fetch(f"http://127.0.0.1:{port}/", settings=settings)) == "E_URL_UNREACHABLE"
