"""Keys, budgets and the idempotency of requests, on a database of their own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from rag.accounts import PREFIX, Accounts
from rag.catalog import Catalog
from rag.errors import UsageError
from rag.jobs import Jobs
from rag.principals import Principal


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    opened = Catalog(tmp_path / "catalog.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def accounts(catalog: Catalog) -> Accounts:
    return Accounts(catalog.engine)


@pytest.mark.parametrize(
    "options",
    [{"scopes": ["root"]}, {"scopes": []}, {"tenant": "Not OK"}, {"names": ["a|b"]}, {"owner": True, "tenant": "a"},
     {"days": -1}, {"per_minute": -1}, {"name": " "}, {"name": "a\nb"}],
)  # fmt: skip
def test_keys_that_make_no_sense_are_refused(accounts: Accounts, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        accounts.create(options.pop("name", "x"), **options)
    assert not accounts.any_keys()


def test_a_key_is_found_by_its_secret_and_by_nothing_else(accounts: Accounts) -> None:
    key, secret = accounts.create("ann", scopes=["read", "ingest"], tenant="acme", names=["u:ann"])
    found = accounts.find(secret)
    assert found == key and found.principal == Principal(tenant="acme", names=("u:ann",))
    assert accounts.create("root", owner=True)[0].principal is None
    for wrong in (
        "",
        secret[:-1],
        secret + "x",
        f"rs_{key.key_id}_",
        f"rs_{key.key_id}_é",
        secret.replace("rs_", "xx_"),
    ):
        assert accounts.find(wrong) is None


def test_revoking_by_name_ends_all_keys_of_that_name(accounts: Accounts) -> None:
    secrets = [accounts.create("ann")[1] for _ in range(2)]
    bob = accounts.create("bob")
    assert len(accounts.revoke("ann")) == 2 and accounts.revoke("ann") == []
    assert [accounts.find(secret) for secret in secrets] == [None, None] and accounts.find(bob[1]) == bob[0]
    assert len(accounts.revoke(bob[0].key_id)) == 1 and accounts.any_keys()


def test_servers_that_start_at_the_same_moment_let_the_same_first_key_in(tmp_path: Path) -> None:
    n, together, secret = 8, Barrier(8), f"{PREFIX}_0123456789ab_{'x' * 40}"
    catalogs = [Catalog(tmp_path / "catalog.sqlite3") for _ in range(n)]

    def adopt(catalog: Catalog) -> None:
        accounts = Accounts(catalog.engine)
        together.wait()
        accounts.adopt(secret, "first")

    with ThreadPoolExecutor(n) as servers:
        list(servers.map(adopt, catalogs))
    assert [key.name for key in Accounts(catalogs[0].engine).all()] == ["first"]
    for catalog in catalogs:
        catalog.close()


def test_use_adds_up(accounts: Accounts) -> None:
    accounts.spend("a", n_requests=1, n_tokens=5)
    accounts.spend("a", n_tokens=7)
    assert accounts.spent("a") == (1, 12) and accounts.spent("b") == (0, 0)


def test_a_request_is_answered_once(accounts: Accounts) -> None:
    assert accounts.begin("a", "one", "request") is None
    running = accounts.begin("a", "one", "request")
    assert running is not None and running.status == 0 and running.same_request
    accounts.finish("a", "one", 202, {"id": 1})
    again, other = accounts.begin("a", "one", "request"), accounts.begin("a", "one", "another")
    assert again is not None and (again.status, again.body) == (202, '{"id": 1}')
    assert other is not None and not other.same_request
    assert accounts.begin("b", "one", "request") is None  # another key's
    accounts.forget("b", "one")
    assert accounts.begin("b", "one", "request") is None


def test_a_request_whose_server_died_may_be_sent_again(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    assert accounts.begin("a", "killed", "request") is None
    assert accounts.begin("a", "answered", "request") is None
    accounts.finish("a", "answered", 202, {})
    monkeypatch.setattr("rag.accounts.ANSWERING_MINUTES", -1)
    assert accounts.begin("a", "killed", "request") is None
    assert accounts.begin("a", "answered", "request").status == 202  # type: ignore[union-attr]


def test_jobs_come_in_order_deletions_first(catalog: Catalog) -> None:
    jobs = Jobs(catalog.engine)
    first, second, third = (
        jobs.add(kind, key_id="a", collection="c", request={}) for kind in ("import", "import", "delete")
    )
    assert [one.job_id for one in jobs.list("a")] == [third.job_id, second.job_id, first.job_id]
    taken = jobs.take()
    assert taken is not None and taken.job_id == third.job_id
    assert jobs.take().job_id == first.job_id and jobs.requeue_running() == 2  # type: ignore[union-attr]
    assert jobs.cancel(second.job_id) and not jobs.cancel(second.job_id)
    assert jobs.counts() == {"queued": 2, "cancelled": 1}
    jobs.end(first.job_id, "done", {"n": 1})
    ended = jobs.get(first.job_id)
    assert ended is not None and ended.ended and ended.result == {"n": 1}
