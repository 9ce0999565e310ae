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
FIRST = ("ui.web.app", "ui.web.chat", "ui.api.accepting", "ui.web.documents_jobs")  # what the first page is drawn by

log = logging.getLogger("ragstone.page")
drawn = threading.Event()  # a first page is on a screen


@asynccontextmanager
async def lifespan(_app: Any) -> AsyncGenerator[dict[str, Any]]:
    threading.Thread(target=_prepare, name="prepare", daemon=True).start()
    yield {}


def _prepare() -> None:
    usual = sys.getswitchinterval()
    try:
        sys.setswitchinterval(0.0005)  # the browser asks for a hundred small files meanwhile
        for module in FIRST:
            import_module(module)
        from ui.web.view import open_home

        home = open_home()
        home.kb.catalog.counts(home.kb.collection)
        sys.setswitchinterval(usual)
        drawn.wait(PATIENCE_S)
        home.kb.warm()
        gc.collect()
        gc.freeze()  # what is loaded stays: the collector need not go through it again and again
    except Exception:  # whoever comes to the page reads there what is wrong
        log.info("not everything could be made ready beforehand", exc_info=True)
    finally:
        sys.setswitchinterval(usual)
