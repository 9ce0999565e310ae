"""Running Python as a tool, in the sandbox. Tables come back as text, plots and files as artifacts."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from agents.sandbox import remote
from agents.sandbox.runner import Artifact, Limits, Outcome, choose, run
from agents.tooling import Tool, ToolContext, ToolResult, tool

SHOWN = 6000  # characters of output
_KINDS = ((b"\x89PNG\r\n", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF8", ".gif"), (b"%PDF-", ".pdf"), (b"PK\x03\x04", ".zip"))  # fmt: skip
_TEXTS = (".csv", ".tsv", ".json", ".md", ".txt")  # what a text may be called; SVG and HTML could run scripts


def python_tool(settings: Any) -> Tool:
    """run_python with the limits of the [agent] settings. Raises UsageError, with the reason, where no sandbox holds.

    With agent.sandbox_url the service there runs the programs, and this machine none.
    """
    backend = "" if settings.sandbox_url and settings.sandbox != "off" else choose(settings.sandbox)
    limits = Limits(seconds=settings.sandbox_s, memory_mb=settings.sandbox_memory_mb)

    @tool(effect="read", timeout_s=limits.seconds + 10)
    def run_python(code: str, context: ToolContext) -> ToolResult:
        """Run a Python program (numpy and pandas are there; no network, no files of the user). Print what is to be seen.

        code: the whole program
        """
        outcome = (
            run(code, limits=limits, backend=backend) if backend else remote.run(code, settings=settings, limits=limits)
        )
        saved = save(outcome.artifacts, context.folder)
        return ToolResult(text=_told(outcome, limits, saved), ok=outcome.code == 0 and not outcome.stopped, artifacts=saved,
                          code="" if outcome.code == 0 and not outcome.stopped else "failed", tainted=context.tainted)  # fmt: skip

    return run_python


def save(artifacts: tuple[Artifact, ...], folder: Path | None) -> list[str]:
    """Write artifacts under names of our own, their kind told by their content. Returns the paths; [] without a folder."""
    if folder is None or not artifacts:
        return []
    place = folder / uuid.uuid4().hex[:12]
    place.mkdir(parents=True, exist_ok=True)
    paths = []
    for at, one in enumerate(artifacts, start=1):
        path = place / f"{at:02}{kind(one)}"
        path.write_bytes(one.data)
        paths.append(str(path))
    return paths


def kind(artifact: Artifact) -> str:
    """The ending that an artifact's content deserves."""
    for start, ending in _KINDS:
        if artifact.data.startswith(start):
            return ending
    if b"\0" in artifact.data[:4096]:
        return ".bin"
    wanted = "." + artifact.name.rpartition(".")[2].lower()
    return wanted if wanted in _TEXTS else ".txt"


def _told(outcome: Outcome, limits: Limits, saved: list[str]) -> str:
    parts = [outcome.stdout[:SHOWN].rstrip()]
    if len(outcome.stdout) > SHOWN:
        parts.append(f"… {len(outcome.stdout) - SHOWN:,} characters more")
    if outcome.stopped == "time":
        parts.append(f"The program was stopped after {limits.seconds:g} s.")
    elif outcome.stopped == "output":
        parts.append("The program was stopped: it wrote too much.")
    elif outcome.code:
        parts.append(outcome.stderr.strip()[-1500:] or f"The program ended with code {outcome.code}.")
    names = [one.name for one in outcome.artifacts]
    if names:
        parts.append(f"Files: {', '.join(names)}" + ("" if saved else " (not kept: the agent has no home)"))
    return "\n".join(part for part in [*parts, *outcome.notes] if part) or "The program printed nothing."
