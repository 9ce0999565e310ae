"""Rerankers: they read a question and a passage together. Which one to open, and the three that need no weights here.

A cross-encoder on this machine lives in `cross_encoder.py`, the home of that part of sentence-transformers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag import prompts
from rag.chat import OpenAIChat
from rag.errors import ChatError, ModelError
from rag.fusion import MOST_SCORE
from rag.reply_cache import CachedReranker, ReplyCache, complete_as
from rag.settings import SENTENCES, LlmSettings, RerankSettings
from rag.text import language, sentences, words
from rag.types import ChatModel, Reranker

if TYPE_CHECKING:
    from collections.abc import Callable

    from rag.settings import Settings

CHAT = "chat"
MOST_LISTED = 20  # passages that a chat model orders in one call
LISTED_CHARS = 500  # of each of them


def open_reranker(
    settings: Settings,
    chat: Callable[[], ChatModel | None],
    notify: Callable[[str], None] | None = None,
    cache: ReplyCache | None = None,
) -> Reranker | None:
    """The reranker that `rerank.model` names: a model at `rerank.base_url`, sentences, chat, else a cross-encoder; None for "".

    cache: keeps the scores of those that score each passage by itself.
    Raises: ModelError when the model cannot be had.
    """
    chosen = settings.rerank
    if not chosen.model:
        return None
    if chosen.base_url:
        return _cached(EndpointReranker(chosen), cache, f"{chosen.base_url} {chosen.model}")
    if chosen.model == SENTENCES:
        return SentenceReranker()
    if chosen.model == CHAT:
        model = chat()
        if model is None:
            raise ModelError('rerank.model = "chat" needs a chat model. Set [llm], or name a cross-encoder.')
        return ChatReranker(model, chosen.deadline_s)
    from rag.cross_encoder import CrossEncoderReranker
    from rag.models import models_dir, resolve

    if notify:
        notify(f"loading the reranker {chosen.model}")
    folder = resolve(chosen.model, "rerank", models_dir(settings.models.dir))
    encoder = CrossEncoderReranker(str(folder), name=chosen.model, batch_size=chosen.batch_size, threads=chosen.threads)
    return _cached(encoder, cache, f"{folder} {_state(Path(folder))}")


class MissingReranker:
    """Stands for a reranker that cannot be had: a search goes on without it and says so."""

    def __init__(self, name: str, error: Exception) -> None:
        self.name, self._error = name, error

    def scores(self, question: str, passages: Sequence[str]) -> list[float]:
        raise ModelError(str(self._error)) from self._error


def _cached(reranker: Reranker, cache: ReplyCache | None, identity: str) -> Reranker:
    return CachedReranker(reranker, cache, identity) if cache else reranker


def _state(folder: Path) -> list[tuple[str, int, int]]:
    """Differs when a file of a model changed; empty for a hub name."""
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    return [(one.name, one.stat().st_size, one.stat().st_mtime_ns) for one in files if one.is_file()]


class SentenceReranker:
    """Scores a passage by the one sentence of it that holds most of the question: an answer stands in one place.

    Words weigh the more, the fewer of the passages hold them (BM25's inverse document frequency). Costs about 0.2 ms for
    a passage it has not seen. As weak as it is simple: it is mixed with the scores that the passages came with.
    """

    name = SENTENCES

    def scores(self, question: str, passages: Sequence[str]) -> list[float]:
        """The share of the question that the best sentence of each passage holds, 0 to 1."""
        held = [_sentence_words(passage) for passage in passages]
        asked = set(words(question))
        n_with = Counter(word for one in held for word in asked & frozenset().union(*one))
        weights = {
            word: math.log(1 + (len(held) - n_with[word] + 0.5) / (n_with[word] + 0.5)) for word in sorted(asked)
        }
        whole = sum(weights.values()) or 1.0
        return [
            max((sum(weight for word, weight in weights.items() if word in one) for one in of_one), default=0.0) / whole
            for of_one in held
        ]


@lru_cache(maxsize=2000)
def _sentence_words(passage: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(words(passage[start:end])) for start, end in sentences(passage))


class EndpointReranker:
    """A reranker behind `POST {base_url}/rerank`, as vLLM, text-embeddings-inference, Jina and Cohere offer it."""

    def __init__(self, settings: RerankSettings) -> None:
        self.name = settings.model
        self._endpoint = OpenAIChat(
            LlmSettings(
                model=settings.model,
                base_url=settings.base_url,
                api_key=settings.api_key,
                deadline_s=settings.deadline_s,
            )
        )

    def scores(self, question: str, passages: Sequence[str]) -> list[float]:
        """Raises: ChatError, also for a reply that does not score each passage once."""
        body = {"model": self.name, "query": question, "documents": list(passages), "top_n": len(passages)}
        return _scores_of(self._endpoint.post_json("/rerank", body), len(passages))


def _scores_of(reply: Any, n: int) -> list[float]:
    results = reply.get("results", reply.get("data")) if isinstance(reply, dict) else reply
    scores: dict[int, float] = {}
    for one in results if isinstance(results, list) else ():
        index = one.get("index") if isinstance(one, dict) else None
        score = one.get("relevance_score", one.get("score")) if isinstance(one, dict) else None
        if type(index) is int and isinstance(score, (int, float)) and score is not True and abs(score) <= MOST_SCORE:
            if index in scores and scores[index] != score:
                scores.clear()  # it says two things of one passage
                break
            scores[index] = float(score)
    if scores.keys() != set(range(n)):
        raise ChatError(
            "E_LLM_PROTOCOL",
            f"The rerank endpoint was asked to score each of {n} passages and gave {len(scores)} usable scores. Check "
            "rerank.base_url and rerank.model.",
        )
    return [scores[index] for index in range(n)]


class ChatReranker:
    """A chat model that orders passages, all in one call (listwise).

    Source: Sun et al., EMNLP 2023, arXiv:2304.09542.
    """

    most = MOST_LISTED

    def __init__(self, chat: ChatModel, deadline_s: float) -> None:
        self.name = f"chat:{chat.name}"
        self._chat, self._deadline_s = chat, deadline_s

    def scores(self, question: str, passages: Sequence[str]) -> list[float]:
        """Minus the rank that the model gives; what it leaves out follows in the old order. Raises: ChatError."""
        shown = [text[:LISTED_CHARS] for text in passages[:MOST_LISTED]]
        order = complete_as(
            self._chat, prompts.order_messages(question, shown, language(question)), partial(prompts.order_reply, n=len(shown)),
            max_tokens=8 * len(shown) + 32, json_schema=prompts.ORDER_SCHEMA, deadline_s=self._deadline_s,
        )  # fmt: skip
        if not order:
            raise ChatError("E_LLM_PROTOCOL", f"The chat model {self._chat.name} gave no order of the passages.")
        ranks = {number: rank for rank, number in enumerate(order)}
        return [-float(ranks.get(number, len(order) + number)) for number in range(1, len(passages) + 1)]
