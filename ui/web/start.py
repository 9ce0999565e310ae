"""What is got ready while the first browser is still loading its scripts, and while the first question is being typed."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from ui.web import first_page

FIRST = ("ui.web.app", "ui.web.chat", "ui.web.documents_jobs", "graph.plug", "PIL.Image")  # what it is drawn by

log = logging.getLogger("ragstone.page")


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
        first_page.wait()
        first_page.go_on()
        home.kb.warm()
        gc.collect()
        gc.freeze()  # what is loaded stays: the collector need not go through it again and again
    except Exception:  # whoever comes to the page reads there what is wrong
        log.info("not everything could be made ready beforehand", exc_info=True)
    finally:
        first_page.go_on()
