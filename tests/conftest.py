"""Fixtures that all tests share: the data beside the checkout, fresh homes, and real parts kept open for a whole run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples on every run, so that a red test is about the change; HYPOTHESIS_PROFILE=default looks further.
settings.register_profile("fixed", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
for _name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "RAGSTONE_HOME", "MILVUS_URI"):
    os.environ.pop(_name, None)
for _name in [name for name in os.environ if name.startswith("RAGSTONE__")]:
    os.environ.pop(_name)

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repo() -> Path:
    return REPO


@pytest.fixture(scope="session")
def shared() -> Path:
    """The evaluation data that developers have beside the checkout. Tests that need it skip elsewhere."""
    folder = REPO.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("the evaluation data (../shared/data) is not here")
    return folder


@pytest.fixture(scope="session")
def embedder():  # type: ignore[no-untyped-def]
    """The default embedding model, opened once."""
    from rag.embedding import open_embedder
    from rag.errors import ModelError
    from rag.settings import Settings

    settings = Settings()
    try:
        return open_embedder(settings.embedding, settings.models)
    except ModelError as error:
        pytest.skip(f"the embedding model is not installed: {error}")


@pytest.fixture
def kb(tmp_path: Path, embedder) -> Iterator:  # type: ignore[no-untyped-def, type-arg]
    """An empty knowledge base on the embedded Milvus, with the default embedder already open."""
    from rag.knowledge_base import KnowledgeBase
    from rag.settings import Settings

    with KnowledgeBase.open(tmp_path / "home", settings=Settings().with_values(llm__model="none")) as opened:
        opened._embedder = embedder
        yield opened


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random embedding model in a folder."""
    from tests.tiny_model import build

    return build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_settings(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Settings that use the tiny model and no chat model; what it exports stays in a folder of the test run."""
    from rag.settings import Settings

    models = tmp_path_factory.mktemp("models")
    return Settings().with_values(
        embedding__model=str(tiny_model),
        embedding__backend="openvino-fp32",
        models__dir=str(models),
        llm__model="none",
        chunk__size=64,
        chunk__overlap=8,
    )


@pytest.fixture(scope="session")
def other_settings(tiny_settings, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """The same with another tiny model: another size of vectors, and it reads less."""
    from tests.tiny_model import build

    folder = build(tmp_path_factory.mktemp("other"), dim=48, max_tokens=96)
    return tiny_settings.with_values(embedding__model=str(folder))


@pytest.fixture
def tiny_kb(tmp_path: Path, tiny_settings) -> Iterator:  # type: ignore[no-untyped-def, type-arg]
    """An empty knowledge base on the embedded Milvus with the tiny model."""
    from rag.knowledge_base import KnowledgeBase

    with KnowledgeBase.open(tmp_path / "home", settings=tiny_settings) as opened:
        yield opened


@pytest.fixture(scope="session")
def postgres() -> Iterator:  # type: ignore[type-arg]
    """A PostgreSQL server; `postgres.database()` gives the URL of an empty database."""
    from tests.postgres_server import running

    with running() as server:
        yield server
