"""What the evaluation page shows of answers: failures and broken citations in columns of their own, abstention told apart."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from eval.answers import Given, evaluate_answers
from eval.dataset import Dataset
from rag.errors import StoreError
from ui.web.evaluation_answers import abstention, quality, shown_metrics
from ui.web.words import word

VIEW: Any = SimpleNamespace(word=lambda key: word(key, "en"))


def ask(_system: str, question: str) -> Given:
    if question == "down":
        raise StoreError("Milvus is away.")
    if question == "unknown":
        return Given(text="The documents do not say.", abstained=True)
    return Given(text="It is red [1].", passages={1: "It is red."}, n_broken=1)


def test_failures_and_broken_citations_stand_apart() -> None:
    dataset = Dataset(
        name="d", questions={"a": "red?", "b": "down"}, answers={"a": ("red",)}, unanswerable={"c": "unknown"}, qrels={}
    )
    tree = evaluate_answers(dataset, ["hybrid"], ask=ask).to_dict()
    assert shown_metrics(tree)[:3] == ["citation-precision", "citation-recall", "groundedness"]
    (row,) = quality(VIEW, tree)
    assert row["Failed"] == "1" and row["Broken citations"] == "1"
    assert row["Citations that bear out"].startswith("0.500"), "what failed counts 0"
    (declined,) = abstention(VIEW, tree)
    assert (declined["Rightly"], declined["Wrongly"], declined["Precision"], declined["Recall"]) == (
        "1",
        "0",
        "1.000",
        "1.000",
    )
