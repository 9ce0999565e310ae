"""What is got ready while the first browser is still loading its scripts, and while the first question is being typed."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

PATIENCE_S = 3.0  # nobody has come: no page is in the way then
DRAWING_S = 0.5  # a browser draws the page that it was sent
FIRST = (
    "ui.web.app",
    "ui.web.chat",
    "ui.web.documents_jobs",
    "graph.plug",
    "PIL.Image",
)  # what the first page is drawn by

log = logging.getLogger("ragstone.page")
sent = threading.Event()  # a first page is on its way to a screen
USUAL_S = sys.getswitchinterval()


def hurry() -> None:
    """While modules are loaded nothing is garbage, and the server answers between them: the browser asks for a hundred files."""
    gc.disable()
    sys.setswitchinterval(0.0005)


def wait_for_first_page() -> None:
    """Until it is on a screen, or nobody has come."""
    if sent.wait(PATIENCE_S):
        threading.Event().wait(DRAWING_S)


def _go_on() -> None:
    sys.setswitchinterval(USUAL_S)
    gc.enable()


@asynccontextmanager
async def lifespan(_app: Any) -> AsyncGenerator[dict[str, Any]]:
    threading.Thread(target=_prepare, name="prepare", daemon=True).start()
    yield {}


def _prepare() -> None:
    try:
        for module in FIRST:
            import_module(module)
        from ui.web.view import open_home

        home = open_home()
        home.kb.catalog.counts(home.kb.collection)
        wait_for_first_page()
        _go_on()
        home.kb.warm()
        gc.collect()
        gc.freeze()  # what is loaded stays: the collector need not go through it again and again
    except Exception:  # whoever comes to the page reads there what is wrong
        log.info("not everything could be made ready beforehand", exc_info=True)
    finally:
        _go_on()
