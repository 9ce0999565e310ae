"""`ragstone users …`: who may sign in to the page."""

from __future__ import annotations

import argparse
import getpass
import sys
from dataclasses import asdict
from typing import Any

from rag.errors import UsageError
from rag.users import Account, Users
from ui.commands import _open as open_kb
from ui.outcome import Outcome


def add(options: argparse.Namespace) -> Outcome:
    with open_kb(options) as kb:
        made = Users(kb.catalog.engine).add(
            options.name, _password(), role=options.role, tenant=options.tenant, names=options.as_name or [],
            collections=options.rights or [],
        )  # fmt: skip
    return Outcome(
        data={"user": shown(made)},
        show=lambda data: print(f"{data['user']['name']} may sign in now, as {data['user']['role']}."),
    )


def list_(options: argparse.Namespace) -> Outcome:
    with open_kb(options) as kb:
        rows = [shown(one) for one in Users(kb.catalog.engine).all()]

    def show(data: dict[str, Any]) -> None:
        for row in data["users"]:
            who = " ".join([row["tenant"] or "(no tenant)", *row["names"]])
            print(f"{row['name']:<20} {row['role']:<8} {who:<30} {', '.join(row['collections']) or 'all collections'}")
        if not data["users"]:
            print("No accounts: nobody signs in, and the page is served on this machine only. ragstone users add NAME")

    return Outcome(data={"users": rows}, show=show)


def set_(options: argparse.Namespace) -> Outcome:
    given = (options.role, options.tenant, options.as_name, options.rights)
    if not options.password and all(value is None for value in given):
        raise UsageError("Say what is to change: --password, --role, --tenant, --as or --only.")
    with open_kb(options) as kb:
        changed = Users(kb.catalog.engine).change(
            options.name, password=_password() if options.password else None, role=options.role, tenant=options.tenant,
            names=None if options.as_name is None else [name for name in options.as_name if name],
            collections=None if options.rights is None else [name for name in options.rights if name],
        )  # fmt: skip
    return Outcome(data={"user": shown(changed)}, show=lambda data: print(f"Changed: {data['user']['name']}"))


def remove(options: argparse.Namespace) -> Outcome:
    with open_kb(options) as kb:
        Users(kb.catalog.engine).remove(options.name)
    return Outcome(data={"removed": options.name}, show=lambda data: print(f"Removed: {data['removed']}"))


def shown(account: Account) -> dict[str, Any]:
    row = asdict(account)
    return row | {"names": list(account.names), "collections": list(account.collections)}


def _password() -> str:
    """Asked for twice without showing it; from a pipe, its first line. Never an argument: others could read that."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if password != getpass.getpass("Once more: "):
        raise UsageError("The two passwords differ. Nothing was changed.")
    return password
