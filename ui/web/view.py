"""What every page is given: the open home as the person who looks sees it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import streamlit as st

from rag.jobs import Jobs
from rag.knowledge_base import KnowledgeBase
from rag.principals import Principal
from rag.settings import Settings
from rag.threads import Threads
from ui.api.service import Service
from ui.web import first_page
from ui.web.tasks import Tasks
from ui.web.words import word


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The open home, once for the process: all tabs and threads share it."""

    service: Service
    threads: Threads  # conversations
    tasks: Tasks = field(default_factory=Tasks)

    @property
    def kb(self) -> KnowledgeBase:
        return self.service.kb

    @property
    def jobs(self) -> Jobs:
        """Imports and deletions; the worker does them, in this process or another of the home."""
        return self.service.jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who looks. name: empty while nobody has to sign in. role: viewer, editor or admin, each with the rights before it."""

    name: str = ""
    role: str = "admin"
    principal: Principal | None = None  # None: the owner, who sees everything

    @property
    def may_edit(self) -> bool:
        return self.role in ("editor", "admin")

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One look at the page."""

    home: Home
    kb: KnowledgeBase  # the chosen collection, as this person sees it
    user: User
    language: str  # en or zh
    look: Callable[[], User | None] | None = None  # who looks at this moment; None where nobody can change meanwhile

    def stands(self) -> bool:
        """Whether the person still has the rights that this was drawn with."""
        return self.look is None or self.look() == self.user

    def check(self) -> None:
        """Draw the whole page anew, and go no further here, when the rights are other ones by now.

        Streamlit runs a dialog and a fragment with what the last full run gave them; both begin with this.
        """
        if not self.stands():
            st.rerun()

    def still(self, work: Callable[..., Any]) -> Callable[..., None]:
        """A callback that does its work only while the rights stand; else the run of the page that follows shows why not."""

        def done(*args: Any) -> None:
            if self.stands():
                work(*args)

        return done

    def part(self, draw: Callable[..., None], *args: Any, run_every: float | None = None) -> None:
        """A part of the page that is drawn by itself (st.fragment), with the rights of that moment."""

        def drawn() -> None:
            self.check()
            draw(*args)

        st.fragment(drawn, run_every=run_every)()

    def word(self, key: str, **values: object) -> str:
        """What the page says for a key such as `chat.title`, in the chosen language."""
        return word(key, self.language, **values)


_opening = threading.Lock()


def open_home() -> Home:
    """The home that the command line named, opened once for the process; this is its worker if it has none."""
    with _opening:  # the first page may ask while it is being got ready
        return _opened()


@cache
def _opened() -> Home:
    kb = KnowledgeBase.open(
        os.environ.get("RAGSTONE_PAGE_HOME"),
        settings=Settings.load(os.environ.get("RAGSTONE_PAGE_CONFIG")),
        collection=os.environ.get("RAGSTONE_PAGE_COLLECTION", "default"),
    )
    home = Home(service=Service(kb, open_to_all=True), threads=Threads(kb.catalog.engine))
    threading.Thread(target=_work, args=(home,), name="worker-start", daemon=True).start()
    return home


def _work(home: Home) -> None:
    """Import and delete in this process, once the first page is there: what does so is not loaded before."""
    first_page.wait()
    from ui.api.worker import Worker

    Worker(home.kb, home.jobs, home.service.wake).start()
