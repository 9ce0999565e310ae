"""Finding and reading files: links, pipes, odd names, files that change under the reader."""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

import pytest

import rag.sources
from rag.errors import DocumentError, SourceError
from rag.sources import FoundFile, content_hash, find, read_stable, source_name
from rag.types import Failure

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


@pytest.mark.parametrize("source", ["https://example.org/a", "file:///etc/hosts", "missing.txt", "", "a\0b"])
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
