"""Keys on the command line, and servers that refuse to start open."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from ui.cli import main


def run(capsys: pytest.CaptureFixture[str], home: Path, *arguments: str) -> tuple[int, Any]:
    code = main(["--home", str(home), "--json", *arguments])
    return code, json.loads(capsys.readouterr().out)


def test_keys_are_made_listed_and_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, made = run(
        capsys,
        tmp_path,
        "keys",
        "create",
        "ann",
        "--scope",
        "read",
        "--scope",
        "ingest",
        "--as",
        "g:staff",
        "--tenant",
        "acme",
    )
    assert code == 0 and made["secret"].startswith(f"rs_{made['key_id']}_") and made["scopes"] == ["ingest", "read"]
    code, listed = run(capsys, tmp_path, "keys", "list")
    (row,) = listed["keys"]
    assert (
        row["name"] == "ann"
        and row["tenant"] == "acme"
        and row["names"] == ["g:staff"]
        and made["secret"] not in json.dumps(listed)
    )
    code, ended = run(capsys, tmp_path, "keys", "revoke", "ann")
    assert code == 0 and [one["key_id"] for one in ended["revoked"]] == [made["key_id"]]
    code, refused = run(capsys, tmp_path, "keys", "revoke", "ann")
    assert code == 2 and "ragstone keys list" in refused["error"]["message"]
    code, refused = run(capsys, tmp_path, "keys", "create", "bob", "--tenant", "Not OK")
    assert code == 2 and refused["error"]["code"] == "E_USAGE"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
def test_servers_that_others_reach_need_a_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAGSTONE_MODEL_KEY", raising=False)
    code, refused = run(capsys, tmp_path, "serve", "--host", host)
    assert code == 2 and "ragstone keys create" in refused["error"]["message"]
    code, refused = run(capsys, tmp_path, "models", "serve", "smollm2-135m", "--host", host)
    assert code == 2 and "RAGSTONE_MODEL_KEY" in refused["error"]["message"]
    code, refused = run(capsys, tmp_path, "ui", "--host", host)
    assert code == 2 and "ui.behind_proxy" in refused["error"]["message"]


def test_accounts_are_made_changed_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.users.COST", (16, 8, 1))
    monkeypatch.setattr("sys.stdin", io.StringIO("seven cups of tea\nshort\n"))
    code, made = run(capsys, tmp_path, "users", "add", "ann", "--role", "editor", "--as", "g:staff", "--only", "tea")
    assert code == 0 and made["user"]["collections"] == ["tea"] and "password" not in made["user"]
    code, refused = run(capsys, tmp_path, "users", "add", "bob")
    assert code == 2 and "10 to 200 characters" in refused["error"]["message"]
    code, changed = run(capsys, tmp_path, "users", "set", "ann", "--role", "viewer", "--only", "")
    assert code == 0 and changed["user"]["role"] == "viewer" and changed["user"]["collections"] == []
    code, refused = run(capsys, tmp_path, "users", "set", "ann")
    assert code == 2 and "--role" in refused["error"]["message"]
    assert [one["name"] for one in run(capsys, tmp_path, "users", "list")[1]["users"]] == ["ann"]
    assert run(capsys, tmp_path, "users", "remove", "ann")[0] == 0
    code, refused = run(capsys, tmp_path, "users", "remove", "ann")
    assert code == 2 and "users list" in refused["error"]["message"]
