"""Questions that the page proposes: made of the documents' own headings, which costs no time, or by the chat model."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Sequence, Set

from rag.citations import evidence
from rag.errors import RagstoneError
from rag.knowledge_base import KnowledgeBase
from rag.prompts import FOLLOW_UPS, ShownPassage, asked, task_messages, task_reply
from rag.text import language
from rag.types import Answer, ChatModel, DocumentInfo, Hit

SAMPLED = 12  # documents that examples are looked for in
PASSAGES, PASSAGE = 4, 900  # that the chat model reads for follow-ups: how many, and how many characters of each
LONGEST = 120  # characters of a question that is proposed
GROUNDED = 0.6  # of its terms that stand in the passages
MAX_HEADING = 60
_LEADING = re.compile(
    r"^[#\s]*(?:(?:\d+(?:\.\d+)*[.)、]?|[IVX]+\.|第[一二三四五六七八九十\d]+[章节部分条]|[（(]?[一二三四五六七八九十]+[)）、.])\s+|[一二三四五六七八九十]+、)?"
)
log = logging.getLogger("ragstone.page")
_MARKS = re.compile(r"[*_`\[\]#|\\]")


def examples(kb: KnowledgeBase, preferred: str, limit: int = 3) -> list[str]:
    """Questions for somebody who does not know yet what to ask, from different documents, in the `preferred` language
    where the documents are."""
    found, _ = kb.find_documents(state="live", limit=SAMPLED)
    made = [question for info in found for question in _of(kb, info, per_document=1)]
    made.sort(key=lambda one: language(one) != preferred)
    return made[:limit]


def follow_ups(kb: KnowledgeBase, question: str, answer: Answer, limit: int = 3) -> list[str]:
    """What else stands near the passages that the answer cites, or that were found."""
    if answer.abstained:
        return []
    wanted = dict.fromkeys([one.doc_id for one in answer.citations] + [hit.doc_id for hit in answer.hits])
    made: list[str] = []
    try:
        for doc_id in list(wanted)[:4]:
            cited = [one.start for one in answer.citations if one.doc_id == doc_id]
            for info in kb.documents(doc_id):
                near = _of(kb, info, per_document=2, near=cited)
                made += [one for one in near if one not in made and not _same(one, question)]
    except RagstoneError:  # the answer matters, and is there
        return []
    return made[:limit]


def proposed(
    chat: ChatModel, question: str, answer: Answer, *, stop: threading.Event, deadline_s: float, limit: int = 3
) -> list[str]:
    """What the chat model would ask next of the passages that the answer cites. Only questions whose words stand there.

    Empty when it has none that fit, fails, or is stopped.
    """
    passages = _cited(answer)
    if answer.abstained or not passages:
        return []
    said = language(question)
    shown = [ShownPassage(n, hit.title, hit.text[:PASSAGE]) for n, hit in enumerate(passages, start=1)]
    messages = task_messages(FOLLOW_UPS, asked(question, shown, said), said, n=limit)
    reply = ""
    try:
        for delta in chat.stream(
            messages, max_tokens=FOLLOW_UPS.max_tokens, json_schema=FOLLOW_UPS.schema, deadline_s=deadline_s
        ):
            if stop.is_set():
                return []
            reply += delta.text
    except RagstoneError as error:  # the answer is there; what follows is a courtesy
        log.info("no follow-up questions were made: %s", error)
        return []
    there = evidence(" ".join(f"{hit.title} {hit.text}" for hit in passages))
    return [one for one in task_reply(FOLLOW_UPS, reply) if fits(one, question, there)][:limit]


def fits(one: str, question: str, there: Set[str]) -> bool:
    """Whether a proposed question is short, a question, another one, and about what the passages say."""
    about = evidence(one)
    known = len(about & there) >= max(1, GROUNDED * len(about))
    return one[-1:] in ("?", "？") and len(one) <= LONGEST and known and not _same(one, question)


def _cited(answer: Answer) -> list[Hit]:
    """The passages that the answer cites, each once, those cited first before the others."""
    cited = dict.fromkeys(one.chunk_id for one in answer.citations)
    by_id = {hit.chunk_id: hit for hit in answer.hits}
    return [by_id[one] for one in cited if one in by_id][:PASSAGES]


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
