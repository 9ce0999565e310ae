"""A stored run as OpenTelemetry spans, in OTLP's JSON form: any collector takes it, and no library is needed.

The run is one span, with the model's replies and the tools' calls below it, by the semantic conventions for generative
AI. What was said and read is left out unless it is asked for.
Source: OTLP 1.5 (JSON encoding), OpenTelemetry semantic conventions for generative AI, 2025.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rag.errors import UsageError

INTERNAL, CLIENT = 1, 3  # kinds of span
OK, ERROR = 1, 2  # status codes
FAILED = ("error", "invalid", "repeated", "steps", "tokens", "seconds")  # ways to end that are no success


def spans(record: Mapping[str, Any], *, content: bool = False, service: str = "ragstone") -> dict[str, Any]:
    """The body of a request to `/v1/traces`. record: as the journal keeps it. content: with prompts, arguments, results.

    The same record gives the same bytes. Times between the parts are not on record: each begins when the one before ends.
    """
    listed = list(_spans(record, content))
    resource = {"attributes": _attributes({"service.name": service})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "ragstone.agents"}, "spans": listed}]}]}  # fmt: skip


def send(body: Mapping[str, Any], endpoint: str, *, timeout_s: float = 10.0) -> None:
    """Send spans to a collector's OTLP endpoint over HTTP. Raises: UsageError when it does not take them."""
    url = endpoint.rstrip("/")
    url = url if url.endswith("/v1/traces") else f"{url}/v1/traces"
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{endpoint!r} is no address of a collector. Write one such as http://127.0.0.1:4318.")
    data = json.dumps(body, ensure_ascii=False, default=str).encode("utf-8", "replace")
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})  # noqa: S310  the scheme is checked above
    try:
        urllib.request.urlopen(request, timeout=timeout_s).close()  # noqa: S310
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UsageError(f"The collector at {endpoint} did not take the spans ({error}). Is it running, with OTLP over HTTP?") from error  # fmt: skip


def _spans(record: Mapping[str, Any], content: bool) -> Iterator[dict[str, Any]]:
    run_id, spent = str(record["run_id"]), record.get("spent", {})
    trace, root = _id(run_id, "", 16), _id(run_id, "run", 8)
    began = at = int(float(record.get("started", 0.0)) * 1e9)
    children: list[dict[str, Any]] = []
    for name, kind, length_ms, values, fault in _parts(record, content):
        end = at + int(length_ms * 1e6)
        children.append(_span(trace, _id(run_id, str(len(children)), 8), root, name, kind, at, end, values, fault))
        at = end
    about = {
        "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": record.get("kind", ""),
        "gen_ai.conversation.id": record.get("thread", ""), "ragstone.run_id": run_id, "ragstone.stopped": record.get("stopped", ""),
        "gen_ai.usage.input_tokens": int(spent.get("prompt_tokens", 0)), "gen_ai.usage.output_tokens": int(spent.get("answer_tokens", 0)),
        **({"gen_ai.input.messages": record.get("task", ""), "gen_ai.output.messages": record.get("answer", "")} if content else {}),
    }  # fmt: skip
    end = max(at, began + int(float(spent.get("seconds", 0.0)) * 1e9))
    stopped = str(record.get("stopped", ""))
    fault = str(record.get("reason") or stopped) if stopped in FAILED else ""
    yield _span(trace, root, "", f"invoke_agent {record.get('kind', '')}".strip(), INTERNAL, began, end, about, fault)
    yield from children


def _parts(record: Mapping[str, Any], content: bool) -> Iterator[tuple[str, int, float, dict[str, Any], str]]:
    """(name, kind, milliseconds, attributes, fault) of each reply and of the calls it asked for, in order."""
    steps = list(record.get("steps", ()))
    prompts: Sequence[Any] = record.get("prompts", ())
    for n, reply in enumerate(record.get("replies", ())):
        model = str(reply.get("model", ""))
        values = {
            "gen_ai.operation.name": "chat", "gen_ai.request.model": model,
            "gen_ai.usage.input_tokens": int(reply.get("n_prompt_tokens", 0)), "gen_ai.usage.output_tokens": int(reply.get("n_answer_tokens", 0)),
        }  # fmt: skip
        if content:
            sent = prompts[n] if n < len(prompts) else ""
            values |= {"gen_ai.input.messages": _text(sent), "gen_ai.output.messages": str(reply.get("text", ""))}
        yield f"chat {model}".strip(), CLIENT, 1000 * float(reply.get("seconds", 0.0)), values, ""
        for _ in range(max(1, len(reply.get("calls", ())))):
            if steps:
                yield _call(steps.pop(0), content)
    for step in steps:
        yield _call(step, content)


def _call(step: Mapping[str, Any], content: bool) -> tuple[str, int, float, dict[str, Any], str]:
    tool = str(step.get("tool") or "no valid reply")
    values = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool, "ragstone.step": int(step.get("n", 0)), "ragstone.tainted": bool(step.get("tainted"))}  # fmt: skip
    if content:
        values |= {"gen_ai.tool.call.arguments": _text(step.get("args", {})), "gen_ai.tool.call.result": str(step.get("observation", ""))}  # fmt: skip
    fault = "" if step.get("ok", True) else str(step.get("code") or "failed")
    return f"execute_tool {tool}", INTERNAL, float(step.get("ms", 0.0)), values, fault


def _span(
    trace: str, span: str, parent: str, name: str, kind: int, began: int, ended: int, values: Mapping[str, Any], fault: str
) -> dict[str, Any]:  # fmt: skip
    extra = {"error.type": fault} if fault else {}
    return {
        "traceId": trace, "spanId": span, **({"parentSpanId": parent} if parent else {}), "name": name, "kind": kind,
        "startTimeUnixNano": str(began), "endTimeUnixNano": str(ended), "attributes": _attributes({**values, **extra}),
        "status": {"code": ERROR, "message": fault} if fault else {"code": OK},
    }  # fmt: skip


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items() if value not in ("", None)]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _id(run_id: str, part: str, n_bytes: int) -> str:
    return hashlib.sha256(f"{run_id}/{part}".encode()).hexdigest()[: 2 * n_bytes]
