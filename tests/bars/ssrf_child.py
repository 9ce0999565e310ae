"""The inside of bar 7: runs in a network of its own, where public and private addresses are all this process.

Run by test_bar_07_ssrf.py in `unshare -n -m`; prints one JSON object. Addresses of the public Internet are put on the
loopback device, a name server answers as the cases say, and every private address has a listener that counts.
"""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from rag.errors import DocumentError
from rag.fetch import fetch
from rag.settings import FetchSettings
from tests.web import Site, page

PUBLIC = "93.184.216.34"
OTHER = "151.101.1.69"
PUBLIC_6 = "2606:4700::1111"
PRIVATE = (
    "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.8", "198.18.0.1",
    "0.0.0.1", "224.0.0.1", "fd00:ec2::254", "fe80::1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
)  # fmt: skip

URLS = [
    # loopback in every spelling that a resolver takes
    "http://127.0.0.1/", "http://127.0.0.1:80/", "https://127.0.0.1/", "http://127.1/", "http://127.0.1/", "http://2130706433/", "http://0x7f000001/",
    "http://0x7f.0.0.1/", "http://0x7f.1/", "http://0177.0.0.1/", "http://0177.1/", "http://017700000001/", "http://127.000.000.001/",
    "http://0/", "http://0.0.0.0/", "http://0x0/", "http://localhost/", "http://LOCALHOST/", "http://localhost./", "http://127.0.0.1./", "http://127.127.127.127/",
    "http://127。0。0。1/", "http://１２７.0.0.1/", "http://①②⑦.⓪.⓪.①/", "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", "http://127%2e0%2e0%2e1/", "http://%31%32%37.0.0.1/",
    "http://[::1]/", "http://[0:0:0:0:0:0:0:1]/", "http://[::]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[0:0:0:0:0:ffff:127.0.0.1]/",
    "http://[::127.0.0.1]/", "http://[64:ff9b::127.0.0.1]/", "http://[64:ff9b::a9fe:a9fe]/", "http://[2002:7f00:1::]/", "http://[fe80::1]/", "http://[fe80::1%25lo]/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    # private networks and the clouds' metadata
    "http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.0.1/", "http://3232235521/", "http://0xa000001/", "http://012.0.0.1/", "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/", "http://0xa9fea9fe/", "http://[::ffff:169.254.169.254]/", "http://100.64.0.1/", "http://100.100.100.200/latest/", "http://168.63.129.16/", "http://192.0.0.8/",
    "http://198.18.0.1/", "http://0.0.0.1/", "http://224.0.0.1/",
    # names that lead inside
    "http://private.test/", "http://metadata.test/", "http://mixed.test/", "http://mixed6.test/", "http://mapped.test/", "http://alias.test/", "http://127.0.0.1.nip.test/",
    # forms that parsers read differently
    f"http://{PUBLIC}@127.0.0.1/", f"http://127.0.0.1@{PUBLIC}/", f"http://{PUBLIC}:80@127.0.0.1:80/", f"http://{PUBLIC}\\@127.0.0.1/", f"http://127.0.0.1\\@{PUBLIC}/",
    f"http://{PUBLIC}#@127.0.0.1/", "http:///127.0.0.1/", "http:127.0.0.1/", "http:/127.0.0.1/", "//127.0.0.1/", "http://127.0.0.1\t/", "http://127.0.0.1\r\nHost: a/", "http://[::1/",
    "http://127.0.0.1:22/", "http://127.0.0.1:8080/", f"http://{PUBLIC}:8080/", f"http://{PUBLIC}:6379/",
    # other schemes
    "file:///etc/passwd", "FILE:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1:80/_GET", "dict://127.0.0.1:80/", "ldap://127.0.0.1/", "jar:http://127.0.0.1!/",
    "unix:///var/run/docker.sock", "javascript:1", "data:text/html,x", "netdoc:///etc/passwd", "view-source:http://127.0.0.1/",
]  # fmt: skip
HARMLESS = {f"http://{PUBLIC}#@127.0.0.1/"}  # the fragment is dropped: this is the public page

REDIRECTS = {
    "/to-loopback": "http://127.0.0.1/", "/to-decimal": "http://2130706433/", "/to-metadata": "http://169.254.169.254/latest/", "/to-v6": "http://[::1]/",
    "/to-mapped": "http://[::ffff:127.0.0.1]/", "/to-name": "http://private.test/", "/to-file": "file:///etc/passwd", "/to-port": f"http://{PUBLIC}:8080/",
    "/to-user": f"http://a@{PUBLIC}/", "/to-relative": "//127.0.0.1/", "/to-rebinding": "http://rebind.test/", "/to-hop": f"http://{OTHER}/to-loopback",
    "/to-allowed": "http://wiki.test/",
}  # fmt: skip

NAMES: dict[str, list[list[str]]] = {  # for each name, the answers of one query after the other; the last goes on
    "good.test": [[PUBLIC]], "private.test": [["10.0.0.1"]], "metadata.test": [["169.254.169.254"]], "mixed.test": [[PUBLIC, "127.0.0.1"]],
    "mixed6.test": [[PUBLIC, "::1"]], "mapped.test": [["::ffff:127.0.0.1"]], "alias.test": [["127.0.0.1"]], "127.0.0.1.nip.test": [["127.0.0.1"]],
    "wiki.test": [["192.168.0.1"]], "rebind.test": [[PUBLIC], ["127.0.0.1"]], "rebind2.test": [["127.0.0.1"], [PUBLIC]],
    "rebind3.test": [[PUBLIC], [PUBLIC], ["169.254.169.254"]],
}  # fmt: skip


def sh(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def name_server() -> None:
    """Answers A and AAAA queries from NAMES, with no time to live."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    asked: dict[tuple[str, int], int] = {}

    def answer() -> None:
        while True:
            query, client = server.recvfrom(2000)
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1 : at + 1 + query[at]].decode("latin-1"))
                at += 1 + query[at]
            question = query[12 : at + 5]
            kind = struct.unpack(">H", query[at + 1 : at + 3])[0]
            name = ".".join(labels).lower()
            turns = NAMES.get(name)
            turn = asked[name, kind] = asked.get((name, kind), -1) + 1
            found = turns[min(turn, len(turns) - 1)] if turns else []
            records = [
                socket.inet_pton(socket.AF_INET6 if ":" in one else socket.AF_INET, one)
                for one in found
                if kind == (28 if ":" in one else 1)
            ]
            head = query[:2] + struct.pack(">HHHHH", 0x8180 if turns else 0x8183, 1, len(records), 0, 0)
            body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(one)) + one for one in records)
            server.sendto(head + question + body, client)

    threading.Thread(target=answer, daemon=True).start()


class Listener:
    """Counts every connection to any address and port that is not the public site's."""

    def __init__(self) -> None:
        self.hits: list[str] = []

    def listen(self, address: str, port: int) -> bool:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        server = socket.socket(family, socket.SOCK_STREAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            server.bind(
                (address, port, 0, socket.if_nametoindex("lo")) if address.startswith("fe80") else (address, port)
            )
        except OSError:
            return False
        server.listen(50)

        def accept() -> None:
            while True:
                opened, _ = server.accept()
                self.hits.append(f"{address}:{port}")
                opened.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\nSECRET"
                )
                opened.close()

        threading.Thread(target=accept, daemon=True).start()
        return True


def drip(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
    while True:
        request.wfile.write(b"x")
        time.sleep(0.1)  # the case is a slow server


def endless(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
    while True:
        request.wfile.write(b"x" * 65536)


def attempt(url: str, settings: FetchSettings) -> str:
    try:
        return fetch(url, settings=settings).data.decode("utf-8", "replace")[:40]
    except DocumentError as error:
        return error.code


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.monotonic()
    return call(), round(time.monotonic() - start, 2)


def main(folder: Path) -> dict[str, Any]:
    sh("ip", "link", "set", "lo", "up")
    for address in (PUBLIC, OTHER, PUBLIC_6, *PRIVATE):
        bits = "128" if ":" in address else "32"
        if not address.startswith("224"):
            subprocess.run(
                ["ip", "addr", "add", f"{address}/{bits}", "dev", "lo", *(["nodad"] if bits == "128" else [])],
                capture_output=True,
            )
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:1\n")
    (folder / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    sh("mount", "--bind", str(folder / "resolv.conf"), "/etc/resolv.conf")
    sh("mount", "--bind", str(folder / "hosts"), "/etc/hosts")
    name_server()
    listener = Listener()
    n_listeners = sum(
        listener.listen(address, port)
        for address in ("127.0.0.1", "127.127.127.127", "::1", *PRIVATE)
        for port in (80, 443, 22, 8080)
    ) + sum(listener.listen(PUBLIC, port) for port in (8080, 6379))

    answers: dict[str, Any] = {
        "/": page("good page"), "/page": page("good page"), "/302": (302, {"Location": "page"}, b""), "/307": (307, {"Location": "http://good.test/page"}, b""),
        "/drip": drip, "/endless": endless,
        "/bomb": (200, {"Content-Type": "text/html", "Content-Encoding": "gzip"}, gzip.compress(bytes(200_000_000), 1)),
        **{path: (302, {"Location": target}, b"") for path, target in REDIRECTS.items()},
    }  # fmt: skip
    for host in (PUBLIC, OTHER):
        Site(answers, host=host, port=80)
    secure = Site({"/": page("good page")}, host=OTHER, port=443)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    secure._server.socket = context.wrap_socket(secure._server.socket, server_side=True)
    NAMES["secure.test"] = [[OTHER]]
    NAMES["wrong.test"] = [[OTHER]]

    settings = FetchSettings()
    urls = {url: attempt(url, settings) for url in URLS}
    redirects = {
        path: attempt(f"http://{PUBLIC}{path}", settings.model_copy(update={"allow_hosts": ["wiki.test"]}))
        for path in REDIRECTS
    }
    rebinding = {
        name: [attempt(f"http://{name}/", settings) for _ in range(4)]
        for name in ("rebind.test", "rebind2.test", "rebind3.test")
    }
    hits = list(listener.hits)

    drip_result, drip_s = timed(
        lambda: attempt(f"http://{PUBLIC}/drip", settings.model_copy(update={"timeout_s": 3.0}))
    )
    endless_result, endless_s = timed(lambda: attempt(f"http://{PUBLIC}/endless", settings))
    return {
        "n_listeners": n_listeners, "hits": hits, "urls": urls, "redirects": redirects, "rebinding": rebinding,
        "good": {url: attempt(url, settings) for url in ("http://good.test/", f"http://{PUBLIC}/302", "http://good.test/307", "https://secure.test/")},
        "wrong_certificate": attempt("https://wrong.test/", settings),
        "drip": [drip_result, drip_s], "endless": [endless_result, endless_s], "bomb": attempt(f"http://{PUBLIC}/bomb", settings),
        "allowed": attempt("http://wiki.test/", settings.model_copy(update={"allow_hosts": ["wiki.test"]})),
        "allowed_hits": len(listener.hits) - len(hits),
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
