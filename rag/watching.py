"""Watching files and folders: which sources changed, once they have come to rest. The only home of watchdog."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from rag.sources import is_home

NETWORK = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "virtiofs", "vboxsf")
    + ("fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.glusterfs")
)
POLL_S = 5.0
TEMPORARY = (".swp", ".swx", ".tmp", ".part", ".crdownload", "~")  # what editors and browsers leave for a moment


def watch(
    roots: Sequence[str | os.PathLike[str]],
    *,
    settle_s: float = 1.0,
    stop: threading.Event,
    poll_s: float | None = None,
) -> Iterator[set[str]]:
    """Each time that files under the roots changed and then rested for `settle_s`, the paths that changed.

    A file that is written for long, saved by renaming or saved many times comes once; folders that appear come as the
    path of the folder. A set is a reason to import the roots again, not a list of all that has to be read. Changes
    count from this call on, not from the first set that is asked for: call it before the first import, and what
    changes while that runs is not missed.

    poll_s: look that often instead of asking the system for events; left out, that is done on network folders, whose
    other users' changes raise no events here.
    Ends when `stop` is set.
    """
    watching = Watch(roots, settle_s=settle_s, poll_s=poll_s)
    return watching.changes(stop)


class Watch:
    """Observers that run from the moment they are made until `close`, or until `changes` ends."""

    def __init__(
        self, roots: Sequence[str | os.PathLike[str]], *, settle_s: float = 1.0, poll_s: float | None = None
    ) -> None:
        self._settle_s = settle_s
        self._changed: set[str] = set()
        self._last = 0.0
        self._wake = threading.Condition()
        self._observers = self._start([os.path.realpath(root) for root in roots], poll_s)

    def changes(self, stop: threading.Event) -> Iterator[set[str]]:
        """See `watch`."""
        try:
            while not stop.is_set():
                if rested := self._rested():
                    yield rested
        finally:
            self.close()

    def close(self) -> None:
        for observer in self._observers:
            observer.stop()
        for observer in self._observers:
            observer.join(5)
        self._observers = []

    def _rested(self) -> set[str]:
        """What changed, if nothing did for settle_s; returns within a fraction of a second either way."""
        with self._wake:
            left = self._last + self._settle_s - time.monotonic() if self._changed else 0.2
            if left > 0:
                self._wake.wait(min(left, 0.2))
                return set()
            rested, self._changed = self._changed, set()
            return rested

    def _note(self, path: str) -> None:
        with self._wake:
            self._changed.add(path)
            self._last = time.monotonic()
            self._wake.notify()

    def _start(self, roots: list[str], poll_s: float | None) -> list[Any]:
        from watchdog.observers import Observer
        from watchdog.observers.polling import PollingObserver

        native: Any = None
        polling: Any = None
        observers: list[Any] = []
        for root in roots:
            # A single file is watched in its folder: editors put a new file in its place.
            folder = root if os.path.isdir(root) else os.path.dirname(root)
            handler = _handler(self._note, folder, None if folder == root else root)
            if poll_s is None and not is_network(folder):
                if native is None:
                    native = Observer()
                    observers.append(native)
                try:
                    native.schedule(handler, folder, recursive=folder == root)
                    continue
                except OSError:
                    pass  # no more inotify watches: look instead
            if polling is None:
                polling = PollingObserver(timeout=poll_s or POLL_S)
                observers.append(polling)
            polling.schedule(handler, folder, recursive=folder == root)
        for observer in observers:
            try:
                observer.start()
            except OSError:
                if observer is not native:
                    raise
                # The watches run out when the observer starts: the same folders, by looking.
                self._observers = [one for one in observers if one is not native]
                return self._start(roots, POLL_S)
        return observers


def _handler(note: Any, folder: str, only: str | None) -> Any:
    from watchdog.events import FileSystemEvent, FileSystemEventHandler

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            if event.event_type in ("opened", "closed_no_write"):
                return
            if event.is_directory and event.event_type == "modified":
                return  # an entry of it changed, which is an event of its own
            for path in (event.src_path, event.dest_path):
                text = os.fsdecode(path) if path else ""
                if text and (text == only if only else _counts(text, folder)):
                    note(text)

    return Handler()


def _counts(path: str, root: str) -> bool:
    """Whether an import of the root could look at a path: nothing hidden on the way, none of our own files, no draft of an editor."""
    *folders, name = os.path.relpath(path, root).split(os.sep)
    if name.startswith("~$") or name.endswith(TEMPORARY) or any(one.startswith(".") for one in (*folders, name)):
        return False
    return not any(is_home(os.path.join(root, *folders[:n])) for n in range(len(folders) + 1))


def is_network(path: str) -> bool:
    """Whether a folder lies on another machine, as far as the system says."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            mounts = [line.split() for line in file]
    except OSError:
        return path.startswith(("\\\\", "//"))
    best, kind = "", ""
    for fields in mounts:
        mount = fields[4].encode("latin-1", "replace").decode("unicode_escape")
        if (path == mount or path.startswith(mount.rstrip("/") + "/")) and len(mount) >= len(best):
            best, kind = mount, fields[fields.index("-") + 1]
    return kind in NETWORK
