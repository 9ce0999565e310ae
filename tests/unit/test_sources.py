"""Finding and reading files: links, pipes, odd names, files that change under the reader."""

from __future__ import annotations

import gzip
import os
import socket
import sys
import threading
from pathlib import Path

import pytest

import rag.sources
from rag.errors import DocumentError, SourceError
from rag.sources import FoundFile, FoundPage, content_hash, find, read, read_stable, root_name, source_name
from rag.types import Failure
from tests.web import page, site

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX file types")


def names(paths: object) -> list[str]:
    return [Path(item.source).name if isinstance(item, FoundFile) else item.code for item in find(paths)]  # type: ignore[arg-type]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.txt", "a.txt", "sub/c.txt", "sub/.hidden.txt", ".git/config", "sub/deep/d.md"):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "root"


def test_folders_are_searched_in_order_without_hidden_files(tree: Path) -> None:
    found = list(find(tree))
    assert [Path(item.source).relative_to(tree.resolve()).as_posix() for item in found] == [
        "a.txt",
        "b.txt",
        "sub/c.txt",
        "sub/deep/d.md",
    ]
    assert all(isinstance(item, FoundFile) and item.size == Path(item.path).stat().st_size for item in found)
    assert list(find(str(tree))) == found


def test_files_of_ragstone_itself_are_none_of_a_folders(tree: Path) -> None:
    """Reading them would take the locks of the catalog and the index from the process that holds them."""
    home = tree / "kb"
    home.mkdir()
    for name in ("writer.lock", "catalog.sqlite3", "milvus.db"):
        (home / name).write_text("x")
    assert names(tree) == ["a.txt", "b.txt", "c.txt", "d.md"]
    for own in (home, home / "catalog.sqlite3"):
        with pytest.raises(SourceError, match="keeps its own files"):
            list(find(own))
    (home / "writer.lock").unlink()
    assert "catalog.sqlite3" in names(tree), "somebody else's file of that name is one"


def test_each_file_comes_once_and_hidden_ones_when_named(tree: Path) -> None:
    assert names([tree / "sub", tree, tree / "a.txt"]) == ["c.txt", "d.md", "a.txt", "b.txt"]
    assert names(tree / "sub" / ".hidden.txt") == [".hidden.txt"]


@posix
def test_links_are_not_followed_and_those_that_leave_are_reported(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tree / "out").symlink_to(tmp_path / "secret.txt")
    (tree / "outside").symlink_to("/")
    (tree / "inside").symlink_to(tree / "a.txt")
    (tree / "loop").symlink_to(tree)
    (tree / "dead").symlink_to(tree / "nothing")
    failures = [item for item in find(tree) if isinstance(item, Failure)]
    assert [(Path(f.source).name, f.code) for f in failures] == [
        ("dead", "E_UNREADABLE"),
        ("out", "E_OUTSIDE_ROOT"),
        ("outside", "E_OUTSIDE_ROOT"),
    ]
    (tmp_path / "link").symlink_to(tree)
    assert "a.txt" in names(tmp_path / "link")


@posix
def test_pipes_and_sockets_do_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "sock"))
        assert names(tmp_path) == ["E_NOT_REGULAR", "E_NOT_REGULAR"]
        for name in ("pipe", "sock"):
            with pytest.raises(DocumentError) as caught:
                read_stable(tmp_path / name, 1000)
            assert caught.value.code == "E_NOT_REGULAR"
    with pytest.raises(DocumentError, match="device"):
        read_stable("/dev/zero", 1000)


@posix
def test_a_link_put_in_place_of_a_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "file").symlink_to(tmp_path / "secret")
    with pytest.raises(DocumentError) as caught:
        read_stable(tmp_path / "file", 1000)
    assert caught.value.code == "E_NOT_REGULAR"


@posix
@pytest.mark.parametrize(
    "raw", [b"new\nline.txt", b"quote'\".txt", b"bytes\xff\xfe.txt", "中文 名.txt".encode(), b"x" * 255]
)
def test_odd_names_survive_as_one_line_of_utf8(tmp_path: Path, raw: bytes) -> None:
    path = os.path.join(os.fsencode(tmp_path), raw)
    Path(os.fsdecode(path)).write_bytes(b"text")
    (found,) = find(tmp_path)
    assert isinstance(found, FoundFile)
    assert found.source.encode("utf-8").isascii() or "中文" in found.source
    assert "\n" not in found.source
    assert os.fsencode(found.path) == os.path.join(os.path.realpath(os.fsencode(tmp_path)), raw)
    assert read_stable(found.path, 100) == b"text"


def test_source_names_of_different_files_differ() -> None:
    assert source_name("/a/b\nc") == "/a/b\\x0ac"
    assert source_name("/a/\udcff") == "/a/\\xff"
    assert source_name("/ä/中") == "/ä/中"


@pytest.mark.parametrize("source", ["ftp://example.org/a", "file:///etc/hosts", "missing.txt", "", "a\0b"])
def test_what_cannot_be_a_source_is_refused_before_anything_is_read(tmp_path: Path, source: str) -> None:
    with pytest.raises(SourceError):
        find([tmp_path, source])


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_text("x")
    with pytest.raises(SourceError, match="holds no files"):
        list(find(tmp_path))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_unreadable_files_and_folders(tree: Path) -> None:
    (tree / "a.txt").chmod(0)
    with pytest.raises(DocumentError) as caught:
        read_stable(tree / "a.txt", 1000)
    assert caught.value.code == "E_UNREADABLE"
    (tree / "sub").chmod(0)
    try:
        assert "E_UNREADABLE" in names(tree)
    finally:
        (tree / "sub").chmod(0o700)


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"12345")
    assert read_stable(path, 5) == b"12345"
    assert content_hash(b"12345") == "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5"
    for target, limit, code in (
        (path, 4, "E_TOO_LARGE"),
        (tmp_path / "gone", 9, "E_UNREADABLE"),
        (tmp_path, 9, "E_NOT_REGULAR"),
    ):
        with pytest.raises(DocumentError) as caught:
            read_stable(target, limit)
        assert caught.value.code == code


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    honest = rag.sources._read_exactly
    n_changes = 0

    def reader_with_a_writer_beside_it(handle: int, n: int) -> bytes:
        nonlocal n_changes
        data = honest(handle, n)
        if n_changes:
            n_changes -= 1
            writer = threading.Thread(target=path.write_bytes, args=(b"new!" * n_changes + b"end",))
            writer.start()
            writer.join()
            os.utime(path, ns=(1, 1 + n_changes))
        return data

    monkeypatch.setattr(rag.sources, "_read_exactly", reader_with_a_writer_beside_it)
    n_changes = 1
    assert read_stable(path, 100) == b"end"
    n_changes = 2
    with pytest.raises(DocumentError) as caught:
        read_stable(path, 100)
    assert caught.value.code == "E_CHANGED"


# ---------------------------------------------------------------- pages


def test_a_url_is_one_page_and_is_not_asked_yet() -> None:
    found = list(find(["https://Example.org/docs/Guide.pdf#p3", "https://example.org", "https://example.org/"]))
    assert found == [
        FoundPage(source="https://example.org/docs/Guide.pdf"),
        FoundPage(source="https://example.org/"),
    ]
    assert [item.name for item in found if isinstance(item, FoundPage)] == ["Guide.pdf", "example.org.html"]
    assert FoundPage(source="https://a.org/index.php").name == "index.php.html"
    with pytest.raises(SourceError, match="http"):
        find("ftp://example.org/a.txt")
    with pytest.raises(SourceError, match="password"):
        find(["https://me:word@example.org/"])


def sitemap_xml(*urls: str, tag: str = "urlset") -> bytes:
    entry = "url" if tag == "urlset" else "sitemap"
    items = "".join(f"<{entry}><loc> {url} </loc><lastmod>2026-11-02</lastmod></{entry}>" for url in urls)
    return f'<?xml version="1.0"?><{tag} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{items}</{tag}>'.encode()


XML = {"Content-Type": "application/xml"}


def test_a_sitemap_becomes_its_pages() -> None:
    with site({}) as web:
        web.answers |= {
            "/robots.txt": (200, {"Content-Type": "text/plain"},
                            f"User-agent: *\nDisallow: /private/\nSitemap: {web.url}/index-sitemap.xml\n".encode()),
            "/index-sitemap.xml": (200, XML, sitemap_xml(f"{web.url}/one.xml", f"{web.url}/two.xml.gz", f"{web.url}/lost.xml",
                                                         "http://127.0.0.2/sitemap.xml", tag="sitemapindex")),
            "/one.xml": (200, XML, sitemap_xml(f"{web.url}/a", f"{web.url}/private/b", "https://elsewhere.example/", "file:///etc/passwd")),
            "/two.xml.gz": (200, {"Content-Type": "application/x-gzip"}, gzip.compress(sitemap_xml(f"{web.url}/a", f"{web.url}/c"))),
        }  # fmt: skip
        for given in (f"{web.url}/index-sitemap.xml", f"sitemap:{web.url}/"):
            found = list(find(given, web.settings()))
            assert [item.source.removeprefix(web.url) for item in found] == ["/a", "/private/b", "/c", "/lost.xml"]
            assert [item.code for item in found if isinstance(item, Failure)] == ["E_URL_FORBIDDEN", "E_URL_STATUS"]
            assert found[0] == FoundPage(source=f"{web.url}/a", last_modified="2026-11-02", listed_by=given)
        cut = list(find(f"{web.url}/one.xml", web.settings(max_pages=1)))
        assert cut == [FoundPage(source=f"{web.url}/one.xml")]  # its name does not say that it is a sitemap
        cut = list(find(f"sitemap:{web.url}/one.xml", web.settings(max_pages=1)))
        assert [item.code if isinstance(item, Failure) else "page" for item in cut] == ["page", "E_TOO_LARGE"]
        assert "/private/b" not in web.paths


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><urlset><url><loc>&b;</loc></url></urlset>'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (BOMB, "entities"),
        (b"<urlset><url>", "well-formed"),
        (b"<html></html>", "no sitemap"),
        (b"hello", "neither"),
        (sitemap_xml(), "no pages"),
    ],
)
def test_a_sitemap_that_is_none(body: bytes, message: str) -> None:
    with site({"/sitemap.xml": (200, XML, body)}) as web, pytest.raises(SourceError, match=message):
        list(find(f"{web.url}/sitemap.xml", web.settings()))


def test_a_site_whose_robots_file_fails_is_left_alone() -> None:
    with site({"/robots.txt": (503, {}, b"")}) as web:
        web.answers["/sitemap.xml"] = (200, XML, sitemap_xml(f"{web.url}/a"))
        assert names_of(find(f"{web.url}/sitemap.xml", web.settings())) == ["E_URL_FORBIDDEN"]


def names_of(found: object) -> list[str]:
    return [item.code if isinstance(item, Failure) else item.name for item in found]  # type: ignore[attr-defined]


def test_read_gives_the_bytes_of_files_and_pages(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"file")
    with site({"/p": page("page"), "/b": page("x" * 100)}) as web:
        found = list(find([tmp_path / "a.txt", f"{web.url}/p", f"{web.url}/b"], web.settings()))
        assert [read(item, 10, web.settings()) for item in found[:2]] == [b"file", b"page"]  # type: ignore[arg-type]
        with pytest.raises(DocumentError) as caught:
            read(found[2], 10, web.settings())  # type: ignore[arg-type]
    assert caught.value.code == "E_TOO_LARGE"
    assert root_name(f"{web.url}/p#x") == f"{web.url}/p"


def test_the_encoding_that_the_server_names_counts() -> None:
    text = "<html><p>茶文化的历史 и чай"
    answers = {
        "/named": (200, {"Content-Type": "text/html; charset=GB18030"}, text.encode("gb18030")),
        "/wrong": (200, {"Content-Type": "text/html; charset=nonsense"}, text.encode()),
        "/own": (200, {"Content-Type": "text/html; charset=gbk"}, b"<meta charset=utf-8>" + text.encode()),
    }
    with site(answers) as web:
        got = [read(FoundPage(source=web.url + path), 10_000, web.settings()) for path in answers]
    assert got == [text.encode(), text.encode(), b"<meta charset=utf-8>" + text.encode()]


ROBOTS = """User-agent: other
Disallow: /

User-agent: *
Disallow: /a
Allow: /a/open
Disallow: /*?session=
Disallow: /*.php$
Disallow: /x/*/y
"""


def test_robots_files_are_read_with_wildcards() -> None:
    allowed = ["/", "/a/open/1", "/b.php?x=1", "/x/y", "/b?page=2"]
    forbidden = ["/a", "/a/closed", "/b?session=1", "/c/d.php", "/x/1/2/y/z"]
    with site({"/robots.txt": (200, {"Content-Type": "text/plain"}, ROBOTS.encode())}) as web:
        web.answers["/sitemap.xml"] = (200, XML, sitemap_xml(*(web.url + path for path in allowed + forbidden)))
        found = list(find(f"{web.url}/sitemap.xml", web.settings()))
    assert [item.source.removeprefix(web.url) for item in found if isinstance(item, FoundPage)] == allowed
    assert [item.source.removeprefix(web.url) for item in found if isinstance(item, Failure)] == forbidden
