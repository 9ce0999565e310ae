"""The house: which way imports point, which file is a library's home, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ORDER = ["rag", "graph", "agents", "eval", "ui"]  # each may import the ones before it

HOMES = {
    "pymilvus": {"rag/store.py"},
    "openai": {"rag/chat.py"},
    "xllamacpp": {"rag/local_chat.py"},
    "sqlalchemy": {
        "rag/database.py",
        "rag/tables.py",
        "rag/catalog.py",
        "rag/accounts.py",
        "rag/jobs.py",
        "rag/threads.py",
        "rag/users.py",
    },
    "fastapi": {"ui/api/app.py", "ui/api/model_app.py", "ui/api/sandbox_app.py"},
    "starlette": {
        "ui/api/app.py",
        "ui/api/event_stream.py",
        "ui/api/model_app.py",
        "ui/web/door.py",
        "ui/web/assets.py",
        "ui/web/soon.py",
    },
    "opentelemetry": {"ui/api/server.py"},
    "uvicorn": {"ui/api/server.py", "ui/web/soon.py"},
    "streamlit": {"ui/web", "ui/front.py"},
    "sentence_transformers": {"rag/embedding.py", "rag/cross_encoder.py", "rag/reranker_training.py"},
    "openvino": {"rag/embedding.py", "graph/lac.py"},
    "torch": {
        "rag/transformers_chat.py",
        "rag/embedding.py",
        "rag/cross_encoder.py",
        "rag/reranker_training.py",
        "eval/perplexity.py",
    },
    "transformers": {"rag/transformers_chat.py", "rag/embedding.py", "eval/perplexity.py"},
    "pypdfium2": {"rag/loaders/pdf.py", "rag/loaders/pdf_notes.py"},
    "pypdf": {"rag/loaders/pdf.py"},
    "msoffcrypto": {"rag/loaders/locked.py"},
    "rapidocr": {"rag/loaders/ocr.py"},
    "cv2": {"rag/loaders/ocr.py"},
    "PIL": {"rag/loaders/image.py"},
    "docx": {"rag/loaders/docx.py"},
    "yaml": {"rag/describing.py"},
    "watchdog": {"rag/watching.py"},
    "olefile": {"rag/loaders/ole.py"},
    "xlrd": {"rag/loaders/xls.py"},
    "ray": {"rag/ray_engine.py"},
    "networkx": {"graph/export.py", "graph/knowledge_graph.py"},
    "scipy": {"graph/walking.py"},
    "spacy": {"graph/english.py"},
    "graspologic_native": {"graph/communities.py"},
    "rank_bm25": {"rag/okapi.py"},
    "bfcl_eval": {"eval/bfcl_tools.py"},
    "langgraph": {"agents/flow.py"},
    "duckdb": {"agents/tools/sql.py"},
    "mcp": {"agents/mcp.py"},
    "jsonschema": {"rag/structured.py"},
    "referencing": {"rag/structured.py"},
}


def at_home(path: Path, homes: set[str]) -> bool:
    """homes: files, or folders whose files all are."""
    return path.as_posix() in homes or path.parent.as_posix() in homes


def files(repo: Path) -> Iterator[Path]:
    for package in ORDER:
        yield from sorted((repo / package).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


def test_imports_point_one_way(repo: Path) -> None:
    wrong = [
        (str(path.relative_to(repo)), name)
        for path in files(repo)
        for name in imported(path)
        if name.split(".")[0] in ORDER
        and ORDER.index(name.split(".")[0]) > ORDER.index(path.relative_to(repo).parts[0])
    ]
    assert wrong == []


def test_no_import_cycles(repo: Path) -> None:
    """Counting imports inside functions, not those for type checking alone."""
    modules = {
        ".".join(path.relative_to(repo).with_suffix("").parts).removesuffix(".__init__"): path for path in files(repo)
    }
    needs = {
        name: {one for one in runtime_imports(path) if one in modules and one != name} for name, path in modules.items()
    }
    left = dict(needs)
    while free := [name for name, wanted in left.items() if not wanted & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}


def runtime_imports(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_nobody_inside_a_package_imports_its_root(repo: Path) -> None:
    wrong = []
    for path in files(repo):
        package = path.relative_to(repo).parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == package and node.level == 0:
                folder = repo / package
                wrong += [
                    (str(path), name.name)
                    for name in node.names
                    if not (folder / f"{name.name}.py").exists() and not (folder / name.name).is_dir()
                ]
    assert wrong == []


def test_each_library_has_one_home(repo: Path) -> None:
    wrong = [
        (str(path.relative_to(repo)), name)
        for path in files(repo)
        for name in imported(path)
        if name.split(".")[0] in HOMES and not at_home(path.relative_to(repo), HOMES[name.split(".")[0]])
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ORDER)
def test_importing_a_package_loads_nothing_heavy(repo: Path, package: str) -> None:
    script = f"import sys, {package}; print([name for name in {sorted([*HOMES, 'numpy', 'pandas', 'jieba', 'lxml', 'networkx', 'langgraph'])} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", script], cwd=repo, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_help_loads_nothing_heavy(repo: Path) -> None:
    script = "import sys; from ui.cli import main; main(['--help']); print([name for name in ('pydantic', 'rich', 'numpy', 'torch') if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", script], cwd=repo, capture_output=True, text=True, check=True)
    assert ended.stdout.strip().endswith("[]")


def test_no_unsafe_loaders(repo: Path) -> None:
    """No pickle and its relatives, no eval or exec, no yaml.load: data files must not be able to run code."""
    wrong = []
    for path in files(repo):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name in (
                "eval",
                "exec",
                "yaml.load",
                "torch.load",
                "pickle.load",
                "pickle.loads",
                "joblib.load",
                "marshal.load",
                "marshal.loads",
            ):
                wrong.append((str(path), name))
            if (
                isinstance(node, ast.keyword)
                and node.arg in ("allow_pickle", "trust_remote_code")
                and not (isinstance(node.value, ast.Constant) and node.value.value is False)
            ):
                wrong.append((str(path), node.arg))
    assert wrong == []
