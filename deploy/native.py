"""Runs what docker-compose.yml runs, as plain processes on this machine: API, worker, page, and as asked a model, PostgreSQL and the sandbox.

    python deploy/native.py --home DIR [--postgres] [--model ALIAS] [--sandbox PORT] [--no-page] [--ports API,PAGE,MODEL,PG]

For machines without a container engine. The processes get the environment that compose gives them; Milvus is the
embedded one unless RAGSTONE__MILVUS__URI names a server. Prints `ready` when all of them answer; Ctrl-C or SIGTERM ends
them in reverse order, and so does any of them ending by itself.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from probe import healthy  # beside this file

START_S = 180.0
STOP_S = 90.0


@dataclass(slots=True)
class Runner:
    """Processes, in the order they were started."""

    stop: threading.Event = field(default_factory=threading.Event)
    running: list[tuple[str, subprocess.Popen[bytes]]] = field(default_factory=list)

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: dict[str, str],
        ready: Callable[[], bool],
        **options: object,
    ) -> None:
        """Start a process and wait until it is ready. Raises SystemExit when it ends or takes too long."""
        print(f"native: {name}", file=sys.stderr)
        process = subprocess.Popen(
            command, env=environment, start_new_session=True, stdout=sys.stderr.fileno(), **options
        )  # type: ignore[call-overload]
        self.running.append((name, process))
        waited = 0.0
        while not ready():
            if process.poll() is not None:
                raise SystemExit(f"native: {name} ended with code {process.returncode}")
            if waited > START_S or self.stop.wait(0.2):
                raise SystemExit(f"native: {name} did not become ready")
            waited += 0.2

    def watch(self) -> str:
        """Until `stop` is set, or a process ends; its name then."""
        while not self.stop.wait(0.5):
            for name, process in self.running:
                if process.poll() is not None:
                    return name
        return ""

    def end(self) -> int:
        """SIGTERM to each, the last first; how many had to be killed."""
        n_killed = 0
        for name, process in reversed(self.running):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT if name == "postgres" else signal.SIGTERM)  # what it started, too
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    n_killed += 1
        return n_killed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--home", required=True, type=Path)
    parser.add_argument("--postgres", action="store_true", help="the catalog in a PostgreSQL of its own")
    parser.add_argument("--model", metavar="ALIAS", help="serve a local chat model")
    parser.add_argument("--sandbox", type=int, metavar="PORT", help="a process of its own for agents' programs")
    parser.add_argument("--no-page", action="store_true")
    parser.add_argument("--ports", default="8300,8501,8310,5433", metavar="API,PAGE,MODEL,PG")
    options = parser.parse_args(arguments)
    api, page, model, database = (int(port) for port in options.ports.split(","))
    options.home.mkdir(parents=True, exist_ok=True)
    runner = Runner()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: runner.stop.set())
    environment = dict(os.environ, RAGSTONE_HOME=str(options.home.absolute()), RAGSTONE__API__LOG_FORMAT="json")
    try:
        if options.postgres:
            environment["RAGSTONE__CATALOG__URL"] = _postgres(runner, options.home.absolute(), database)
        if options.model:
            environment |= _model(runner, options.model, model, environment)
        if options.sandbox:
            environment |= _sandbox(runner, options.sandbox, environment)
        ragstone = [sys.executable, "-m", "ui.cli"]
        runner.start("api", [*ragstone, "serve", "--port", str(api)], environment | {"RAGSTONE__API__WORKER": "false"},
                     lambda: healthy(f"http://127.0.0.1:{api}/readyz"))  # fmt: skip
        runner.start("worker", [*ragstone, "worker"], environment, lambda: True)
        if not options.no_page:
            runner.start("page", [*ragstone, "ui", "--port", str(page)], environment,
                         lambda: healthy(f"http://127.0.0.1:{page}/_stcore/health"))  # fmt: skip
        print("ready", flush=True)
        if ended := runner.watch():
            print(f"native: {ended} ended, so everything does", file=sys.stderr)
            return 1
        return 0
    finally:
        if n_killed := runner.end():
            print(f"native: {n_killed} processes had to be killed", file=sys.stderr)


def _model(runner: Runner, alias: str, port: int, environment: dict[str, str]) -> dict[str, str]:
    """Serve the model; what the others need to find it."""
    key = secrets.token_urlsafe(24)
    command = [sys.executable, "-m", "ui.cli", "models", "serve", alias, "--port", str(port)]
    runner.start(
        "model", command, environment | {"RAGSTONE_MODEL_KEY": key}, lambda: healthy(f"http://127.0.0.1:{port}/health")
    )
    return {
        "RAGSTONE__LLM__BASE_URL": f"http://127.0.0.1:{port}/v1",
        "RAGSTONE__LLM__API_KEY": key,
        "RAGSTONE__LLM__MODEL": "auto",
    }


def _sandbox(runner: Runner, port: int, environment: dict[str, str]) -> dict[str, str]:
    """Start the sandbox service; what the others need to use it. Of this machine's variables it gets RAGSTONE's alone."""
    key = secrets.token_urlsafe(24)
    command = [sys.executable, "-m", "ui.cli", "agent", "sandbox", "--port", str(port)]
    ours = ("PATH", "LANG", "PYTHONPATH", "TMPDIR")
    given = {name: environment[name] for name in ours if name in environment}
    given |= {name: value for name, value in environment.items() if name.startswith("RAGSTONE__AGENT__")}
    runner.start(
        "sandbox", command, given | {"RAGSTONE_SANDBOX_KEY": key}, lambda: healthy(f"http://127.0.0.1:{port}/health")
    )
    return {"RAGSTONE__AGENT__SANDBOX_URL": f"http://127.0.0.1:{port}/v1", "RAGSTONE__AGENT__SANDBOX_KEY": key}


def _postgres(runner: Runner, home: Path, port: int) -> str:
    """Debian's PostgreSQL on a folder below the home and a loopback port, with a password; the catalog's URL."""
    programs = _programs()
    folder = home / "postgres"
    user: dict[str, object] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    secret = home / "postgres.password"
    if not folder.exists():
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_urlsafe(24), encoding="utf-8")
        folder.mkdir(mode=0o700)
        if user:
            shutil.chown(folder, "postgres", "postgres")
        with tempfile.NamedTemporaryFile("w", prefix="ragstone-pw-") as given:
            given.write(secret.read_text(encoding="utf-8"))
            given.flush()
            if user:
                shutil.chown(given.name, "postgres", "postgres")
            make = [
                str(programs / "initdb"),
                "-D",
                str(folder / "data"),
                "-U",
                "ragstone",
                "-A",
                "scram-sha-256",
                "--pwfile",
                given.name,
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
            ]
            subprocess.run(make, check=True, stdout=subprocess.DEVNULL, cwd="/", **user)  # type: ignore[call-overload]
    command = [
        str(programs / "postgres"),
        "-D",
        str(folder / "data"),
        "-k",
        str(folder),
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    runner.start("postgres", command, dict(os.environ), lambda: _listens(port, folder / "data" / "postmaster.pid"),
                 cwd="/", stderr=subprocess.DEVNULL, **user)  # fmt: skip
    return f"postgresql+pg8000://ragstone:{secret.read_text(encoding='utf-8')}@127.0.0.1:{port}/postgres"


def _listens(port: int, status: Path) -> bool:
    """Whether PostgreSQL takes connections: it writes so into its file, and its port is open."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return status.read_text(encoding="utf-8").rstrip().endswith("ready")
    except OSError:
        return False


def _programs() -> Path:
    found = shutil.which("postgres")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        raise SystemExit("native: PostgreSQL is not installed (apt-get install postgresql), or leave out --postgres")
    return folders[-1]


if __name__ == "__main__":
    sys.exit(main())
