"""A cross-encoder on this machine: the home of sentence-transformers' CrossEncoder."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from rag.errors import ModelError
from rag.fusion import checked_scores


class CrossEncoderReranker:
    """Any sequence-classification model with one output, by folder or hub name. Loaded when it is first needed.

    Threads may share it: calls take turns. threads: of torch; 0 leaves torch's own choice.
    """

    def __init__(self, model: str, *, name: str = "", batch_size: int = 16, threads: int = 0) -> None:
        self.name = name or model
        self._model, self._batch_size, self._threads = model, batch_size, threads
        self._turn = threading.Lock()
        self._encoder: Any = None

    def scores(self, question: str, passages: Sequence[str]) -> list[float]:
        """The model's logit for each passage. Texts beyond its input limit are cut at the end. Raises: ModelError."""
        return self.pair_scores([(question, passage) for passage in passages])

    def pair_scores(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The logit of each pair of a question and a passage, in one call of the model. Raises: ModelError."""
        if not pairs:
            return []
        with self._turn:
            encoder = self._load()
            # Sorted by length, so that short passages are not padded to the longest.
            order = sorted(range(len(pairs)), key=lambda at: sum(map(len, pairs[at])))
            try:
                found = encoder.predict(
                    [pairs[at] for at in order], batch_size=self._batch_size, show_progress_bar=False, **_raw_logits()
                )
            except Exception as error:  # whatever a model's own code raises
                raise ModelError(f"The reranker {self.name} failed ({_first_line(error)}).") from error
        scores = [0.0] * len(pairs)
        for at, score in zip(order, found, strict=True):
            scores[at] = float(score)
        return checked_scores(scores, len(pairs))

    def _load(self) -> Any:
        if self._encoder is not None:
            return self._encoder
        import torch
        from sentence_transformers import CrossEncoder

        if self._threads:
            torch.set_num_threads(self._threads)
        try:
            encoder = CrossEncoder(self._model, trust_remote_code=False)
        except Exception as error:  # damaged weights raise safetensors' own, a wrong tokenizer transformers' own
            raise ModelError(
                f"The reranker {self.name} cannot be loaded ({_first_line(error)}). Name a folder or hub name of a cross-encoder, or "
                "leave rerank.model empty."
            ) from error
        if getattr(encoder, "num_labels", 1) != 1:
            raise ModelError(f"The reranker {self.name} has {encoder.num_labels} outputs; a reranker has one.")
        kind = (getattr(encoder.config, "architectures", None) or [""])[0]
        if not _is_reranker(kind):
            raise ModelError(
                f"{self.name} is no cross-encoder (its config names {kind or 'no architecture'}): it would order passages at random. "
                "Name a model that was trained to score pairs, such as BAAI/bge-reranker-v2-m3."
            )
        self._encoder = encoder
        return encoder


def _is_reranker(architecture: str) -> bool:
    """Whether a model of this kind comes with a head of its own; another gets one at random when it is loaded."""
    return "ForSequenceClassification" in architecture or "ForCausalLM" in architecture


def _raw_logits() -> dict[str, Any]:
    """Scores as the model computes them: a sigmoid would press the best ones together."""
    from torch.nn import Identity

    return {"activation_fn": Identity()}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
