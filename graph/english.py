"""English sentences as spaCy reads them: names with their types, and how words hang together. Home of spaCy.

It reads the model's data and runs none of its code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from graph.grammar import Word
from rag.errors import ModelError

TYPES = {
    "PERSON": "person", "ORG": "organisation", "GPE": "place", "LOC": "place", "FAC": "place", "WORK_OF_ART": "work",
    "EVENT": "event", "PRODUCT": "product", "NORP": "group", "LAW": "law",
}  # fmt: skip
_LEFT_OUT = ["tagger", "attribute_ruler", "lemmatizer", "senter"]


@dataclass(frozen=True, slots=True)
class Read:
    """What was found in a text. names: (type, start, end), in order."""

    names: Sequence[tuple[str, int, int]] = ()
    words: Sequence[Word] = ()


def is_installed() -> bool:
    """Whether spaCy is."""
    return find_spec("spacy") is not None


class EnglishReader:
    """Reads English texts. Raises ModelError when the model cannot be read."""

    def __init__(self, folder: Path) -> None:
        import spacy

        try:
            self._pipeline: Any = spacy.load(folder, exclude=_LEFT_OUT)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"The model for English names in {folder} cannot be read ({str(error)[:200]}). Delete it and pull it again.") from error  # fmt: skip

    def __call__(self, texts: Sequence[str]) -> Iterator[Read]:
        """What is found in each text, in order; nothing in an empty one.

        One at a time: sums in a batch may differ in their last bits with what stands beside a text in it.
        """
        for read in map(self._pipeline, texts):
            found = [
                (TYPES[one.label_], one.start_char, one.end_char)
                for one in read.ents
                if one.label_ in TYPES and one.text[:1].isalnum() and "\n" not in one.text
            ]
            yield Read(found, [Word(one.text, one.idx, one.head.i, one.dep_) for one in read])
