"""Names by models: rules find them, models add their types and what the rules pass over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graph import rules
from graph.types import Extracting, Extraction, Passage
from rag import text as texts
from rag.errors import ModelError
from rag.models import models_dir, resolve

if TYPE_CHECKING:
    from graph.english import EnglishReader
    from graph.lac import LacTagger
    from rag.knowledge_base import KnowledgeBase

ENGLISH, CHINESE = "en-core-web-sm", "lac-zh"


def by_names(kb: KnowledgeBase) -> Extracting:
    """With the models that are there, for English, Chinese or both. Raises ModelError when neither is, or one cannot be read."""
    from graph.english import EnglishReader, is_installed
    from graph.lac import LacTagger

    folder, missing = models_dir(kb.settings.models.dir), []
    paths: dict[str, Path] = {}
    for alias in (ENGLISH, CHINESE):
        try:
            paths[alias] = Path(resolve(alias, "names", folder))
        except ModelError as error:
            missing.append(str(error))
    if ENGLISH in paths and not is_installed():
        missing.append(f"English names by {ENGLISH} need spaCy: pip install 'ragstone[graph]'.")
        del paths[ENGLISH]
    if not paths:
        raise ModelError(f"No model for names is there. {' '.join(missing)} Or build without: --method rules")
    english = EnglishReader(paths[ENGLISH]) if ENGLISH in paths else None
    chinese = LacTagger(paths[CHINESE]) if CHINESE in paths else None
    options = {"en": ENGLISH if english else "rules", "zh": CHINESE if chinese else "rules"}
    reader = _Reader(english, chinese)
    return Extracting(method="names", options=options, run=reader.run)


class _Reader:
    def __init__(self, english: EnglishReader | None, chinese: LacTagger | None) -> None:
        self._english, self._chinese = english, chinese

    def run(self, passages: Sequence[Passage]) -> list[Extraction]:
        latin = [one.text if texts.language(one.text) == "en" else "" for one in passages]
        read = list(self._english(latin)) if self._english else [None] * len(passages)
        return [
            rules.extract(
                one.text, one.context, title=one.title, tag_chinese=self._chinese,
                typed=found.names if found else (), words=found.words if found else (),
            )
            for one, found in zip(passages, read, strict=True)
        ]  # fmt: skip
