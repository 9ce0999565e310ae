"""The commands that serve: the HTTP API, its worker and its keys."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from dataclasses import asdict
from typing import Any

from rag.accounts import Accounts, Key
from rag.errors import UsageError
from ui import ending
from ui.commands import _open as open_kb
from ui.options import settings as _settings
from ui.outcome import Outcome


def serve(options: argparse.Namespace) -> Outcome:
    from ui.api.server import serve as run

    with ending.at_once(), open_kb(options) as kb:
        settings = kb.settings.api
        run(kb, host=options.host or settings.host, port=options.port or settings.port)
    return Outcome(data={"stopped": True}, show=lambda _: None)


def worker(options: argparse.Namespace) -> Outcome:
    from ui.api.server import work

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with ending.at_once(), open_kb(options) as kb:
        work(kb, stop, lambda: print("ragstone: working on jobs; Ctrl-C ends it", file=sys.stderr))
    return Outcome(data={"stopped": True}, show=lambda _: None)


def sandbox(options: argparse.Namespace) -> Outcome:
    """Run programs for agents elsewhere. Raises: UsageError without a key, or where no sandbox holds."""
    from ui.api.sandbox_app import SandboxService, create_sandbox_app
    from ui.api.server import serve_app, set_up_logs

    key = os.environ.pop("RAGSTONE_SANDBOX_KEY", "")
    if len(key) < 16:
        raise UsageError("The sandbox runs programs for whoever has its key. Set RAGSTONE_SANDBOX_KEY to at least 16 characters.")  # fmt: skip
    settings = _settings(options)
    service = SandboxService(settings.agent, key=key, hosts=["sandbox", *settings.api.hosts])
    set_up_logs(settings.api.log_format)
    print(f"ragstone: the sandbox ({service.backend}) is at http://{options.host}:{options.port}/v1; Ctrl-C ends it", file=sys.stderr)  # fmt: skip
    serve_app(
        create_sandbox_app(service), host=options.host, port=options.port, grace_s=round(service.most.seconds) + 5
    )
    return Outcome(data={"stopped": True}, show=lambda _: None)


def keys_create(options: argparse.Namespace) -> Outcome:
    with open_kb(options) as kb:
        key, secret = Accounts(kb.catalog.engine).create(
            options.name, scopes=options.scope or ["read"], tenant=options.tenant, names=options.as_name or [],
            owner=options.owner, per_minute=options.per_minute, tokens_per_day=options.tokens_per_day, days=options.days,
        )  # fmt: skip

    def show(data: dict[str, Any]) -> None:
        print(data["secret"])
        print(
            f"ragstone: this key ({data['key_id']}) is shown once. Send it as `Authorization: Bearer KEY`.",
            file=sys.stderr,
        )

    return Outcome(data={**_shown(key), "secret": secret}, show=show)


def keys_list(options: argparse.Namespace) -> Outcome:
    with open_kb(options) as kb:
        accounts = Accounts(kb.catalog.engine)
        rows = [{**_shown(key), "used_today": dict(zip(("requests", "tokens"), accounts.spent(key.key_id), strict=True))}
                for key in accounts.all()]  # fmt: skip

    def show(data: dict[str, Any]) -> None:
        for row in data["keys"]:
            state = "revoked" if row["revoked_at"] else f"until {row['expires_at']}" if row["expires_at"] else "good"
            who = "owner" if row["owner"] else " ".join([row["tenant"] or "(no tenant)", *row["names"]])
            print(f"{row['key_id']}  {row['name']:<20} {','.join(row['scopes']):<20} {who:<30} {state}")
        if not data["keys"]:
            print("No keys. On the loopback address none is needed until one is made: ragstone keys create NAME")

    return Outcome(data={"keys": rows}, show=show)


def keys_revoke(options: argparse.Namespace) -> Outcome:
    with open_kb(options) as kb:
        ended = Accounts(kb.catalog.engine).revoke(options.key)
    if not ended:
        raise UsageError(f"There is no good key with the id or name {options.key!r}. `ragstone keys list` shows all.")
    return Outcome(
        data={"revoked": [_shown(key) for key in ended]},
        show=lambda data: print(f"Revoked: {', '.join(row['key_id'] for row in data['revoked'])}"),
    )


def _shown(key: Key) -> dict[str, Any]:
    row = asdict(key)
    row["scopes"], row["names"] = list(key.scopes), list(key.names)
    return row
