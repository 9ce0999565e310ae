"""Runs Streamlit, and loads what the first page needs while the browser loads its part."""

from __future__ import annotations

import socket
import sys
import time
from importlib import import_module
from threading import Thread

FIRST_PAGE = ("ui.web.app", "ui.web.chat", "ui.web.documents_jobs", "ui.web.words.common")
POLL_S = 0.01


def main() -> None:
    host, port = (sys.argv[sys.argv.index(name) + 1] for name in ("--server.address", "--server.port"))
    Thread(target=_load, args=(host, int(port)), name="imports", daemon=True).start()
    from streamlit.web.cli import main as run

    run(prog_name="streamlit")


def _load(host: str, port: int) -> None:
    """Once the server listens, not before: its own start must not wait."""
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
            break
        except OSError:
            time.sleep(POLL_S)
    for name in FIRST_PAGE:
        import_module(name)


if __name__ == "__main__":
    main()
