"""The rules that docker-compose.yml has to keep, beside the compose schema: nothing open, nobody root, nothing unlimited.

    python deploy/lint.py [--schema compose-spec.json] [FILE]

Prints one line per violation; exit code 3 when there is one.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ("page", "proxy")  # services that may publish a port, on the loopback address
MIN_MILVUS = (2, 6, 10)  # older ones have an API without a password on port 9091 (CVE-2026-26190)
INTERNAL = ("inside", "programs")  # networks that lead nowhere
DRAINING = {"serve": 31, "worker": 61, "agent": 25}  # seconds; tests hold them against the code
STRANGERS = ("sandbox",)  # services that run what a model wrote
SECRET = re.compile(r"(?i)(password|secret|token|_key\b|apikey)")
_VARIABLE = re.compile(r"\$\{[A-Z][A-Z0-9_]*(:?[-?][^}]*)?\}")


def violations(compose: Mapping[str, Any]) -> Iterator[str]:
    """Every rule that is broken, as a sentence."""
    services = compose.get("services", {})
    for name, service in services.items():
        yield from (f"{name}: {problem}" for problem in _service(name, service, services))
    for name, network in (compose.get("networks") or {}).items():
        if name in INTERNAL and not (network or {}).get("internal"):
            yield f"networks: `{name}` must be internal, or what is in it can be reached from outside"


def _service(name: str, service: Mapping[str, Any], services: Mapping[str, Any]) -> Iterator[str]:
    once = (service.get("labels") or {}).get("ragstone.once") == "true"
    yield from _ports(name, service)
    yield from _rights(service, once)
    yield from _limits(service, once)
    yield from _secrets(service)
    yield from _image(service)
    yield from _draining(service)
    if name in STRANGERS:
        yield from _stranger(service)
    for needed, how in _needs(service).items():
        condition = how.get("condition", "") if isinstance(how, Mapping) else ""
        if needed not in services:
            yield f"it depends on {needed}, which is not there"
        elif condition == "service_healthy" and "healthcheck" not in services[needed]:
            yield f"it waits for {needed} to be healthy, which has no healthcheck"
        elif condition not in ("service_healthy", "service_completed_successfully"):
            yield f"it does not wait until {needed} is ready"


def _ports(name: str, service: Mapping[str, Any]) -> Iterator[str]:
    for port in service.get("ports", ()):
        text = (
            port if isinstance(port, str) else f"{port.get('host_ip', '')}:{port.get('published')}:{port.get('target')}"
        )
        if name not in PUBLISHED:
            yield f"it publishes {text}; only {' and '.join(PUBLISHED)} may"
        if not text.startswith("127.0.0.1:"):
            yield f"it publishes {text} on every address; write 127.0.0.1: before it"
    if service.get("network_mode") == "host":
        yield "it shares the host's network"


def _rights(service: Mapping[str, Any], once: bool) -> Iterator[str]:
    user = str(service.get("user", ""))
    if not once and (not user or user.split(":")[0] in ("0", "root")):
        yield "it runs as root; set user"
    if once and service.get("network_mode") != "none":
        yield "it runs once as root, so it must have no network"
    if service.get("privileged"):
        yield "it is privileged"
    if not service.get("read_only"):
        yield "its file system is writable; set read_only"
    if service.get("cap_drop") != ["ALL"]:
        yield "it keeps capabilities; set cap_drop: [ALL]"
    if "no-new-privileges:true" not in service.get("security_opt", ()):
        yield "it may gain privileges; set security_opt: [no-new-privileges:true]"
    for volume in service.get("volumes", ()):
        source = volume if isinstance(volume, str) else str(volume.get("source"))
        if "docker.sock" in source or source.startswith(("/", "~")):
            yield f"it mounts {source} of the host"
    if any(str(one).endswith(("NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE", "ALL")) for one in service.get("cap_add", ())):
        yield "it adds capabilities that lead out of a container"


def _limits(service: Mapping[str, Any], once: bool) -> Iterator[str]:
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    yield from (f"it has no limit of {kind}" for kind in ("cpus", "memory") if kind not in limits)
    if "pids_limit" not in service:
        yield "it has no limit of processes; set pids_limit"
    if not once and "healthcheck" not in service:
        yield "it has no healthcheck"
    if "max-size" not in service.get("logging", {}).get("options", {}):
        yield "its log grows for ever; set logging.options.max-size"


def _secrets(service: Mapping[str, Any]) -> Iterator[str]:
    """A secret comes from the environment, and there is none by default."""
    environment = service.get("environment") or {}
    pairs = (
        environment.items() if isinstance(environment, Mapping) else (one.partition("=")[::2] for one in environment)
    )
    for key, value in pairs:
        text = str(value)
        if SECRET.search(key) and not key.endswith(("_ID", "_FILE", "_HASH")):
            bare = _VARIABLE.sub("", text)
            if text and not any(":?" in found.group() for found in _VARIABLE.finditer(text)):
                yield f"{key} has a default or fixed value; write ${{NAME:?…}}"
            elif bare not in ("", "root:"):
                yield f"{key} holds more than a variable"


def _draining(service: Mapping[str, Any]) -> Iterator[str]:
    """What ends its work at SIGTERM is given the time for it; the engine's own patience is 10 s."""
    command = [str(part) for part in service.get("command") or ()]
    kind = command[1] if command[:1] == ["ragstone"] and len(command) > 1 else ""
    given = re.fullmatch(r"(\d+)s", str(service.get("stop_grace_period", "10s")))
    if kind in DRAINING and (given is None or int(given.group(1)) < DRAINING[kind]):
        yield f"it needs up to {DRAINING[kind]} s to end without loss; set stop_grace_period"


def _stranger(service: Mapping[str, Any]) -> Iterator[str]:
    """Programs that a model wrote see no files, no other service's secret and no way out."""
    networks = list(service.get("networks") or ["default"])
    if networks != ["programs"]:
        yield f"it runs strangers' programs and is on {', '.join(networks)}; put it on `programs` alone"
    if service.get("volumes") or service.get("secrets"):
        yield "it runs strangers' programs and is given files; leave volumes and secrets out"
    if others := [
        key for key in service.get("environment") or {} if SECRET.search(key) and key != "RAGSTONE_SANDBOX_KEY"
    ]:
        yield f"it runs strangers' programs and knows {', '.join(others)}"


def _image(service: Mapping[str, Any]) -> Iterator[str]:
    image = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", str(service.get("image", "")))
    tag = image.rpartition("/")[2].partition(":")[2]
    if not tag or tag == "latest":
        yield f"its image {image or '(none)'} has no fixed version"
    if "milvus:" in image:
        version = tuple(int(part) for part in re.findall(r"\d+", tag)[:3])
        if version < MIN_MILVUS:
            yield f"Milvus {tag} answers without a password on port 9091; use 2.6.10 or newer"
        environment = service.get("environment") or {}
        if str(environment.get("COMMON_SECURITY_AUTHORIZATIONENABLED", "")).lower() != "true":
            yield "Milvus asks for no password; set COMMON_SECURITY_AUTHORIZATIONENABLED"


def _needs(service: Mapping[str, Any]) -> Mapping[str, Any]:
    needs = service.get("depends_on") or {}
    return needs if isinstance(needs, Mapping) else {name: {} for name in needs}


def schema_errors(compose: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    """Where the file does not fit the compose schema."""
    import jsonschema

    validator = jsonschema.validators.validator_for(schema)(schema)
    for error in validator.iter_errors(compose):
        yield f"schema: {'.'.join(str(part) for part in error.absolute_path)}: {error.message[:200]}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", nargs="?", default=str(ROOT / "docker-compose.yml"))
    parser.add_argument("--schema", help="the compose specification's JSON schema")
    options = parser.parse_args(arguments)
    compose = yaml.safe_load(Path(options.file).read_text(encoding="utf-8"))
    found = list(violations(compose))
    if options.schema:
        found += schema_errors(compose, json.loads(Path(options.schema).read_text(encoding="utf-8")))
    for problem in found:
        print(problem)
    print(f"{options.file}: {len(compose.get('services', {}))} services, {len(found)} violations", file=sys.stderr)
    return 3 if found else 0


if __name__ == "__main__":
    sys.exit(main())
