"""Running a program in the sandbox service, which `ragstone agent sandbox` starts. Where it fails, no program runs."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from agents.sandbox.runner import Artifact, Limits, Outcome
from rag.chat import OpenAIChat
from rag.errors import ChatError, UsageError
from rag.settings import AgentSettings, LlmSettings

WAITING_S = 8.0  # beyond the program's own time: for its turn, and for its files to come back


def run(code: str, *, settings: AgentSettings, limits: Limits) -> Outcome:
    """Run a Python program there. Raises: UsageError when the service does not answer as it should; nothing ran here then."""
    service = OpenAIChat(
        LlmSettings(model="sandbox", base_url=settings.sandbox_url, api_key=settings.sandbox_key,
                    deadline_s=limits.seconds + WAITING_S, max_response_mb=64)
    )  # fmt: skip
    body = {"code": code, "seconds": limits.seconds, "memory_mb": limits.memory_mb}
    try:
        return _outcome(service.post_json("/run", body))
    except (ChatError, KeyError, TypeError, ValueError, binascii.Error) as error:
        raise UsageError(
            f"The sandbox service at {settings.sandbox_url} ran no program ({error}). Check agent.sandbox_url and agent.sandbox_key, "
            "and that `ragstone agent sandbox` runs there."
        ) from error


def as_json(outcome: Outcome) -> dict[str, Any]:
    """An outcome on its way back from the service."""
    return {"stdout": outcome.stdout, "stderr": outcome.stderr, "code": outcome.code, "stopped": outcome.stopped,
            "seconds": outcome.seconds, "backend": outcome.backend, "notes": list(outcome.notes),
            "artifacts": [{"name": one.name, "data": base64.b64encode(one.data).decode()} for one in outcome.artifacts]}  # fmt: skip


def _outcome(found: Any) -> Outcome:
    return Outcome(
        stdout=str(found["stdout"]), stderr=str(found["stderr"]), code=int(found["code"]), stopped=str(found["stopped"]),
        seconds=float(found["seconds"]), backend=str(found["backend"]), notes=tuple(str(note) for note in found["notes"]),
        artifacts=tuple(Artifact(name=str(one["name"]), data=base64.b64decode(one["data"], validate=True)) for one in found["artifacts"]),
    )  # fmt: skip
