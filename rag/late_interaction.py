"""Late interaction: a question and a passage compared token by token, without a model reading them together.

The vector of each token, seen in its context, falls out of the same call that makes the passage's one vector. The import
keeps of it the signs of its components (48 bytes a token at 384 dimensions), and only of tokens that carry meaning; a search
looks, for each token of the question, for the likest one in the passage (MaxSim). Nothing is trained for it: the mean of all
token vectors, which is large and says nothing, is taken away first.

Sources: Khattab and Zaharia, SIGIR 2020, arXiv:2004.12832 (MaxSim); the weights and the signs were measured here
(docs/ablation.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rag.text import is_stop_word
from rag.types import Embedder

NEAR = 0.6  # share of a token's best likeness from which a passage counts as holding it

Matrix = NDArray[np.float32]


@runtime_checkable
class TokenEmbedder(Protocol):
    """An embedder that also tells the vectors of tokens. keeps_tokens: whether it does, with this model and these settings."""

    keeps_tokens: bool

    def embed_with_tokens(self, texts: Sequence[str]) -> tuple[Any, list[bytes]]:
        """Passages' vectors, as embed_passages gives them, and the token signs of each, as `signs` packs them."""
        ...

    def query_tokens(self, text: str) -> Matrix:
        """Unit vectors of a question's tokens, float32 of shape (n, dim), the mean taken away."""
        ...


def with_tokens(embedder: Embedder) -> TokenEmbedder | None:
    """The embedder as one that keeps tokens; None when it does not."""
    return embedder if isinstance(embedder, TokenEmbedder) and embedder.keeps_tokens else None


def embed_for_index(embedder: Embedder, texts: Sequence[str]) -> tuple[Any, list[bytes] | None]:
    """Passages' vectors, and their token signs where the embedder keeps them."""
    keeper = with_tokens(embedder)
    return (embedder.embed_passages(texts), None) if keeper is None else keeper.embed_with_tokens(texts)


def signs(tokens: Matrix, mean: Matrix) -> bytes:
    """Which components of each token's vector, of shape (n, dim), lie above the mean: dim / 8 bytes a token."""
    return np.packbits(tokens > mean, axis=1).tobytes()


def centred(tokens: Matrix, mean: Matrix) -> Matrix:
    """Unit vectors of shape (n, dim), the mean taken away."""
    moved = tokens - mean
    unit: Matrix = (moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9)).astype(np.float32)
    return unit


def maxsim(question: Matrix, passages: Sequence[bytes]) -> list[float]:
    """How well each passage holds the question's tokens, the rarer ones among these passages more; about 0 to 1.

    question: shape (n, dim). passages: the signs of each, as `signs` packs them.
    Raises: ValueError for signs of another model's tokens.
    """
    dim = question.shape[1]
    width = math.ceil(dim / 8)
    if any(len(packed) % width for packed in passages):
        raise ValueError(f"signs of {dim} components a token were wanted")
    best = np.zeros((len(passages), len(question)), np.float32)
    there = [at for at, packed in enumerate(passages) if packed]
    if there and len(question):
        rows = np.frombuffer(b"".join(passages[at] for at in there), np.uint8).reshape(-1, width)
        bits = np.unpackbits(rows, axis=1, count=dim).astype(np.float32)
        # With components of +1 and -1 a product is twice that with 1 and 0, less the sum of the question's own.
        likeness = (2 * (bits @ question.T) - question.sum(axis=1)) / math.sqrt(dim)
        starts = np.cumsum([0, *(len(passages[at]) // width for at in there[:-1])])
        best[there] = np.maximum.reduceat(likeness, starts, axis=0)
    n_with = (best >= NEAR * best.max(axis=0, initial=1e-6)).sum(axis=0)
    weights = np.log(1 + (len(passages) - n_with + 0.5) / (n_with + 0.5))
    return [float(one) for one in best @ weights / max(float(weights.sum()), 1e-9)]


@dataclass(frozen=True, slots=True)
class Meaningful:
    """Which tokens of a vocabulary are kept: not special, not punctuation, no stop words. mask: bool, by token id."""

    mask: NDArray[np.bool_]

    @classmethod
    def of(cls, vocabulary: dict[str, int], special: Sequence[int]) -> Meaningful:
        mask = np.zeros(max(vocabulary.values(), default=0) + 1, bool)
        for token, token_id in vocabulary.items():
            word = token.removeprefix("##").lstrip("\u2581\u0120")  # how WordPiece, SentencePiece and BPE mark a word
            mask[token_id] = any(char.isalnum() for char in word) and not is_stop_word(word.lower())
        mask[list(special)] = False
        return cls(mask)

    def among(self, ids: Sequence[int], *, skip: int) -> NDArray[np.intp]:
        """Positions of the tokens that are kept; the first `skip` are the prefix's and the special ones before it."""
        kept = np.flatnonzero(self.mask[np.asarray(ids, np.int64)])
        return kept[kept >= skip]
