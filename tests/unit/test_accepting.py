"""What uploads are called, and which folders of the server may be imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.errors import UsageError
from ui.api.accepting import allowed_folder, label, labels


def test_no_name_is_lost() -> None:
    assert labels(["a/x.md", "b/x.md", "x.md", "x.md", "x (2).md", "notes", "notes"]) == [
        "a/x.md", "b/x.md", "x.md", "x (2).md", "x (2) (2).md", "notes", "notes (2)",
    ]  # fmt: skip


def test_a_label_is_one_line_and_leads_nowhere() -> None:
    assert labels(["../../etc/passwd", "C:\\docs\\a.md", "/abs/b.md", "...", "a\nb.md"]) == [
        "etc/passwd", "C:/docs/a.md", "abs/b.md", "file-4", "ab.md",
    ]  # fmt: skip
    assert label("../../etc/passwd", 1) == "passwd" and label("..", 2) == "file-2"


def test_folders_of_the_server(tmp_path: Path) -> None:
    open_one, closed = tmp_path / "open", tmp_path / "closed"
    for folder in (open_one / "deep", closed):
        folder.mkdir(parents=True)
    (open_one / "way-out").symlink_to(closed)
    assert allowed_folder(f" {open_one}/deep ", [str(open_one)], anywhere=False) == str(open_one / "deep")
    for path in (closed, open_one / ".." / "closed", open_one / "way-out", str(open_one) + "er"):
        with pytest.raises(UsageError, match="can be imported from here"):
            allowed_folder(str(path), [str(open_one)], anywhere=False)
    assert allowed_folder(str(closed), [], anywhere=True) == str(closed)
    with pytest.raises(UsageError, match="Name a path"):
        allowed_folder("  ", [], anywhere=True)
    with pytest.raises(UsageError, match="There is no"):
        allowed_folder(str(tmp_path / "gone"), [], anywhere=True)
