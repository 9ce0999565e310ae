"""Old Office formats (DOC, PPT) by a program that the machine has: LibreOffice, antiword or catdoc.

The program runs in this process's stead with a private folder, a time limit and no window; what it gives is then read
by the parser's child process like any other file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rag.errors import DocumentError

if sys.platform == "linux":
    import resource

MAX_OUTPUT = 100_000_000


@dataclass(frozen=True, slots=True)
class Converted:
    """A file in a format that can be read, and the program that made it."""

    data: bytes
    name: str
    program: str


def programs() -> list[str]:
    """The converters that this machine has."""
    return [name for name in ("soffice", "libreoffice", "antiword", "catdoc", "catppt") if shutil.which(name)]


def convert(data: bytes, name: str, kind: str, *, timeout_s: float) -> Converted | None:
    """`kind` is doc or ppt. None when the machine has no program for it. Raises: DocumentError E_CORRUPT, E_TIMEOUT."""
    office = shutil.which("soffice") or shutil.which("libreoffice")
    plain = {"doc": ("antiword", "catdoc"), "ppt": ("catppt",)}[kind]
    program = next((path for path in map(shutil.which, plain) if path), None)
    if office is None and program is None:
        return None
    with tempfile.TemporaryDirectory(prefix="ragstone-convert-") as folder:
        source = Path(folder) / f"document.{kind}"
        source.write_bytes(data)
        if office is not None:
            made = Path(folder) / f"document.{kind}x"
            profile = f"-env:UserInstallation=file://{folder}/profile"
            options = ["--headless", "--norestore", "--nolockcheck", "--convert-to", f"{kind}x", "--outdir", folder]
            _run([office, profile, *options, str(source)], folder, name, timeout_s, Path(os.devnull))
        else:
            assert program is not None
            made = Path(folder) / "document.txt"
            options = ["-m", "UTF-8.txt", "-w", "0"] if program.endswith("antiword") else ["-dutf-8", "-w"]
            _run(
                [program, *(options if not program.endswith("catppt") else ["-dutf-8"]), str(source)],
                folder,
                name,
                timeout_s,
                made,
            )
        used = Path(office or program or "").name
        if not made.is_file() or not 0 < made.stat().st_size <= MAX_OUTPUT:
            raise DocumentError("E_CORRUPT", f"{name} could not be converted by {used}. Save it as {kind.upper()}X.")
        stem = name.rsplit(".", 1)[0]
        return Converted(made.read_bytes(), f"{stem}{made.suffix}", used)


def _run(command: list[str], folder: str, name: str, timeout_s: float, output: Path) -> None:
    """Run a program in a process group of its own, which ends with it or at the time limit.

    What it writes is limited where the system can limit a running process. Raises: DocumentError E_TIMEOUT, E_CORRUPT.
    """
    environment = {key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "SYSTEMROOT")} | {
        "HOME": folder
    }
    with output.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            if sys.platform == "linux":
                with contextlib.suppress(ProcessLookupError):  # it may have ended already
                    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (MAX_OUTPUT, MAX_OUTPUT))
            process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise DocumentError(
                "E_TIMEOUT", f"{name} took longer than {timeout_s:.0f} s to convert. Save it as DOCX or PDF."
            ) from error
        finally:
            _end(process)
    if process.returncode:
        used = Path(command[0]).name
        raise DocumentError("E_CORRUPT", f"{name} could not be converted by {used}. Save it as DOCX, PPTX or PDF.")


def _end(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
