"""Keys of the HTTP API: who may come in, as whom, to do what and how much. Kept in the catalog's database.

A key is shown once, when it is made; what is stored is its SHA-256. The database also holds what keys have used of their
budgets and the answers given to requests with an idempotency key, so that several API processes agree.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from rag.database import create_tables, insert_rows
from rag.errors import UsageError
from rag.principals import Principal, checked_names, checked_tenant

SCOPES = ("read", "ingest", "admin")
REPLAY_HOURS = 24
ANSWERING_MINUTES = 15  # a request without an answer for so long died with its server, and may be sent again
PREFIX = "rs"

metadata = sa.MetaData()
keys_table = sa.Table(
    "api_keys", metadata,
    sa.Column("key_id", sa.String, primary_key=True),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("names", sa.String, nullable=False),  # JSON: on access lists
    sa.Column("scopes", sa.String, nullable=False),  # JSON
    sa.Column("owner", sa.Boolean, nullable=False),  # sees everything of the home that belongs to no tenant
    sa.Column("per_minute", sa.Integer, nullable=False),  # requests; 0: no limit
    sa.Column("tokens_per_day", sa.BigInteger, nullable=False),  # of the chat model; 0: no limit
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("expires_at", sa.String, nullable=False),  # empty: never
    sa.Column("revoked_at", sa.String, nullable=False),  # empty: it is good
)  # fmt: skip
usage_table = sa.Table(
    "api_usage", metadata,
    sa.Column("key_id", sa.String, primary_key=True),
    sa.Column("day", sa.String, primary_key=True),  # UTC
    sa.Column("n_requests", sa.BigInteger, nullable=False),
    sa.Column("n_tokens", sa.BigInteger, nullable=False),
)  # fmt: skip
replays_table = sa.Table(
    "api_replays", metadata,
    sa.Column("key_id", sa.String, primary_key=True),
    sa.Column("token", sa.String, primary_key=True),
    sa.Column("request", sa.String, nullable=False),  # digest
    sa.Column("status", sa.Integer, nullable=False),  # 0: the first one is still being answered
    sa.Column("body", sa.String, nullable=False),
    sa.Column("created_at", sa.String, nullable=False),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key without its secret."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    tenant: str = ""
    names: tuple[str, ...] = ()
    owner: bool = False
    per_minute: int = 0
    tokens_per_day: int = 0
    created_at: str = ""
    expires_at: str = ""
    revoked_at: str = ""

    @property
    def principal(self) -> Principal | None:
        """Whom the data layer serves; None for the owner, who sees everything."""
        return None if self.owner else Principal(tenant=self.tenant, names=self.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a request with this idempotency key was answered. status 0: the first one is still being answered."""

    same_request: bool
    status: int
    body: str


class Accounts:
    """Keys and what they used. Threads and processes may share it. `engine`: of the catalog."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        create_tables(engine, metadata)

    # ------------------------------------------------------------ keys

    def create(
        self,
        name: str,
        *,
        scopes: Sequence[str] = ("read",),
        tenant: str = "",
        names: Sequence[str] = (),
        owner: bool = False,
        per_minute: int = 0,
        tokens_per_day: int = 0,
        days: float | None = None,
    ) -> tuple[Key, str]:
        """A new key and its secret, which nobody can read again. days: until it expires; None: never.

        Raises: UsageError for a name, tenant, scope or limit that cannot be.
        """
        if not name.strip() or len(name) > 100 or not name.isprintable():
            raise UsageError(f"A key needs a name of 1 to 100 printable characters, not {name[:40]!r}.")
        if unknown := sorted(set(scopes) - set(SCOPES)) or (not scopes and ["none"]):
            raise UsageError(f"There is no scope {unknown[0]!r}. Known: {', '.join(SCOPES)}.")
        if owner and (tenant or names):
            raise UsageError("A key of the owner sees everything; leave out the tenant and the names.")
        if per_minute < 0 or tokens_per_day < 0 or (days is not None and not 0 < days < 36_500):
            raise UsageError("Limits and days must be positive numbers.")
        now = datetime.now(UTC)
        key = Key(
            key_id=secrets.token_hex(6), name=name, scopes=tuple(sorted(set(scopes))), tenant=checked_tenant(tenant),
            names=checked_names(names), owner=owner, per_minute=per_minute, tokens_per_day=tokens_per_day,
            created_at=_iso(now), expires_at=_iso(now + timedelta(days=days)) if days is not None else "",
        )  # fmt: skip
        secret = f"{PREFIX}_{key.key_id}_{secrets.token_urlsafe(32)}"
        with self._engine.begin() as db:
            db.execute(sa.insert(keys_table).values(
                key_id=key.key_id, digest=_digest(secret), name=name, tenant=key.tenant, names=json.dumps(key.names),
                scopes=json.dumps(key.scopes), owner=owner, per_minute=per_minute, tokens_per_day=tokens_per_day,
                created_at=key.created_at, expires_at=key.expires_at, revoked_at="",
            ))  # fmt: skip
        return key, secret

    def adopt(self, secret: str, name: str) -> None:
        """Let an owner's key that was made elsewhere in, such as by an installer. Does nothing when it is there already.

        Raises: UsageError for one that is not of a key's form.
        """
        parts = secret.split("_", 2)
        if len(parts) != 3 or parts[0] != PREFIX or len(parts[1]) != 12 or len(parts[2]) < 32 or not secret.isascii():
            raise UsageError("RAGSTONE_FIRST_KEY does not hold a key. `python deploy/make_env.py` makes one.")
        with self._engine.begin() as db:
            insert_rows(db, keys_table, [{
                "key_id": parts[1], "digest": _digest(secret), "name": name, "tenant": "", "names": "[]", "scopes": json.dumps(["admin"]),
                "owner": True, "per_minute": 0, "tokens_per_day": 0, "created_at": _iso(datetime.now(UTC)), "expires_at": "",
                "revoked_at": "",
            }], ignore=True)  # fmt: skip

    def all(self) -> list[Key]:
        """All keys, those that are no longer good, too; oldest first."""
        with self._engine.connect() as db:
            rows = db.execute(sa.select(keys_table).order_by(keys_table.c.created_at, keys_table.c.key_id)).all()
        return [_key(row) for row in rows]

    def any_keys(self) -> bool:
        """Whether a key was ever made: from then on every request needs one, also when all were revoked."""
        with self._engine.connect() as db:
            return db.execute(sa.select(keys_table.c.key_id).limit(1)).first() is not None

    def revoke(self, which: str) -> list[Key]:
        """End a key by its id, or all keys of a name, from the next request on. Returns those that were good until now."""
        k = keys_table.c
        mine = sa.or_(k.key_id == which, k.name == which) & (k.revoked_at == "")
        with self._engine.begin() as db:
            ended = [_key(row) for row in db.execute(sa.select(keys_table).where(mine)).all()]
            db.execute(sa.update(keys_table).where(mine).values(revoked_at=_iso(datetime.now(UTC))))
        return ended

    def find(self, secret: str) -> Key | None:
        """The key with this secret; None when there is none, or it was revoked or has expired."""
        parts = secret.split("_", 2)
        if len(parts) != 3 or parts[0] != PREFIX or not secret.isascii():
            return None
        with self._engine.connect() as db:
            row = db.execute(sa.select(keys_table).where(keys_table.c.key_id == parts[1])).first()
        if not hmac.compare_digest(row.digest if row else _digest(""), _digest(secret)) or row is None:
            return None
        key = _key(row)
        expired = bool(key.expires_at) and key.expires_at <= _iso(datetime.now(UTC))
        return None if key.revoked_at or expired else key

    # ------------------------------------------------------------ usage

    def spend(self, key_id: str, *, n_requests: int = 0, n_tokens: int = 0) -> None:
        """Add to what a key has used today."""
        u = usage_table.c
        mine = (u.key_id == key_id) & (u.day == _today())
        more = {"n_requests": u.n_requests + n_requests, "n_tokens": u.n_tokens + n_tokens}
        with self._engine.begin() as db:
            if not db.execute(sa.update(usage_table).where(mine).values(more)).rowcount:
                first = {"key_id": key_id, "day": _today(), "n_requests": 0, "n_tokens": 0}
                insert_rows(db, usage_table, [first], ignore=True)  # another process may have had the first one
                db.execute(sa.update(usage_table).where(mine).values(more))

    def spent(self, key_id: str) -> tuple[int, int]:
        """(requests, tokens) of today."""
        u = usage_table.c
        with self._engine.connect() as db:
            row = db.execute(sa.select(u.n_requests, u.n_tokens).where(u.key_id == key_id, u.day == _today())).first()
        return (int(row[0]), int(row[1])) if row else (0, 0)

    # ------------------------------------------------------------ idempotency

    def begin(self, key_id: str, token: str, request: str) -> Replay | None:
        """Note that a request with this idempotency key is being answered; what an earlier one got, if there was one."""
        r = replays_table.c
        mine = (r.key_id == key_id) & (r.token == token)
        old = _iso(datetime.now(UTC) - timedelta(hours=REPLAY_HOURS))
        dead = _iso(datetime.now(UTC) - timedelta(minutes=ANSWERING_MINUTES))
        digest = _digest(request)
        with self._engine.begin() as db:
            db.execute(sa.delete(replays_table).where((r.created_at < old) | ((r.status == 0) & (r.created_at < dead))))
        try:
            with self._engine.begin() as db:
                db.execute(sa.insert(replays_table).values(
                    key_id=key_id, token=token, request=digest, status=0, body="", created_at=_iso(datetime.now(UTC)),
                ))  # fmt: skip
            return None
        except sa.exc.DBAPIError:  # it is there: each driver has its own words for that
            with self._engine.connect() as db:
                row = db.execute(sa.select(replays_table).where(mine)).first()
            if row is None:
                raise
        return Replay(same_request=row.request == digest, status=row.status, body=row.body)

    def finish(self, key_id: str, token: str, status: int, body: Any) -> None:
        """Keep the answer for whoever asks again."""
        r = replays_table.c
        with self._engine.begin() as db:
            mine = sa.update(replays_table).where((r.key_id == key_id) & (r.token == token))
            db.execute(mine.values(status=status, body=json.dumps(body, ensure_ascii=False)))

    def forget(self, key_id: str, token: str) -> None:
        """The request failed: the same one may be tried again."""
        r = replays_table.c
        with self._engine.begin() as db:
            db.execute(sa.delete(replays_table).where((r.key_id == key_id) & (r.token == token)))


def _key(row: Any) -> Key:
    return Key(
        key_id=row.key_id, name=row.name, scopes=tuple(json.loads(row.scopes)), tenant=row.tenant,
        names=tuple(json.loads(row.names)), owner=bool(row.owner), per_minute=row.per_minute,
        tokens_per_day=row.tokens_per_day, created_at=row.created_at, expires_at=row.expires_at, revoked_at=row.revoked_at,
    )  # fmt: skip


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _iso(when: datetime) -> str:
    return when.isoformat(timespec="seconds")


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
