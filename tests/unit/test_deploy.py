"""What stands in docker-compose.yml, and that the lint would see what must not."""

from __future__ import annotations

import copy
import importlib.util
import re
import stat
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from rag.settings import Settings
from ui.api.server import WORKER_STOP_S


def load(repo: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, repo / "deploy" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def compose(repo: Path) -> Any:
    return yaml.safe_load((repo / "docker-compose.yml").read_text(encoding="utf-8"))


def test_the_compose_file_keeps_every_rule(repo: Path, compose: Any) -> None:
    assert list(load(repo, "lint").violations(compose)) == []


Change = Callable[[dict[str, Any]], Any]
BREAKS: dict[str, tuple[Change, str]] = {
    "an open port": (lambda s: s["milvus"].update(ports=["127.0.0.1:19530:19530"]), "milvus: it publishes"),
    "a port on all addresses": (lambda s: s["page"].update(ports=["8501:8501"]), "every address"),
    "root": (lambda s: s["api"].update(user="0"), "runs as root"),
    "no user": (lambda s: s["etcd"].pop("user"), "runs as root"),
    "a writable system": (lambda s: s["worker"].update(read_only=False), "writable"),
    "privileges": (lambda s: s["worker"].update(privileged=True), "privileged"),
    "new privileges": (lambda s: s["worker"].update(security_opt=[]), "gain privileges"),
    "capabilities": (lambda s: s["minio"].update(cap_drop=[]), "capabilities"),
    "a default password": (lambda s: s["minio"]["environment"].update(MINIO_ROOT_PASSWORD="minioadmin"), "default or fixed"),
    "a default in a variable": (lambda s: s["postgres"]["environment"].update(POSTGRES_PASSWORD="${P:-postgres}"), "default or fixed"),
    "an old Milvus": (lambda s: s["milvus"].update(image="milvusdb/milvus:v2.6.9"), "without a password"),
    "Milvus without a password": (lambda s: s["milvus"]["environment"].pop("COMMON_SECURITY_AUTHORIZATIONENABLED"), "no password"),
    "any version": (lambda s: s["milvus"].update(image="milvusdb/milvus:latest"), "no fixed version"),
    "no limit": (lambda s: s["api"]["deploy"]["resources"]["limits"].pop("memory"), "no limit of memory"),
    "no limit of processes": (lambda s: s["api"].pop("pids_limit"), "no limit of processes"),
    "no health": (lambda s: s["postgres"].pop("healthcheck"), "no healthcheck"),
    "no waiting": (lambda s: s["api"].update(depends_on=["postgres"]), "does not wait"),
    "an unknown service": (lambda s: s["api"]["depends_on"].update(redis={"condition": "service_healthy"}), "not there"),
    "the engine's socket": (lambda s: s["worker"].update(volumes=["/var/run/docker.sock:/s"]), "of the host"),
    "the host's network": (lambda s: s["api"].update(network_mode="host"), "host's network"),
    "no time to end": (lambda s: s["worker"].update(stop_grace_period="45s"), "needs up to 61 s"),
    "the engine's patience": (lambda s: s["api"].pop("stop_grace_period"), "needs up to 31 s"),
    "a sandbox with files": (lambda s: s["sandbox"].update(volumes=["home:/data"]), "is given files"),
    "a sandbox among the databases": (lambda s: s["sandbox"].update(networks=["programs", "inside"]), "on `programs` alone"),
    "a sandbox with a secret": (lambda s: s["sandbox"]["environment"].update(POSTGRES_PASSWORD="${P:?}"), "knows POSTGRES_PASSWORD"),
    "a log without end": (lambda s: s["api"].pop("logging"), "log grows"),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_the_lint_sees(repo: Path, compose: Any, name: str) -> None:
    change, says = BREAKS[name]
    broken = copy.deepcopy(compose)
    change(broken["services"])
    assert any(says in problem for problem in load(repo, "lint").violations(broken))


@pytest.mark.parametrize("network", ["inside", "programs"])
def test_an_open_network_is_seen(repo: Path, compose: Any, network: str) -> None:
    broken = copy.deepcopy(compose) | {"networks": {network: {}}}
    assert any("internal" in problem for problem in load(repo, "lint").violations(broken))


def test_who_ends_is_given_as_long_as_the_code_may_take(repo: Path) -> None:
    given = load(repo, "lint").DRAINING
    settings = Settings()
    assert given["serve"] > settings.api.grace_s and given["agent"] >= settings.agent.sandbox_s
    assert given["worker"] > WORKER_STOP_S


def test_every_variable_is_in_the_example(repo: Path) -> None:
    text = (repo / "docker-compose.yml").read_text(encoding="utf-8")
    required = set(re.findall(r"\$\{([A-Z_]+):\?", text))
    example = dict(re.findall(r"^([A-Z_]+)=(.*)$", (repo / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
    assert required and required <= example.keys() and all(example[name] == "" for name in required)


def test_secrets_are_made_once_and_for_one_reader(repo: Path, tmp_path: Path) -> None:
    make = load(repo, "make_env")
    assert make.main(tmp_path) == 0
    first = (tmp_path / ".env").read_text(encoding="utf-8")
    values = dict(re.findall(r"^([A-Z_]+)=(\S*)", first, re.MULTILINE))
    secrets = [values[name] for name in make.SECRETS]
    assert all(len(secret) >= 32 for secret in secrets) and len(set(secrets)) == len(secrets)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert (tmp_path / "deploy" / "api_key").read_text(encoding="utf-8") == values["API_KEY"]
    assert make.main(tmp_path) == 1 and (tmp_path / ".env").read_text(encoding="utf-8") == first


def test_the_first_key_is_let_in(repo: Path, tmp_path: Path) -> None:
    from rag.accounts import Accounts
    from rag.catalog import Catalog

    make = load(repo, "make_env")
    make.main(tmp_path)
    secret = (tmp_path / "deploy" / "api_key").read_text(encoding="utf-8")
    catalog = Catalog(tmp_path / "catalog.sqlite3")
    accounts = Accounts(catalog.engine)
    for _ in range(2):
        accounts.adopt(secret, "first")
    found = accounts.find(secret)
    assert found and found.owner and len(accounts.all()) == 1
    catalog.close()
