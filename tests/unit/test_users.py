"""Accounts of the page: passwords, sessions, tries, and the rights that the data layer enforces."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from rag import users as module
from rag.catalog import Catalog
from rag.errors import UsageError
from rag.knowledge_base import KnowledgeBase
from rag.principals import Principal
from rag.settings import Settings
from rag.users import TRIES, Users, by_oidc
from ui.api import accepting
from ui.api.service import Refused, Service

GOOD = "seven cups of tea"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COST", (16, 8, 1))


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return Catalog(tmp_path / "catalog.sqlite3").engine


@pytest.fixture
def users(engine: sa.Engine) -> Users:
    made = Users(engine)
    made.add("ann", GOOD, role="editor", names=["g:staff"], collections=["tea"])
    return made


def test_a_session_lasts_until_it_is_ended_and_outlives_the_process(users: Users, engine: sa.Engine) -> None:
    token = users.sign_in("ann", GOOD)
    other = users.sign_in("ann", GOOD)
    assert token and token != other
    assert users.signed_in(token) == Users(engine).signed_in(token) == users.get("ann")
    users.sign_out(token)
    assert users.signed_in(token) is None and users.signed_in(other) is not None
    users.change("ann", password="eight cups of tea")
    assert users.signed_in(other) is None, "a new password ends what was stolen"
    assert users.sign_in("ann", GOOD) == "" and users.sign_in("ann", "eight cups of tea")


def test_wrong_names_and_passwords_are_told_the_same_and_only_a_few_times(users: Users) -> None:
    for name in ("ann", "nobody"):
        for _ in range(TRIES):
            assert users.sign_in(name, "a wrong password", "192.0.2.1") == ""
        with pytest.raises(UsageError, match="Too many tries"):
            users.sign_in(name, GOOD, "192.0.2.1")
    assert users.sign_in("ann", GOOD, "192.0.2.2"), "from elsewhere she is not locked out"


def test_nothing_in_the_database_lets_anybody_in(users: Users, engine: sa.Engine) -> None:
    token = users.sign_in("ann", GOOD)
    with engine.connect() as db:
        kept = "".join(
            str(value)
            for table in module.metadata.sorted_tables
            for row in db.execute(sa.select(table))
            for value in row
        )
    assert GOOD not in kept and token not in kept
    users.add("ben", GOOD)
    with engine.connect() as db:
        hashes = {row[0] for row in db.execute(sa.select(module.users_table.c.password))}
    assert len(hashes) == 2, "the same password under two salts"


def test_removed_people_are_out_at_once_and_rights_count_from_the_next_look(users: Users) -> None:
    token = users.sign_in("ann", GOOD)
    users.change("ann", role="viewer", collections=["wine"])
    seen = users.signed_in(token)
    assert seen is not None and seen.principal == Principal(names=("g:staff", "u:ann"), collections=("wine",), writes=False)  # fmt: skip
    users.remove("ann")
    assert users.signed_in(token) is None and not users.any()


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("../x", {}, "name"),
        ("ann", {}, "already"),
        ("bob", {"role": "root"}, "role"),
        ("bob", {"role": "admin", "tenant": "t"}, "admin sees everything"),
        ("bob", {"names": ["a b"]}, "access list"),
        ("bob", {"tenant": "Big"}, "tenant"),
    ],
)
def test_accounts_that_cannot_be(users: Users, name: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        users.add(name, GOOD, **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="characters"):
        users.add("bob", "short")


def test_the_data_layer_keeps_people_to_their_collections_and_readers_from_writing(tmp_path: Path) -> None:
    with KnowledgeBase.open(tmp_path / "home", settings=Settings()) as kb:
        reader = Principal(names=("u:ann",), collections=("tea",), writes=False)
        view = kb.view(principal=reader)
        assert view.collection == "tea", "the home's default is not for her"
        with pytest.raises(UsageError, match="no collection 'wine'"):
            kb.view(collection="wine", principal=reader)
        for change in (lambda: view.ingest("x.md"), lambda: view.delete("x"), lambda: view.set_access("x", ["all"])):
            with pytest.raises(UsageError, match="change nothing"):
                change()
        with pytest.raises(Refused, match="change nothing"):
            accepting.accept(Service(kb, open_to_all=True), view, key_id="ann", request={})


@pytest.mark.parametrize(
    ("told", "role"),
    [
        ({"email": "Boss@Example.org", "email_verified": True}, "admin"),
        ({"email": "ann@example.org"}, "viewer"),
        ({"email": "ann@example.org", "email_verified": False}, None),
        ({"email": "ann@sub.example.org"}, None),
        ({"email": "ann@example.org.evil.test"}, None),
        ({"email": "@example.org"}, None),
        ({"email": ""}, None),
        ({}, None),
        ({"email": "kim@other.test"}, "editor"),
    ],
)
def test_who_an_identity_provider_lets_in(users: Users, told: dict[str, object], role: str | None) -> None:
    users.add("kim@other.test", GOOD, role="editor", collections=["tea"])
    found = by_oidc(told, ["@example.org=viewer", "boss@example.org=admin"], users.get)
    assert (found and found.role) == role
