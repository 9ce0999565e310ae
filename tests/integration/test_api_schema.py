"""What the API says of itself holds: schemathesis makes requests from its description, fitting and not, and checks the answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.openapi.checks import RejectedPositiveData

from rag.knowledge_base import KnowledgeBase
from rag.types import Document
from tests.api_server import Api, running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any) -> Iterator[tuple[Api, str]]:
    with KnowledgeBase.open(tmp_path_factory.mktemp("schema"), settings=tiny_settings) as kb:
        kb.ingest([Document("Oolong is brewed at 90 degrees.", doc_id="tea")])
        with running(kb, worker=False) as api:
            yield api, api.key("tester", scopes=["read", "ingest", "admin"])


def _is_grammar(label: str, error: Any) -> bool:
    """Whether a fitting request was refused for what a schema cannot say: a filter's grammar, a conversation's order."""
    return isinstance(error, RejectedPositiveData) and label.startswith("POST /v1/")


def test_the_description_holds(guarded: tuple[Api, str]) -> None:
    api, secret = guarded
    headers = {"Authorization": f"Bearer {secret}"}
    described = schemathesis.openapi.from_url(f"{api.url}/openapi.json", headers=headers)
    wrong: list[str] = []
    n_operations = 0
    for found in described.get_all_operations():
        operation = found.ok()
        n_operations += 1
        for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(max_examples=5, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            def holds(case: Any) -> None:
                case.call_and_validate(headers=headers)

            try:
                holds()
            except Unsatisfiable:
                continue  # a route without parameters cannot be asked wrongly
            except (Exception, FailureGroup) as error:
                failures = getattr(error, "exceptions", [error])
                wrong += [
                    f"{operation.label} ({mode.value}): {one!r}"
                    for one in failures
                    if not _is_grammar(operation.label, one)
                ]
    assert not wrong, "\n\n".join(wrong)
    assert n_operations >= 14
