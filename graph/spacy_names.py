"""English names with their types by spaCy. Home of spaCy; it reads the model's data and runs none of its code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rag.errors import ModelError

TYPES = {
    "PERSON": "person", "ORG": "organisation", "GPE": "place", "LOC": "place", "FAC": "place", "WORK_OF_ART": "work",
    "EVENT": "event", "PRODUCT": "product", "NORP": "group", "LAW": "law",
}  # fmt: skip
_LEFT_OUT = ["tagger", "parser", "attribute_ruler", "lemmatizer", "senter"]


class SpacyNames:
    """Finds names in English texts. Raises ModelError when spaCy is not installed or the model cannot be read."""

    def __init__(self, folder: Path) -> None:
        try:
            import spacy
        except ImportError as error:
            raise ModelError("English names by a model need spaCy: pip install 'ragstone[graph]'") from error
        try:
            self._pipeline: Any = spacy.load(folder, exclude=_LEFT_OUT)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"The model for English names in {folder} cannot be read ({str(error)[:200]}). Delete it and pull it again.") from error  # fmt: skip

    def __call__(self, texts: Sequence[str]) -> Iterator[list[tuple[str, int, int]]]:
        """(type, start, end) of the names of each text, in order."""
        for read in self._pipeline.pipe(texts, batch_size=64):
            yield [
                (TYPES[one.label_], one.start_char, one.end_char)
                for one in read.ents
                if one.label_ in TYPES and one.text[:1].isalnum() and "\n" not in one.text
            ]
