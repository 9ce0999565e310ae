"""People who sign in to the page: accounts of a small team and their sessions. Kept in the catalog's database.

A password is kept as its scrypt hash with a salt of its own, a session as the SHA-256 of its random token: whoever reads
the database can sign in as nobody. An unknown name takes as long as a wrong password and is told the same.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from rag.database import create_tables
from rag.errors import UsageError
from rag.principals import Principal, checked_names, checked_tenant

ROLES = ("viewer", "editor", "admin")  # each with the rights before it
SESSION_DAYS = 14
MIN_PASSWORD, MAX_PASSWORD = 10, 200
TRIES, TRIES_ANYWHERE, TRIES_MINUTES = 5, 50, 15  # of one name from one address; of one name, or from one address
COST = (2**15, 8, 1)  # scrypt's n, r, p: 32 MB and about 0.1 s a try

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")

metadata = sa.MetaData()
users_table = sa.Table(
    "users", metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("password", sa.String, nullable=False),  # n:r:p:salt:hash
    sa.Column("role", sa.String, nullable=False),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("names", sa.String, nullable=False),  # JSON: on access lists, beside u:NAME
    sa.Column("collections", sa.String, nullable=False),  # JSON; empty: all of the tenant
    sa.Column("created_at", sa.String, nullable=False),
)  # fmt: skip
sessions_table = sa.Table(
    "user_sessions", metadata,
    sa.Column("digest", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False, index=True),
    sa.Column("expires_at", sa.String, nullable=False),
)  # fmt: skip
tries_table = sa.Table(
    "user_tries", metadata,
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.String, nullable=False, index=True),  # digest: people type passwords into the wrong field
    sa.Column("address", sa.String, nullable=False),
    sa.Column("at", sa.String, nullable=False),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Somebody who may sign in. An admin is the home's owner and sees everything that belongs to no tenant."""

    name: str
    role: str = "viewer"
    tenant: str = ""
    names: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    created_at: str = ""

    @property
    def principal(self) -> Principal | None:
        """Whom the data layer serves; None for the owner."""
        if self.role == "admin":
            return None
        names = tuple(sorted({f"u:{self.name}", *self.names}))
        return Principal(tenant=self.tenant, names=names, collections=self.collections, writes=self.role == "editor")


class Users:
    """Accounts and sessions. Threads and processes may share it. `engine`: of the catalog."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        create_tables(engine, metadata)

    # ------------------------------------------------------------ accounts

    def any(self) -> bool:
        """Whether people have to sign in."""
        with self._engine.connect() as db:
            return db.execute(sa.select(users_table.c.name).limit(1)).first() is not None

    def all(self) -> list[Account]:
        with self._engine.connect() as db:
            return [_account(row) for row in db.execute(sa.select(users_table).order_by(users_table.c.name))]

    def get(self, name: str) -> Account | None:
        with self._engine.connect() as db:
            row = db.execute(sa.select(users_table).where(users_table.c.name == name)).first()
        return None if row is None else _account(row)

    def add(
        self,
        name: str,
        password: str,
        *,
        role: str = "viewer",
        tenant: str = "",
        names: Sequence[str] = (),
        collections: Sequence[str] = (),
    ) -> Account:
        """A new account. Raises: UsageError for a name that is taken, and for what cannot be."""
        if not _NAME.fullmatch(name):
            raise UsageError(f"A user's name has 1 to 64 letters, digits and _ . @ -, not {name[:40]!r}.")
        made = Account(
            name=name, role=role, tenant=tenant, names=tuple(names), collections=tuple(collections), created_at=_iso()
        )
        row = {**_row(_checked(made)), "password": _hashed(_fit(password))}
        try:
            with self._engine.begin() as db:
                db.execute(sa.insert(users_table).values(**row))
        except sa.exc.IntegrityError as error:
            raise UsageError(
                f"There is a user {name!r} already. Change it with `ragstone users set {name}`."
            ) from error
        return made

    def change(
        self,
        name: str,
        *,
        password: str | None = None,
        role: str | None = None,
        tenant: str | None = None,
        names: Sequence[str] | None = None,
        collections: Sequence[str] | None = None,
    ) -> Account:
        """Change what is given. A new password ends all sessions; rights count from the next click. Raises: UsageError."""
        old = self._existing(name)
        given = {"role": role, "tenant": tenant, "names": names, "collections": collections}
        changes: dict[str, Any] = {
            key: value if isinstance(value, str) else tuple(value) for key, value in given.items() if value is not None
        }
        row = _row(_checked(replace(old, **changes)))
        if password is not None:
            row["password"] = _hashed(_fit(password))
        with self._engine.begin() as db:
            db.execute(sa.update(users_table).where(users_table.c.name == name).values(**row))
            if password is not None:
                db.execute(sa.delete(sessions_table).where(sessions_table.c.name == name))
        return self._existing(name)

    def change_own_password(self, name: str, now: str, new: str, *, token: str, address: str = "") -> None:
        """A person's new password. All their sessions end but the one of `token`. Wrong tries count as those of signing in.

        Raises: UsageError for a wrong password, a new one that does not fit, and too many tries.
        """
        hashed = _hashed(_fit(new))
        if self._tried(_digest(name), address):
            raise UsageError(f"Too many tries. Wait {TRIES_MINUTES} minutes, then try again.")
        with self._engine.connect() as db:
            stored = db.execute(sa.select(users_table.c.password).where(users_table.c.name == name)).scalar()
        if not _is(now[:MAX_PASSWORD], stored or _NOBODY) or stored is None:
            raise UsageError("The password is not the one that you have now. Type it again.")
        s, t = sessions_table.c, tries_table.c
        with self._engine.begin() as db:
            db.execute(sa.update(users_table).where(users_table.c.name == name).values(password=hashed))
            db.execute(sa.delete(sessions_table).where(s.name == name, s.digest != _digest(token)))
            db.execute(sa.delete(tries_table).where(t.name == _digest(name), t.address == address))

    def remove(self, name: str) -> None:
        """End an account and its sessions. What it owns stays. Raises: UsageError when there is none."""
        self._existing(name)
        with self._engine.begin() as db:
            db.execute(sa.delete(sessions_table).where(sessions_table.c.name == name))
            db.execute(sa.delete(users_table).where(users_table.c.name == name))

    def _existing(self, name: str) -> Account:
        found = self.get(name)
        if found is None:
            raise UsageError(f"There is no user {name[:64]!r}. `ragstone users list` shows all.")
        return found

    # ------------------------------------------------------------ signing in

    def sign_in(self, name: str, password: str, address: str = "") -> str:
        """The token of a new session; "" for a wrong name or password. address: where the try comes from.

        Raises: UsageError after too many tries, also with the right password.
        """
        who = _digest(name)
        if self._tried(who, address):
            raise UsageError(f"Too many tries. Wait {TRIES_MINUTES} minutes, then try again.")
        with self._engine.connect() as db:
            row = db.execute(sa.select(users_table).where(users_table.c.name == name)).first()
        right = _is(password[:MAX_PASSWORD], row.password if row is not None else _NOBODY)
        if not right or row is None:
            return ""
        token, t = secrets.token_urlsafe(32), tries_table.c
        with self._engine.begin() as db:
            db.execute(sa.delete(tries_table).where(t.name == who, t.address == address))
            db.execute(sa.delete(sessions_table).where(sessions_table.c.expires_at <= _iso()))
            until = _iso(timedelta(days=SESSION_DAYS))
            db.execute(sa.insert(sessions_table).values(digest=_digest(token), name=row.name, expires_at=until))
        return token

    def signed_in(self, token: str) -> Account | None:
        """Whose session this is, with the rights of now; None when it has ended or never was."""
        if not token:
            return None
        s, u = sessions_table.c, users_table.c
        query = sa.select(users_table).join(sessions_table, s.name == u.name)
        with self._engine.connect() as db:
            row = db.execute(query.where(s.digest == _digest(token), s.expires_at > _iso())).first()
        return None if row is None else _account(row)

    def sign_out(self, token: str) -> None:
        """End one session."""
        with self._engine.begin() as db:
            db.execute(sa.delete(sessions_table).where(sessions_table.c.digest == _digest(token)))

    def _tried(self, who: str, address: str) -> bool:
        """Note a try, before its password is looked at, and whether there have been too many."""
        t = tries_table.c
        with self._engine.begin() as db:
            db.execute(sa.delete(tries_table).where(t.at <= _iso(-timedelta(minutes=TRIES_MINUTES))))
            db.execute(sa.insert(tries_table).values(name=who, address=address, at=_iso()))
            here, named, from_there = (
                db.execute(sa.select(sa.func.count()).select_from(tries_table).where(which)).scalar_one()
                for which in ((t.name == who) & (t.address == address), t.name == who, t.address == address)
            )
        return bool(here > TRIES or named > TRIES_ANYWHERE or from_there > TRIES_ANYWHERE)


def by_oidc(told: Mapping[str, Any], roles: Sequence[str], known: Callable[[str], Account | None]) -> Account | None:
    """The account of somebody whom an identity provider has signed in; None when nobody said that they may come in.

    told: the provider's claims. An account whose name is the e-mail address has its rights; else the settings' `roles` say:
    `ann@example.org=editor`, or `@example.org=viewer` for everybody there; the whole address comes first. An address
    that the provider calls unverified is nobody's.
    """
    email = str(told.get("email") or "").strip().lower()
    if not _NAME.fullmatch(email) or "@" not in email or told.get("email_verified") is False:
        return None
    if (account := known(email)) is not None:
        return account
    rules = dict(rule.lower().rpartition("=")[::2] for rule in roles)
    role = rules.get(email) or rules.get(f"@{email.rpartition('@')[2]}")
    return None if role is None else _checked(Account(name=email, role=role))


def _checked(account: Account) -> Account:
    if account.role not in ROLES:
        raise UsageError(f"There is no role {account.role[:40]!r}. Known: {', '.join(ROLES)}.")
    if account.role == "admin" and (account.tenant or account.names or account.collections):
        raise UsageError("An admin sees everything; leave out the tenant, the names and the collections.")
    if any(not name or not name.isprintable() or len(name) > 100 for name in account.collections):
        raise UsageError("A collection's name has 1 to 100 printable characters.")
    checked_tenant(account.tenant)
    checked_names(account.names)
    return account


def _fit(password: str) -> str:
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise UsageError(f"A password has {MIN_PASSWORD} to {MAX_PASSWORD} characters. A short sentence is a good one.")
    return password


def _hashed(password: str) -> str:
    salt = secrets.token_bytes(16)
    return ":".join([*map(str, COST), salt.hex(), _scrypt(password, salt, *COST).hex()])


def _is(password: str, stored: str) -> bool:
    n, r, p, salt, digest = stored.split(":")
    found = _scrypt(password, bytes.fromhex(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, bytes.fromhex(digest))


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=32)  # fmt: skip


_NOBODY = ":".join([*map(str, COST), "00" * 16, "00" * 32])  # no password has this hash; it costs what a real one costs


def _row(account: Account) -> dict[str, Any]:
    return {
        "name": account.name, "role": account.role, "tenant": account.tenant, "names": json.dumps(account.names),
        "collections": json.dumps(account.collections), "created_at": account.created_at,
    }  # fmt: skip


def _account(row: Any) -> Account:
    return Account(
        name=row.name, role=row.role, tenant=row.tenant, names=tuple(json.loads(row.names)),
        collections=tuple(json.loads(row.collections)), created_at=row.created_at,
    )  # fmt: skip


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _iso(later: timedelta = timedelta()) -> str:
    return (datetime.now(UTC) + later).isoformat(timespec="seconds")
