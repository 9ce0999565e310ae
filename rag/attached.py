"""Files attached to one conversation: read, cut and searched in memory, never part of a collection.

Their citations name the document `attached:NAME`; two files of one name are one, the later.
"""

from __future__ import annotations

from collections.abc import Mapping

from rag.okapi import Okapi
from rag.text import sentences, words
from rag.types import Hit, chunk_id

PREFIX = "attached:"
CHUNK_CHARS = 900  # about; sentences stay whole
TOP_K = 3


def search(question: str, files: Mapping[str, str], top_k: int = TOP_K) -> list[Hit]:
    """The passages of the files (name → text) that share most with the question, by BM25, best first.

    Where none shares a word with it ("Summarise the file"), the files' first passages.
    """
    found = [(name, start, end) for name, text in files.items() for start, end in passages(text)]
    scores = Okapi([words(files[name][start:end]) for name, start, end in found]).scores(words(question))
    ranked = sorted(range(len(found)), key=lambda at: (-scores[at], at))
    if any(scores):
        ranked = [at for at in ranked if scores[at] > 0]
    else:
        ranked = [at for at in ranked if found[at][1] == passages(files[found[at][0]])[0][0]]
    return [_hit(rank, found[at], files[found[at][0]], scores[at]) for rank, at in enumerate(ranked[:top_k], start=1)]


def passages(text: str) -> list[tuple[int, int]]:
    """Spans of whole sentences, about CHUNK_CHARS long, one after the other."""
    spans: list[tuple[int, int]] = []
    for start, end in sentences(text):
        if spans and end - spans[-1][0] <= CHUNK_CHARS:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


def _hit(rank: int, place: tuple[str, int, int], text: str, score: float) -> Hit:
    name, start, end = place
    doc_id = PREFIX + name
    return Hit(
        rank=rank, chunk_id=chunk_id(doc_id, start, end), doc_id=doc_id, source=name, title=name, score=score,
        text=text[start:end], start=start, end=end,
    )  # fmt: skip
