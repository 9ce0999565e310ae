"""How surprised a causal language model is by a reference answer, after the passages that a system read. Needs transformers' models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rag.errors import ModelError
from rag.text import language

MOST_PASSAGES = 3
_PROMPT = {"en": "{passages}\n\nQuestion: {question}\nAnswer: ", "zh": "{passages}\n\n问题：{question}\n答案："}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question with its reference answer and what a system read for it."""

    question: str
    reference: str
    passages: tuple[str, ...] = ()


class LanguageModel:
    """A causal model by folder or hub name, in safetensors; runs on the CPU. Raises: ModelError when it cannot be had."""

    def __init__(self, name: str) -> None:
        try:
            import torch
            import transformers

            self._torch = torch
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(name)
            loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(name, use_safetensors=True)
            self._model = loaded.eval()
        except (OSError, ValueError, ImportError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(
                f"The language model {name!r} cannot be loaded ({first}). Give a folder or hub name of a causal model with safetensors."
            ) from error
        self.name = name
        self._most_tokens = int(getattr(self._model.config, "max_position_embeddings", 1024) or 1024)

    def surprise(self, prompt: str, text: str) -> tuple[float, int]:
        """(sum of -ln p of the text's tokens after the prompt, number of tokens). A prompt that is too long loses its start."""
        torch = self._torch
        said: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        before: list[int] = self._tokenizer(prompt)["input_ids"]
        said = said[: self._most_tokens - 1]
        before = before[-(self._most_tokens - len(said)) :]
        if not said or not before:
            return 0.0, 0
        with torch.no_grad():
            logits = self._model(torch.tensor([before + said])).logits[0, len(before) - 1 : -1]
        chosen = torch.log_softmax(logits.float(), dim=-1)[torch.arange(len(said)), torch.tensor(said)]
        return -float(chosen.sum()), len(said)


def prompt_of(asked: Asked) -> str:
    """What stands before the reference: the first passages and the question."""
    passages = "\n".join(asked.passages[:MOST_PASSAGES])
    return _PROMPT[language(asked.question)].format(passages=passages, question=asked.question).lstrip()


def perplexity(rows: Mapping[str, Asked], *, model: LanguageModel) -> dict[str, float]:
    """Over all tokens of the references: exp of the mean surprise; 0.0 when there is none. n: references, n_tokens."""
    found: Sequence[tuple[float, int]] = [model.surprise(prompt_of(row), row.reference) for row in rows.values()]
    n_tokens = sum(n for _, n in found)
    mean = sum(total for total, _ in found) / n_tokens if n_tokens else 0.0
    return {"perplexity": math.exp(min(mean, 700.0)) if n_tokens else 0.0, "n": len(rows), "n_tokens": n_tokens}
