"""Tools: what an agent can call. `@tool` turns a typed function into one.

@tool(effect="read")
def tea_price(name: str, grams: int = 100) -> float:
    '''The price of a tea in euro.

    name: of the tea, such as longjing
    '''
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

from agents.schema import from_function, normal, problems, signature
from agents.types import Effect
from rag.citations import Passage
from rag.errors import UsageError

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """What a tool may know about the run beside its arguments: a parameter annotated with this type receives it.

    task: what the user asked. tainted: text from outside has been read. folder: where artifacts go; None: nowhere.
    n_before: how often this very call was made before in the run. is_small: the model calls tools in the text form.
    """

    task: str = ""
    tainted: bool = False
    deadline_s: float = TIMEOUT_S
    folder: Path | None = None
    n_before: int = 0
    is_small: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool gives when plain text is not enough.

    passages: stretches of documents; the run numbers them, and the answer cites the numbers.
    ok: False when `text` says why nothing came of the call. tainted: overrules the tool's own setting.
    """

    text: str = ""
    passages: Sequence[Passage] = ()
    artifacts: Sequence[str] = ()
    ok: bool = True
    code: str = ""
    tainted: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """Something an agent can call. Calling the object calls the function behind it, with Python values.

    parameters: JSON schema of the arguments. run: (arguments that fit the schema, context) → text, JSON values or a
    ToolResult; what it raises becomes an observation.
    effect: read, fetch or write; after the run has read text from outside, what is not `read` needs a person's approval.
    untrusted: whether results are text from outside; numbers and truth values never are.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    run: Callable[[Mapping[str, Any], ToolContext], Any]
    effect: Effect = "write"
    untrusted: bool = True
    timeout_s: float = TIMEOUT_S
    function: Callable[..., Any] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", self.name):
            raise UsageError(f"A tool's name must have 1 to 64 letters, digits, _ . or -, not {self.name!r}.")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.function is None:
            return self.run(kwargs, ToolContext())
        return self.function(*args, **kwargs)

    @property
    def signature(self) -> str:
        return signature(self.name, self.parameters)

    def problems(self, args: Any) -> list[str]:
        """What is wrong with arguments; [] when the tool can be called with them."""
        return problems(self.parameters, args)

    def spec(self) -> dict[str, Any]:
        """As chat endpoints take it."""
        return {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}

    def renamed(self, name: str) -> Tool:
        return replace(self, name=name)


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    name: str = "",
    description: str = "",
    effect: Effect = "write",
    untrusted: bool = True,
    timeout_s: float = TIMEOUT_S,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str = "",
    description: str = "",
    effect: Effect = "write",
    untrusted: bool = True,
    timeout_s: float = TIMEOUT_S,
) -> Any:
    """Turn a typed function into a Tool: its signature becomes the schema, its docstring what the model is told.

    effect: say "read" of what changes nothing and sends nothing; the default is careful, and such a tool needs approval
        once the run has read documents, pages or other text from outside.
    untrusted: False when results can hold nobody else's text.
    """

    def made(function: Callable[..., Any]) -> Tool:
        return _from_function(function, name, description, effect, untrusted, timeout_s)

    return made if function is None else made(function)


def as_tool(given: Any) -> Tool:
    """A Tool, or a plain typed function made into one. Raises UsageError for anything else."""
    if isinstance(given, Tool):
        return given
    if callable(given):
        return _from_function(given, "", "", "write", True, TIMEOUT_S)
    raise UsageError(f"A tool must be a function or made by @tool, not {type(given).__name__}.")


def from_schema(
    name: str,
    description: str,
    parameters: Mapping[str, Any],
    run: Callable[[Mapping[str, Any], ToolContext], Any],
    *,
    effect: Effect = "write",
    untrusted: bool = True,
    timeout_s: float = TIMEOUT_S,
) -> Tool:
    """A Tool from a JSON schema, for tools that live elsewhere. Raises UsageError for a schema that cannot be used."""
    return Tool(name=name, description=description, parameters=normal(parameters), run=run, effect=effect,
                untrusted=untrusted, timeout_s=timeout_s)  # fmt: skip


def _from_function(
    function: Callable[..., Any], name: str, description: str, effect: Effect, untrusted: bool, timeout_s: float
) -> Tool:
    contexts = [key for key, one in inspect.signature(function).parameters.items() if _is_context(one.annotation)]
    parameters, model = from_function(function, hidden=frozenset(contexts))

    def run(args: Mapping[str, Any], context: ToolContext) -> Any:
        filled = model.model_validate(dict(args))
        values = {key.removeprefix("p_"): getattr(filled, key) for key in type(filled).model_fields}
        return function(**values, **dict.fromkeys(contexts, context))

    doc = inspect.getdoc(function) or ""
    return Tool(
        name=name or getattr(function, "__name__", "tool"), description=description or _summary(doc), parameters=parameters,
        run=run, effect=effect, untrusted=untrusted, timeout_s=timeout_s, function=function,
    )  # fmt: skip


def _is_context(annotation: Any) -> bool:
    return annotation is ToolContext or (isinstance(annotation, str) and annotation.rpartition(".")[2] == "ToolContext")


def _summary(doc: str) -> str:
    """A docstring's first paragraph on one line."""
    return " ".join(doc.strip().split("\n\n", 1)[0].split())
