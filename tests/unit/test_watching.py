"""Watching real files: what changes comes once, after it has come to rest."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.watching import Watch, is_network


class Seen:
    """Reads a watch on a thread, so that a test fails instead of waiting for ever."""

    def __init__(self, roots: list[Path], poll_s: float | None) -> None:
        self.stop = threading.Event()
        self.sets: list[set[str]] = []
        self._new = threading.Condition()
        self._watch = Watch(roots, settle_s=0.3, poll_s=poll_s)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for changed in self._watch.changes(self.stop):
            with self._new:
                self.sets.append(changed)
                self._new.notify_all()

    def wait(self, *names: str) -> set[str]:
        """The names that changed, once all that are wanted have."""
        with self._new:
            assert self._new.wait_for(lambda: set(names) <= self.names(), timeout=20), self.names()
            return self.names()

    def names(self) -> set[str]:
        return {Path(path).name for one in self.sets for path in one}

    def close(self) -> None:
        self.stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture(params=[None, 0.1], ids=["events", "polling"])
def poll_s(request: pytest.FixtureRequest) -> float | None:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs" / "sub").mkdir(parents=True)
    (tmp_path / "docs" / "old.md").write_text("old")
    (tmp_path / "docs" / "gone.md").write_text("old")
    return tmp_path / "docs"


@pytest.fixture
def seen(folder: Path, poll_s: float | None) -> Iterator[Seen]:
    watching = Seen([folder], poll_s)
    yield watching
    watching.close()


def test_new_changed_moved_and_deleted_files_are_seen(folder: Path, seen: Seen) -> None:
    (folder / "sub" / "new.md").write_text("new")
    (folder / "old.md").write_text("changed content")
    (folder / "gone.md").unlink()
    (folder / "deep" / "er").mkdir(parents=True)
    seen.wait("new.md", "old.md", "gone.md", "deep")
    (folder / "deep" / "er" / "late.md").write_text("in a folder that is new")
    (folder / "old.md").rename(folder / "renamed.md")
    seen.wait("late.md", "renamed.md")


def test_an_editors_rename_counts_as_a_change_of_the_file(folder: Path, seen: Seen) -> None:
    (folder / ".old.md.swp").write_text("draft")
    (folder / "old.md~").write_text("backup")
    (folder / ".old.md.new").write_text("saved by renaming")
    os.replace(folder / ".old.md.new", folder / "old.md")
    assert seen.wait("old.md") <= {"old.md"}


def test_many_changes_come_together(folder: Path, seen: Seen) -> None:
    for i in range(50):
        (folder / "old.md").write_text(f"{i}" * 100)
    (folder / "last.md").write_text("x")
    seen.wait("old.md", "last.md")
    assert sum(any(path.endswith("old.md") for path in one) for one in seen.sets) <= 5


def test_a_single_file_is_watched_alone(folder: Path, poll_s: float | None) -> None:
    watching = Seen([folder / "old.md"], poll_s)
    (folder / "other.md").write_text("not watched")
    (folder / "new").write_text("by renaming")
    os.replace(folder / "new", folder / "old.md")
    assert watching.wait("old.md") == {"old.md"}
    watching.close()


def test_reading_is_no_change(folder: Path) -> None:
    watching = Seen([folder], None)
    (folder / "old.md").read_text()
    (folder / "mark.md").write_text("x")
    assert watching.wait("mark.md") == {"mark.md"}
    watching.close()


def test_hidden_folders_and_our_own_files_are_no_change(folder: Path, poll_s: float | None) -> None:
    """Else an import of a folder that holds the home would be the reason for the next."""
    for name in (".ragstone", "kb"):
        (folder / name).mkdir()
    (folder / "kb" / "writer.lock").touch()
    (folder / "kb" / "catalog.sqlite3").touch()
    watching = Seen([folder], poll_s)
    (folder / ".ragstone" / "catalog.sqlite3-wal").write_text("x")
    (folder / "kb" / "catalog.sqlite3-wal").write_text("x")
    (folder / "mark.md").write_text("x")
    assert watching.wait("mark.md") <= {"mark.md", "kb"}
    watching.close()


def test_local_folders_are_no_network_folders(tmp_path: Path) -> None:
    assert not is_network(str(tmp_path))
