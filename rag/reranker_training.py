"""A cross-encoder of the user's own: trained on questions made from the documents, tried on others before it is kept.

The questions need no model: words of a sentence, to be found in a passage from which that sentence is mostly taken out
(Lee, Chang and Toutanova, ACL 2019, arXiv:1906.00300, the inverse cloze task), and headings. Passages that BM25 and
dense search take for right are the wrong ones. The loop is plain torch: sentence-transformers' trainer would bring two
heavy packages (datasets, accelerate) for what thirty lines do.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rag.errors import ModelError, UsageError
from rag.fusion import Part, ranking, weighted, zscore
from rag.text import is_han, sentences, words
from rag.types import Chunk, DocumentInfo, Hits

HELD_OUT = 0.2  # share of the documents whose questions try the model
MIN_QUESTIONS = 40  # for training; below, nothing is learnt
MOST_TRIED = 120
N_WRONG = 4  # passages beside the right one
DEPTH = 20  # candidates that are reranked when it is tried
KEPT_SENTENCE = 0.1  # how often the sentence stays in its passage: words in common are a sign, too
KEPT_WORD = 0.7
MAX_TOKENS = 192  # of question and passage
GROUPS = 4  # questions in a step
RATE = 5e-5
WEIGHTS = (1.0, 0.5, 0.25)  # of the model against the first ranking, that are tried

Progress = Callable[[int, int, str], None]


class Collection(Protocol):
    """The part of rag.knowledge_base.KnowledgeBase that is needed."""

    def documents(self) -> list[DocumentInfo]: ...
    def chunks(self, doc_id: str) -> list[Chunk]: ...
    def search(self, query: str, **options: Any) -> Hits: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """text is to be found in chunk `right`; `passage` is that chunk's text as the model is shown it."""

    text: str
    doc_id: str
    right: str
    passage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of it. before, after: MRR of the questions held out, without and with the model at `weight`.

    ci: 95 % interval of the gain. kept: it gains for certain, and lies in `folder`; else it was thrown away.
    """

    n_questions: int
    n_tried: int
    n_steps: int
    seconds: float
    before: float
    after: float
    weight: float
    ci: tuple[float, float]
    kept: bool
    folder: str


def train(
    kb: Collection, base: Path | str, folder: Path, *, minutes: float, most: int, seed: int = 0, progress: Progress | None = None
) -> Trained:  # fmt: skip
    """Train a reranker from the encoder `base` on the collection's documents and keep it in `folder` if it gains.

    minutes: of training alone; the passages that are wrong are looked for before, and the trial follows. most: questions.
    Raises: UsageError for too few documents; ModelError when the encoder cannot be loaded.
    """
    rng = random.Random(seed)  # noqa: S311
    tell = progress or (lambda done, total, what: None)
    made = list(questions(kb, rng, most))
    apart = _held_out({one.doc_id for one in made}, rng)
    learnt = [one for one in made if one.doc_id not in apart]
    tried = [one for one in made if one.doc_id in apart][:MOST_TRIED]
    if len(learnt) < MIN_QUESTIONS or len(tried) < MIN_QUESTIONS // 4:
        raise UsageError(
            f"The documents give {len(learnt)} questions to learn from and {len(tried)} to try on; at least {MIN_QUESTIONS} and "
            f"{MIN_QUESTIONS // 4} are needed. Import more documents."
        )
    groups = []
    for at, one in enumerate(learnt):
        tell(at, len(learnt), "looking for wrong passages")
        if wrong := _wrong(kb, one, rng):
            groups.append((one.text, [one.passage, *wrong]))
    started = time.monotonic()
    encoder = _loaded(base)
    n_steps = _fit(encoder, groups, rng, seed, minutes * 60, tell)
    seconds = time.monotonic() - started
    before, after, weight, gains = _tried(kb, encoder, tried, tell)
    low, high = _interval(gains, seed)
    kept = low > 0
    if kept:
        _save(encoder, folder)
    done = Trained(
        n_questions=len(groups), n_tried=len(tried), n_steps=n_steps, seconds=round(seconds, 1), before=before, after=after,
        weight=weight, ci=(low, high), kept=kept, folder=str(folder) if kept else "",
    )  # fmt: skip
    if kept:
        (folder / "training.json").write_text(json.dumps(asdict(done), indent=1), encoding="utf-8")
    return done


# ---------------------------------------------------------------- questions


def questions(kb: Collection, rng: random.Random, most: int) -> Iterator[Question]:
    """Questions from the documents' own text, at most two a chunk, spread over the documents."""
    chunks = [chunk for info in kb.documents() for chunk in kb.chunks(info.doc_id) if not chunk.level]
    rng.shuffle(chunks)
    n_made = 0
    for chunk in chunks:
        for one in _of_chunk(chunk, rng):
            if n_made == most:
                return
            n_made += 1
            yield one


def _of_chunk(chunk: Chunk, rng: random.Random) -> Iterator[Question]:
    spans = sentences(chunk.text)
    long = [span for span in spans if 5 <= len(words(chunk.text[slice(*span)])) <= 40]
    if len(spans) >= 2 and long:
        start, end = rng.choice(long)
        rest = chunk.text if rng.random() < KEPT_SENTENCE else f"{chunk.text[:start]}{chunk.text[end:]}".strip()
        if asked := _some_words(chunk.text[start:end], rng):
            yield Question(text=asked, doc_id=chunk.doc_id, right=chunk.chunk_id, passage=rest)
    heading = chunk.context.strip().splitlines()[-1:] if chunk.context else []
    if heading and len(words(heading[0])) >= 2:
        yield Question(text=heading[0], doc_id=chunk.doc_id, right=chunk.chunk_id, passage=chunk.text)


def _some_words(sentence: str, rng: random.Random) -> str:
    """The sentence with some of its words left out, in order: people remember what a text is about, not how it goes."""
    chinese = any(map(is_han, sentence))
    parts = words(sentence) if chinese else sentence.strip(" .!?").split()
    return ("" if chinese else " ").join(part for part in parts if rng.random() < KEPT_WORD)


def _held_out(doc_ids: set[str], rng: random.Random) -> set[str]:
    ordered = sorted(doc_ids)
    rng.shuffle(ordered)
    return set(ordered[: max(1, round(HELD_OUT * len(ordered)))])


def _wrong(kb: Collection, one: Question, rng: random.Random) -> list[str]:
    """Passages that BM25 and dense search take for right, of other places than the right one."""
    found: dict[str, str] = {}
    for mode in ("bm25", "dense"):
        for hit in kb.search(one.text, mode=mode, top_k=DEPTH, rerank=False):
            if hit.chunk_id != one.right and hit.text:
                found[hit.chunk_id] = hit.text
    texts = list(found.values())
    return rng.sample(texts, min(N_WRONG, len(texts)))


# ---------------------------------------------------------------- training


def _loaded(base: Path | str) -> Any:
    from sentence_transformers import CrossEncoder

    try:
        return CrossEncoder(str(base), num_labels=1, max_length=MAX_TOKENS, trust_remote_code=False, device=None)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"The encoder {base} cannot be trained ({str(error).splitlines()[0][:200]}).") from error


def _fit(
    encoder: Any, groups: Sequence[tuple[str, list[str]]], rng: random.Random, seed: int, seconds: float, tell: Progress
) -> int:
    """Steps until the time is up or each question was seen three times: the right passage above the wrong ones.

    The vocabulary's vectors stay as they are: they are most of a small multilingual encoder, and a few thousand
    questions touch few of them.
    """
    import torch

    torch.manual_seed(seed)
    model, tokenizer = encoder.model, encoder.tokenizer
    for name, parameter in model.named_parameters():
        parameter.requires_grad = "embeddings" not in name
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=RATE)
    half = torch.autocast(model.device.type, torch.bfloat16, enabled=_has_bf16())
    started, n_steps, total = time.monotonic(), 0, 3 * len(groups) // GROUPS
    model.train()
    while n_steps < total and time.monotonic() - started < seconds:
        batch = [groups[rng.randrange(len(groups))] for _ in range(GROUPS)]
        pairs = [(asked, passage) for asked, passages in batch for passage in passages]
        share = max(n_steps / max(total, 1), (time.monotonic() - started) / seconds)
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (n_steps + 1) / 20) * (1.0 - 0.9 * share)
        inputs = tokenizer(*map(list, zip(*pairs, strict=True)), padding=True, truncation="longest_first", max_length=MAX_TOKENS,
                           return_tensors="pt").to(model.device)  # fmt: skip
        with half:
            logits = model(**inputs).logits[:, 0].float()
        loss = torch.stack([
            torch.nn.functional.cross_entropy(scores[None], torch.zeros(1, dtype=torch.long, device=scores.device))
            for scores in torch.split(logits, [len(passages) for _, passages in batch])
        ]).mean()  # fmt: skip
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        n_steps += 1
        tell(n_steps, total, f"training, loss {loss.item():.2f}")
    model.eval()
    return n_steps


def _has_bf16() -> bool:
    import torch

    return bool(torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported())


# ---------------------------------------------------------------- trial


def _tried(
    kb: Collection, encoder: Any, tried: Sequence[Question], tell: Progress
) -> tuple[float, float, float, np.ndarray]:
    """MRR without and with the model, at the weight that does best, that weight, and the gains for each question."""
    plain: list[float] = []
    mixed: dict[float, list[float]] = {weight: [] for weight in WEIGHTS}
    for at, one in enumerate(tried):
        tell(at, len(tried), "trying it")
        hits = kb.search(one.text, mode="hybrid", top_k=DEPTH)
        first = ranking({hit.chunk_id: hit.score for hit in hits})
        found = encoder.predict([(one.text, hit.text) for hit in hits], show_progress_bar=False) if hits else []
        by_model = ranking({hit.chunk_id: float(score) for hit, score in zip(hits, found, strict=True)})
        plain.append(_reciprocal([key for key, _ in first], one.right))
        for weight in WEIGHTS:
            order = weighted([Part(by_model, weight), Part(first, 1.0 - weight)], zscore)
            mixed[weight].append(_reciprocal([key for key, _ in order], one.right))
    best = max(WEIGHTS, key=lambda weight: (sum(mixed[weight]), weight))
    gains = np.array(mixed[best]) - np.array(plain)
    return float(np.mean(plain)), float(np.mean(mixed[best])), best, gains


def _reciprocal(order: Sequence[str], right: str) -> float:
    return 1.0 / (order.index(right) + 1) if right in order else 0.0


def _interval(gains: np.ndarray, seed: int, n: int = 2000) -> tuple[float, float]:
    """97.5 % on each side, and a little more: the weight was chosen on the same questions, one of three."""
    draws = np.random.default_rng(seed).choice(gains, (n, len(gains))).mean(axis=1)
    low, high = np.quantile(draws, [0.025 / len(WEIGHTS), 1 - 0.025 / len(WEIGHTS)])
    return round(float(low), 4), round(float(high), 4)


def _save(encoder: Any, folder: Path) -> None:
    """Whole or not at all."""
    made = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(made, ignore_errors=True)
    made.parent.mkdir(parents=True, exist_ok=True)
    encoder.save_pretrained(str(made))
    shutil.rmtree(folder, ignore_errors=True)
    made.replace(folder)
