"""Tools from an OpenAPI description: one for each GET operation, asked through the guard of rag/fetch.py.

Operations that change something need more than a description says, such as keys and bodies, and are better written as
functions; they are left out and named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urljoin

from agents.tooling import Tool, ToolContext, ToolResult, from_schema
from rag.errors import DocumentError, UsageError
from rag.fetch import clean_url, fetch
from rag.settings import FetchSettings

MAX_BYTES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiTools:
    """tools: of the GET operations. left_out: the others, such as "POST /orders"."""

    tools: tuple[Tool, ...]
    left_out: tuple[str, ...]


def openapi_tools(spec: Mapping[str, Any], *, base_url: str = "", fetching: FetchSettings | None = None) -> ApiTools:
    """Tools from an OpenAPI 3 document (parsed JSON). base_url: in place of the description's first server.

    Raises: UsageError when there is no usable server or the document is none.
    """
    servers = spec.get("servers") or [{}]
    base = base_url or str(servers[0].get("url", ""))
    if not isinstance(spec.get("paths"), Mapping):
        raise UsageError("This is no OpenAPI document: it has no paths.")
    try:
        base = clean_url(base)
    except DocumentError as error:
        raise UsageError(f"The API's address cannot be used: {error} Give base_url.") from error
    tools: list[Tool] = []
    left_out: list[str] = []
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            if method.lower() == "get" and isinstance(operation, Mapping):
                shared = [_resolved(one, spec) for one in operations.get("parameters", ())]
                tools.append(_tool(spec, base, path, operation, shared, fetching or FetchSettings()))
            elif method.lower() in ("post", "put", "patch", "delete"):
                left_out.append(f"{method.upper()} {path}")
    return ApiTools(tools=tuple(tools), left_out=tuple(left_out))


def _tool(
    spec: Mapping[str, Any], base: str, path: str, operation: Mapping[str, Any], shared: Sequence[Mapping[str, Any]], fetching: FetchSettings
) -> Tool:  # fmt: skip
    parameters = [*shared, *(_resolved(one, spec) for one in operation.get("parameters", ()))]
    parameters = [one for one in parameters if one.get("in") in ("path", "query")]
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", operation.get("operationId") or f"get_{path}").strip("_")[:64]
    properties = {one["name"]: {"type": "string", **one.get("schema", {}), **_note(one)} for one in parameters}
    required = [one["name"] for one in parameters if one.get("required")]
    schemas = spec.get("components", {}).get("schemas", {})

    def run(args: Mapping[str, Any], _context: ToolContext) -> ToolResult:
        try:
            got = fetch(_url(base, path, parameters, args), settings=fetching, max_bytes=MAX_BYTES)
        except DocumentError as error:
            return ToolResult(text=str(error), ok=False, code=error.code)
        return ToolResult(text=got.data.decode("utf-8", "replace"))

    about = operation.get("summary") or operation.get("description") or f"GET {path}"
    schema = {"type": "object", "properties": properties, "required": required, "$defs": schemas}
    return from_schema(name, " ".join(str(about).split())[:500], schema, run, effect="fetch", timeout_s=fetching.timeout_s + 5)  # fmt: skip


def _url(base: str, path: str, parameters: Sequence[Mapping[str, Any]], args: Mapping[str, Any]) -> str:
    """The operation's address: arguments are percent-encoded, so that none of them becomes another path or host."""
    for one in parameters:
        if one["in"] == "path":
            value = quote(_plain(args.get(one["name"], "")), safe="")
            path = path.replace("{" + one["name"] + "}", value.replace(".", "%2E") if set(value) <= {"."} else value)
    query = [(one["name"], _plain(args[one["name"]])) for one in parameters if one["in"] == "query" and one["name"] in args]  # fmt: skip
    address = urljoin(base.rstrip("/") + "/", path.lstrip("/"))
    return address + (f"?{urlencode(query)}" if query else "")


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _note(parameter: Mapping[str, Any]) -> dict[str, str]:
    return {"description": str(parameter["description"])} if parameter.get("description") else {}


def _resolved(one: Any, spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """A parameter, or the one in the components that it points to."""
    if isinstance(one, Mapping) and isinstance(one.get("$ref"), str):
        found = spec.get("components", {}).get("parameters", {}).get(one["$ref"].rpartition("/")[2])
        return found if isinstance(found, Mapping) else {}
    return one if isinstance(one, Mapping) else {}
