"""The commands that serve pages. They load little before the page listens: somebody waits for it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rag.settings import PREFIX, Settings
from ui import ending
from ui import options as given
from ui.outcome import Outcome


def ui(options: argparse.Namespace) -> Outcome:
    from ui.web import soon
    from ui.web.serve import is_loopback, serve

    settings = given.settings(options)
    for key, value in given.overrides(options).items():  # the page reads its settings again
        os.environ[PREFIX + key.upper().replace(".", "__")] = value
    host = options.host or settings.ui.host
    accounts = (
        soon.may_have_accounts(given.home(options), settings) if is_loopback(host) else _accounts(options, settings)
    )
    with ending.at_once():
        serve(home=given.home(options), collection=given.collection(options), config=getattr(options, "config", None),
              host=host, port=options.port or settings.ui.port, behind_proxy=settings.ui.behind_proxy, accounts=accounts)  # fmt: skip
    return Outcome(data={}, show=lambda _: None)


def _accounts(options: argparse.Namespace, settings: Settings) -> bool:
    """Whether people have to sign in."""
    from rag.knowledge_base import KnowledgeBase
    from rag.users import Users

    with KnowledgeBase.open(given.home(options), settings=settings) as kb:
        return bool(settings.ui.oidc_roles) or Users(kb.catalog.engine).any()


def review(options: argparse.Namespace) -> Outcome:
    from eval.review import read_review
    from ui.web.serve import serve

    settings, path = given.settings(options), Path(options.file)
    read_review(path)  # a table that cannot be reviewed is said now, not on the page
    serve(home=given.home(options), collection=given.collection(options), config=getattr(options, "config", None),
          host=settings.ui.host, port=options.port or settings.ui.port, review=path)  # fmt: skip
    return Outcome(data={}, show=lambda _: None)
