"""Large texts are cut where nothing is lost, and cuts stay where they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag import pieces
from rag.sources import FoundFile, find, read_stable
from rag.types import Failure


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "SPLIT_BYTES", 2000)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1000)
    monkeypatch.setattr(pieces, "_WINDOW", 200)


def cut(path: Path, max_bytes: int = 1_000_000) -> list[FoundFile]:
    found = list(pieces.split_large(find(path), max_bytes))
    assert not any(isinstance(one, Failure) for one in found)
    return found  # type: ignore[return-value]


def read(piece: FoundFile) -> bytes:
    return read_stable(piece.path, 1_000_000, start=piece.start, length=piece.size)


@pytest.mark.parametrize(
    "text",
    [
        "A line of tea.\n\n" * 500,
        "a line that ends alone\n" * 300,
        "绿茶的水温是八十度" * 300,
        "x" * 5000,
        "blanks only " * 400,
        "第七分钟\r\n\r\n" * 400,
    ],
)
def test_pieces_are_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "big.txt"
    path.write_bytes(text.encode("utf-8"))
    found = cut(path)
    assert len(found) > 1 and b"".join(map(read, found)) == text.encode("utf-8")
    assert "".join(read(piece).decode("utf-8") for piece in found) == text, "a character was cut in two"
    assert all(piece.size <= 2000 and pieces.is_piece(piece.source, piece.of) for piece in found)
    assert len({piece.source for piece in found}) == len(found)


def test_what_is_appended_moves_no_earlier_cut(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("A line of the log.\n" * 500)
    before = [(piece.source, piece.start, piece.size) for piece in cut(path)]
    path.write_text("A line of the log.\n" * 800)
    after = [(piece.source, piece.start, piece.size) for piece in cut(path)]
    assert after[: len(before) - 1] == before[:-1] and len(after) > len(before)


def test_what_stays_whole(tmp_path: Path) -> None:
    kept = {"small.txt": b"tea " * 100, "wide.txt": ("tea " * 2000).encode("utf-16"), "page.html": b"<html>" + b"<p>tea</p>" * 900}  # fmt: skip
    for name, data in kept.items():
        path = tmp_path / name
        path.write_bytes(data)
        assert [piece.of for piece in cut(path)] == [""], name
    path = tmp_path / "over.txt"
    path.write_bytes(b"tea " * 1000)
    assert [piece.of for piece in cut(path, max_bytes=3000)] == [""]
    assert len(cut(path)) > 1
