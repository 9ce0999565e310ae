"""The price of enrichment: as many calls as the import makes, of the model's own tokens and seconds, and none asked twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from rag import enrich
from rag.errors import ChatError
from rag.rehearsal import SAMPLE_CALLS, Rehearsal
from rag.reply_cache import ReplyCache
from rag.settings import Settings
from rag.types import ChatDelta, Usage
from tests.unit.test_enrich import PARSED, Embedding, chunks

ALL = {"context": True, "questions": 2, "summaries": "tree", "summarise": "chat", "group": 3}


class Model:
    """Answers each task in its own form; a call takes as many tokens as its prompt has characters, and 10."""

    name = "m"

    def __init__(self, *, fails: bool = False) -> None:
        self.n_calls, self.n_chars, self.fails = 0, 0, fails

    def stream(self, messages: Sequence[Any], **options: Any) -> Iterator[ChatDelta]:
        if self.fails:
            raise ChatError("E_LLM_DOWN", "The model is away.")
        self.n_calls += 1
        n_chars = sum(len(one.content) for one in messages)
        self.n_chars += n_chars
        (key,) = options["json_schema"]["properties"]
        yield ChatDelta(text=f'{{"{key}": ["Of lanterns and kettles."]}}')
        yield ChatDelta(done=True, finish_reason="stop", usage=Usage(n_prompt_tokens=n_chars, n_answer_tokens=10))

    def close(self) -> None: ...


def settings(**options: Any) -> Settings:
    return Settings().with_values(**{f"enrich__{name}": value for name, value in options.items()}, chunk__size=100)


def rehearse(model: Any, cache: ReplyCache, **options: Any) -> Rehearsal:
    made = settings(**options)
    rehearsal = Rehearsal(model, made.enrich, cache)
    found: Sequence[Any] = chunks()
    for step in enrich.steps(made, Embedding(), rehearsal, embed=None):
        found = step(PARSED, found)
    return rehearsal


def enriched(model: Any, cache: ReplyCache, **options: Any) -> None:
    found: Sequence[Any] = chunks()
    for step in enrich.enrichers(settings(**options), model, Embedding(), cache=cache):
        found = step(PARSED, found)


@pytest.mark.parametrize(
    "wanted", [{"context": True}, {"questions": 1}, ALL, {"summaries": "sections", "summarise": "chat"}]
)
def test_what_is_told_is_what_the_import_asks(tmp_path: Path, wanted: dict[str, Any]) -> None:
    model, cache = Model(), ReplyCache(tmp_path / "replies")
    ticks = count()
    price = rehearse(model, cache, **wanted).price(clock=lambda: float(next(ticks)))
    sampled, chars = model.n_calls, model.n_chars
    assert 2 <= sampled <= SAMPLE_CALLS + 2
    enriched(model, cache, **wanted)
    assert price.n_calls == pytest.approx(model.n_calls - sampled, abs=1)  # a summary of summaries is another's text
    assert price.n_prompt_tokens == pytest.approx(model.n_chars - chars, rel=0.15)
    assert price.n_answer_tokens == 10 * price.n_calls
    assert price.seconds == price.n_calls  # a second each, by that clock
    again = rehearse(model, cache, **wanted).price()
    assert again.n_calls <= 1


def test_a_model_whose_tokens_cost_money_is_not_asked(tmp_path: Path) -> None:
    model = Model()
    price = rehearse(
        model,
        ReplyCache(tmp_path / "replies"),
        questions=1,
        usd_per_million_prompt_tokens=1,
        usd_per_million_answer_tokens=10,
    ).price()
    assert model.n_calls == 0 and price.seconds is None
    assert price.n_calls == len(chunks())
    assert price.usd == pytest.approx((price.n_prompt_tokens + 10 * price.n_answer_tokens) / 1e6, abs=1e-4)


def test_calls_end_where_the_import_ends_them(tmp_path: Path) -> None:
    options = {"questions": 1, "max_calls": 4, "usd_per_million_prompt_tokens": 1}
    assert rehearse(Model(), ReplyCache(tmp_path / "replies"), **options).price().n_calls == 4


def test_without_enrichment_by_a_model_there_is_no_price(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "replies")
    assert rehearse(None, cache, keywords=5, summaries="tree").price() == enrich.Price(seconds=0.0)


def test_a_model_that_fails_leaves_the_time_unknown(tmp_path: Path) -> None:
    price = rehearse(Model(fails=True), ReplyCache(tmp_path / "replies"), questions=1).price()
    assert price.seconds is None and price.n_calls == len(chunks()) and price.n_prompt_tokens > 0
