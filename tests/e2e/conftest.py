"""A page test that fails says what was on the screen."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.page_server import on_screen


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:  # fmt: skip
    report = yield
    if report.failed and (shown := on_screen()):
        report.sections.append(("on the screen", shown))
    return report
