"""What all page tests share: a browser for each module, and a report of what was on the screen when one fails."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.page_server import browsing, on_screen


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as one:
        yield one


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:  # fmt: skip
    report = yield
    if report.failed and (shown := on_screen()):
        report.sections.append(("on the screen", shown))
    return report
