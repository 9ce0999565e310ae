"""Questions that the page proposes, made of the documents' own headings: no model is asked, so they cost no time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rag.errors import RagstoneError
from rag.knowledge_base import KnowledgeBase
from rag.text import language
from rag.types import Answer, DocumentInfo

SAMPLED = 12  # documents that examples are looked for in
MAX_HEADING = 60
_LEADING = re.compile(
    r"^[#\s]*(?:(?:\d+(?:\.\d+)*[.)、]?|[IVX]+\.|第[一二三四五六七八九十\d]+[章节部分条]|[（(]?[一二三四五六七八九十]+[)）、.])\s+|[一二三四五六七八九十]+、)?"
)
_MARKS = re.compile(r"[*_`\[\]#|\\]")


def examples(kb: KnowledgeBase, preferred: str, limit: int = 3) -> list[str]:
    """Questions for somebody who does not know yet what to ask, from different documents, in the `preferred` language
    where the documents are."""
    found, _ = kb.find_documents(state="live", limit=SAMPLED)
    asked = [question for info in found for question in _of(kb, info, per_document=1)]
    asked.sort(key=lambda one: language(one) != preferred)
    return asked[:limit]


def follow_ups(kb: KnowledgeBase, question: str, answer: Answer, limit: int = 3) -> list[str]:
    """What else stands near the passages that the answer cites, or that were found."""
    if answer.abstained:
        return []
    wanted = dict.fromkeys([one.doc_id for one in answer.citations] + [hit.doc_id for hit in answer.hits])
    asked: list[str] = []
    try:
        for doc_id in list(wanted)[:4]:
            cited = [one.start for one in answer.citations if one.doc_id == doc_id]
            for info in kb.documents(doc_id):
                near = _of(kb, info, per_document=2, near=cited)
                asked += [one for one in near if one not in asked and not _same(one, question)]
    except RagstoneError:  # the answer matters, and is there
        return []
    return asked[:limit]


def _of(kb: KnowledgeBase, info: DocumentInfo, *, per_document: int, near: Sequence[int] = ()) -> Iterator[str]:
    """Questions about a document's sections: those that follow the places in `near`, else its first ones."""
    text = kb.text(info.doc_id)
    headings = [
        (block.start, heading)
        for block in kb.blocks(info.doc_id)
        if block.kind == "heading" and (heading := _heading(text[block.start : block.end])) and heading != info.title
    ]
    if near:
        here = [start for start, _ in headings if start <= min(near)]
        headings = [one for one in headings if one[0] > min(near)] + [
            one for one in headings if one[0] < (here[-1] if here else 0)
        ]
    seen: set[str] = set()
    for _, heading in headings:
        if heading not in seen and len(seen) < per_document:
            seen.add(heading)
            yield question_about(heading)


def question_about(heading: str) -> str:
    if language(heading) == "zh":
        return f"“{heading}”讲了什么？"
    return f"What do the documents say about “{heading}”?"


def _heading(text: str) -> str:
    """A heading that says something by itself; else ""."""
    bare = " ".join(_MARKS.sub(" ", _LEADING.sub("", text.strip())).split()).strip(" :：.。")
    return bare if 2 <= len(bare) <= MAX_HEADING and any(char.isalpha() for char in bare) else ""


def _same(one: str, other: str) -> bool:
    return re.sub(r"\W+", "", one).casefold() == re.sub(r"\W+", "", other).casefold()
