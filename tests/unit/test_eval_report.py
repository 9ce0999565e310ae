"""Reports: the same bytes for the same data, nothing fetched from elsewhere, foreign text kept harmless."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from eval.dataset import Dataset
from eval.evaluation import Evaluation, evaluate
from eval.report import html_report, latency_plot, markdown_report
from rag.errors import StoreError

HOSTILE = "<script>alert(1)</script> ![x](http://evil/x.png) | **b** `c`"


def made(systems: list[str], *, hostile: bool = False, fail: bool = False) -> Evaluation:
    dataset = Dataset(
        name=HOSTILE if hostile else "toy",
        questions={f"q{n}": HOSTILE if hostile else f"question {n}" for n in range(30)},
        qrels={f"q{n}": {f"d{n}": 1} for n in range(30)},
        files={"queries": "queries.jsonl"},
        n_documents=30,
    )
    turn = iter(range(10_000))

    def search(system: str, question: str, depth: int) -> list[tuple[str, float]]:
        at, place = divmod(next(turn), 30)
        if fail and place == 3:
            raise StoreError(HOSTILE)
        time.sleep(0.0001 * at)
        wrong = [("x", 3.0)] if place % (at + 2) == 0 else []
        return [*wrong, (f"d{place}", 2.0), ("y", 1.0)]

    return evaluate(dataset, systems, search=search, seed=3, settings={"model": HOSTILE} if hostile else None)


class Strict(HTMLParser):
    """Notes tags and fails on one that is closed wrongly."""

    void = {"meta", "img"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list) -> None:  # type: ignore[type-arg]
        self.seen.add(tag)
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:  # type: ignore[type-arg]
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(page: str) -> Strict:
    parser = Strict()
    parser.feed(page)
    assert parser.open == []
    return parser


def test_the_same_bytes_twice_though_times_differ() -> None:
    one, two = made(["a", "b"]), made(["a", "b"])
    assert one.latency() != two.latency()
    assert html_report(one) == html_report(two)
    assert markdown_report(one) == markdown_report(two)
    assert one.to_dict(timings=False) == two.to_dict(timings=False)


def test_the_page_stands_alone() -> None:
    page = html_report(made(["a", "b", "c"]))
    seen = parsed(page).seen
    assert {"h1", "table", "svg", "figure", "details"} <= seen
    assert not {"script", "link", "iframe"} & seen
    assert re.findall(r'(?:src|href)="([^"]+)"', page) == ["latency.svg"]
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    for title in ("Precision–recall", "Recall by depth", "Latency against quality", "Comparison", "Found by nobody"):
        assert title in page


def test_every_picture_is_well_formed() -> None:
    evaluation = made([f"system {n}" for n in range(11)], hostile=True)
    pictures = re.findall(r"<svg xmlns.*?</svg>", html_report(evaluation, latency="inline"))
    assert len(pictures) == 7
    for picture in [*pictures, latency_plot(evaluation)]:
        ElementTree.fromstring(picture)
        assert "nan" not in picture


def test_foreign_text_stays_text() -> None:
    evaluation = made(["<b>", "x|y"], hostile=True, fail=True)
    page, text = html_report(evaluation), markdown_report(evaluation)
    assert "script" not in parsed(page).seen
    assert "<script" not in text
    assert "![x](" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {3, 4, 5, 6, 7, 8, 9}


@pytest.mark.parametrize("systems", [["only"], ["a", "b"]])
def test_empty_states(systems: list[str]) -> None:
    text = markdown_report(made(systems))
    assert "No search failed." in text
    assert "None was found." in text
    assert "no settings were recorded" in text
    assert ("nothing to compare" in text) == (len(systems) == 1)


def test_failures_are_shown() -> None:
    text = markdown_report(made(["a"], fail=True))
    assert "E\\_STORE" in text
    assert "| a | 1 | **1** |" in text


def test_all_failed_is_still_a_report() -> None:
    dataset = Dataset(name="toy", questions={"q": "?"}, qrels={"q": {"d": 1}})

    def search(*_: object) -> list[tuple[str, float]]:
        raise StoreError("away")

    evaluation = evaluate(dataset, ["a", "b"], search=search)
    assert not re.search(r"\bnan\b", html_report(evaluation, latency="inline"))
    ElementTree.fromstring(latency_plot(evaluation))
