"""Tools: schemas from functions, the check of arguments, the calculator, files, SQL's neighbour the web, and one call."""

from __future__ import annotations

import enum
import os
import threading
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from agents import Tool, ToolContext, ToolResult, tool
from agents.execution import MAX_CHARS, clipped, execute, fault, numbered
from agents.policy import decide
from agents.schema import normal, problems
from agents.tooling import as_tool, from_schema
from agents.tools.calculator import calculate, shown
from agents.tools.files import file_tools
from agents.types import Call
from rag.citations import Passage
from rag.errors import UsageError
from rag.types import Hit

CONTEXT = ToolContext()


class Colour(enum.Enum):
    GREEN = "green"
    BLACK = "black"


class Leaf(BaseModel):
    name: str
    grams: int = 5


@tool(effect="read")
def brew(
    leaf: Leaf, colour: Colour, kind: Literal["pot", "cup"] = "pot", minutes: list[float] | None = None
) -> dict[str, object]:
    """Brew a tea.

    Longer words that are not for the model.

    leaf: which one
    minutes: of each infusion,
        in order
    """
    return {"leaf": leaf.name, "colour": colour.name, "kind": kind, "minutes": minutes}


def test_a_function_becomes_a_schema() -> None:
    assert brew.name == "brew" and brew.description == "Brew a tea."
    properties = brew.parameters["properties"]
    assert properties["leaf"]["properties"]["grams"] == {"default": 5, "type": "integer"}
    assert properties["leaf"]["description"] == "which one" and properties["colour"]["enum"] == ["green", "black"]
    assert properties["minutes"]["description"] == "of each infusion, in order"
    assert brew.parameters["required"] == ["leaf", "colour"] and "$defs" not in brew.parameters
    assert brew.signature.startswith("brew(leaf: object, colour: ")


def test_arguments_become_python_values() -> None:
    args = {"leaf": {"name": "keemun"}, "colour": "black", "minutes": [1, 2.5]}
    assert brew.problems(args) == []
    assert brew.run(args, CONTEXT) == {"leaf": "keemun", "colour": "BLACK", "kind": "pot", "minutes": [1.0, 2.5]}
    assert brew(Leaf(name="x"), Colour.GREEN)["leaf"] == "x", "the function can still be called as it is"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"colour": "black"}, "'leaf' is missing (object: which one)"),
        ({"leaf": {"name": 3}, "colour": "black"}, "'leaf.name' must be text, not 3"),
        ({"leaf": {"name": "x", "grams": 2.5}, "colour": "black"}, "'leaf.grams' must be a whole number, not 2.5"),
        ({"leaf": {"name": "x"}, "colour": "blak"}, "Did you mean 'black'?"),
        ({"leaf": {"name": "x"}, "colour": "black", "minuts": [1]}, "Did you mean 'minutes'?"),
        ({"leaf": {"name": "x"}, "colour": "black", "minutes": ["1"]}, "'minutes' must be list of number, or null"),
        (["leaf"], "must be a JSON object"),
    ],
)
def test_wrong_arguments_are_told_in_words(args: object, message: str) -> None:
    assert any(message in one for one in brew.problems(args)), brew.problems(args)


def test_schemas_of_other_languages() -> None:
    made = normal(
        {"type": "dict", "properties": {"a": {"type": "float"}, "b": {"type": "tuple", "items": {"type": "any"}}}}
    )
    assert made["properties"] == {"a": {"type": "number"}, "b": {"type": "array", "items": {}}}
    assert problems(made, {"a": 1, "b": [1, "x"]}) == [] and problems(made, {"a": "1"})
    with pytest.raises(UsageError, match="into itself"):
        normal({"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"items": {"$ref": "#/$defs/A"}}}})


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=5), one, max_size=3), max_leaves=8))  # fmt: skip
def test_the_check_never_raises(value: object) -> None:
    assert isinstance(brew.problems(value), list)
    assert isinstance(brew.problems({"leaf": value, "colour": value}), list)


def test_what_cannot_be_a_tool() -> None:
    with pytest.raises(UsageError, match="each have a name"):
        tool(lambda *args: 1)
    with pytest.raises(UsageError, match="no JSON form"):

        @tool
        def bad(lock: threading.Lock) -> None: ...

    with pytest.raises(UsageError, match="must be a function"):
        as_tool("search")
    with pytest.raises(UsageError, match="letters"):
        brew.renamed("a b")
    assert as_tool(clipped).effect == "write", "what is not said to be harmless is not"


# ---------------------------------------------------------------- one call


def test_a_call_is_checked_before_it_runs() -> None:
    tools = {"brew": brew}
    assert fault(tools, Call(tool="brew", args={"leaf": {"name": "x"}, "colour": "green"})) is None
    unknown = fault(tools, Call(tool="brew_tea"))
    assert unknown is not None and unknown.code == "unknown_tool" and "Did you mean brew?" in unknown.text
    raw = fault(tools, Call(tool="brew", raw='{"leaf": '))
    assert raw is not None and raw.code == "arguments" and "no JSON object" in raw.text
    long = fault({"f": _texts()}, Call(tool="f", args={"text": "x" * 60_000}))
    assert long is not None and "longer than" in long.text


def _texts() -> Tool:
    return from_schema(
        "f", "", {"properties": {"text": {"type": "string"}}}, lambda args, _: args["text"], effect="read"
    )


def test_results_become_observations() -> None:
    def run(result: object, **options: object) -> object:
        return execute(from_schema("f", "", {}, lambda _args, _context: result, **options), {}, CONTEXT)  # type: ignore[arg-type]

    assert run("text").text == "text" and run("text").tainted  # type: ignore[attr-defined]
    assert not run(3).tainted and not run(None).tainted and not run("x", untrusted=False).tainted  # type: ignore[attr-defined]
    assert run({"a": "茶"}).text == '{"a": "茶"}'  # type: ignore[attr-defined]
    assert len(run("x" * 10_000_000).text) < MAX_CHARS + 100  # type: ignore[attr-defined]
    assert not run(ToolResult(text="no", ok=False, code="refused")).ok  # type: ignore[attr-defined]


def test_a_tool_that_hangs_is_left_behind() -> None:
    release = threading.Event()
    hangs = from_schema("hangs", "", {}, lambda _args, _context: release.wait(30), timeout_s=0.05)
    seen = execute(hangs, {}, CONTEXT)
    release.set()
    assert seen.code == "timeout" and not seen.ok


def test_a_tool_that_raises() -> None:
    def run(_args: object, _context: object) -> None:
        raise KeyboardInterrupt("even this")

    seen = execute(from_schema("f", "", {}, run), {}, CONTEXT)
    assert seen.code == "failed" and "even this" in seen.text and seen.tainted


def test_passages_keep_their_numbers() -> None:
    def passage(text: str) -> Passage:
        hit = Hit(rank=1, chunk_id=text, doc_id="d", source="s", title="t", score=1, text=text, start=0, end=len(text))
        return Passage(number=1, hit=hit, start=0, text=text)

    shown_first, new = numbered([passage("a"), passage("b")], [])
    assert [one.number for one in shown_first] == [1, 2]
    shown_next, more = numbered([passage("b"), passage("c")], new)
    assert [one.number for one in shown_next] == [2, 3] and [one.text for one in more] == ["c"]


def test_clipping_keeps_both_ends() -> None:
    text = clipped("a" * 1000 + "b" * 1000, 100)
    assert text.startswith("a") and text.endswith("b") and "1,900 characters left out" in text


# ---------------------------------------------------------------- what may happen after taint


def test_policy() -> None:
    send = from_schema("send", "", {}, lambda _a, _c: "", effect="write")
    page = from_schema("fetch_page", "", {}, lambda _a, _c: "", effect="fetch")
    look = from_schema("look", "", {}, lambda _a, _c: "", effect="read")
    assert decide(send, {"to": "a"}, taint=[]).verdict == "run"
    assert decide(look, {}, taint=["mail"]).verdict == "run"
    asked = decide(send, {"to": "a"}, taint=["mail"])
    assert asked.verdict == "ask" and "mail" in asked.reason
    planned = [Call(tool="send", args={"to": "a"})]
    assert decide(send, {"to": "a"}, taint=["mail"], planned=planned).verdict == "run"
    assert decide(send, {"to": "b"}, taint=["mail"], planned=planned).verdict == "ask", "the exact call alone"
    assert decide(page, {"url": "https://a.org/x"}, taint=["mail"], task="Read https://a.org/x.").verdict == "run"
    assert decide(page, {"url": "https://a.org/y"}, taint=["mail"], task="Read https://a.org/x.").verdict == "ask"
    assert decide(page, {"url": "https://a.org/?" + "x" * 201}, taint=["mail"]).verdict == "deny"


# ---------------------------------------------------------------- calculator


@pytest.mark.parametrize(
    ("expression", "value"),
    [("1792 - 1759", "33"), ("(2+3)*4/5", "4"), ("2^10", "1024"), ("15% * 80", "12"), ("7 % 3", "1"), ("1,250 * 2", "2500"),
     ("0.1 + 0.2", "0.3"), ("sqrt(2)", "1.41421356237"), ("44 ÷ 15", "2.93333333333"), ("max(3, 1, 2)", "3"), ("-3 ** 2", "-9"),
     ("（357 × 12）", "4284"), ("10**30", str(10**30)), ("pi", "3.14159265359"), ("106.5 =", "106.5")],
)  # fmt: skip
def test_calculator(expression: str, value: str) -> None:
    assert shown(calculate(expression)) == value


@pytest.mark.parametrize(
    "expression",
    ["", "1 +", "__import__('os')", "(1).__class__", "lambda: 1", "[1][0]", "9**9**9", "1/0", "x + 1", "open('a')", "'a' * 3",
     "factorial(9999999)", "(-8) ** 0.5", "1e308 * 10", "10 ** 100000", "1+" * 300, "sqrt(1, 2)", "True + 1"],
)  # fmt: skip
def test_calculator_refuses(expression: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        calculate(expression)


# ---------------------------------------------------------------- files

BAD_NAMES = [
    "../secret.txt", "a/../../secret.txt", "/etc/passwd", "~/secret.txt", "link/secret.txt", "link.txt", ".hidden", "a/.git/config",
    "..", ".", "", "   ", "C:\\secret.txt", "a\\b", "a\0b", "a\nb", "x" * 300, "a/" * 600 + "b", "file:///etc/passwd", "./.././secret.txt",
    "%2e%2e/secret.txt", "..%2fsecret.txt", "．．/secret.txt", "a/..", "//etc/passwd", "hard.txt", "pipe", "folder", "dead", "loop",
    "\ud800", "a/b/../../../secret.txt", "....//secret.txt", "..;/secret.txt", "link/../secret.txt", "/proc/self/environ", "/dev/null",
    "con:", "nothing.txt", "folder/nothing.txt", "\u202e../secret.txt",
]  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("CANARY")
    (root / "good.txt").write_text("good")
    (root / "folder" / "茶.txt").write_text("tea")
    (root / ".hidden").write_text("CANARY")
    (root / "link").symlink_to(tmp_path)
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "dead").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    os.link(tmp_path / "secret.txt", root / "hard.txt")
    os.mkfifo(root / "pipe")
    return root


def test_no_name_leads_out_of_the_workspace(workspace: Path) -> None:
    _, read, write = file_tools(workspace)
    assert len(BAD_NAMES) >= 40
    for name in BAD_NAMES:
        result = read.run({"name": name}, CONTEXT)
        assert not result.ok and "CANARY" not in result.text, name
    before = {path: path.read_bytes() for path in workspace.parent.glob("*.txt")}
    for name in (*BAD_NAMES[:28], *BAD_NAMES[30:38], "hard.txt"):
        write.run({"name": name, "content": "written"}, CONTEXT)
    assert {path: path.read_bytes() for path in workspace.parent.glob("*.txt")} == before
    assert not (workspace.parent / "made").exists() and (workspace / ".hidden").read_text() == "CANARY"


def test_files_are_listed_read_and_written(workspace: Path) -> None:
    listed, read, write = file_tools(workspace)
    assert write.run({"name": "notes/a.txt", "content": "one"}, CONTEXT).ok
    assert write.run({"name": "notes/a.txt", "content": " two", "append": True}, CONTEXT).ok
    assert read.run({"name": "notes/a.txt"}, CONTEXT).text == "one two"
    assert read.run({"name": "folder/茶.txt"}, CONTEXT).text == "tea"
    assert listed.run({}, CONTEXT).text.splitlines() == ["folder/茶.txt", "good.txt", "hard.txt", "notes/a.txt"]
    assert write.effect == "write" and read.effect == listed.effect == "read"
