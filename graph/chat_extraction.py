"""Extraction by the chat model: entities, relations, descriptions and claims; cached, priced before it starts, within a budget.

What the model gets wrong costs nothing but itself: a chunk whose reply cannot be used is read by rules, counted and
named, and asked about again by the next build.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graph import documents, names, prompts, rules
from graph.prompts import Found, Ontology
from graph.types import Extracting, Extraction, Mention, Passage, Relation
from rag import text as texts
from rag.errors import ChatError, UsageError
from rag.reply_cache import CachedChat, complete_as

if TYPE_CHECKING:
    from rag.knowledge_base import KnowledgeBase

MAX_TOKENS = 1200
MAX_CHARS = 6000  # of a chunk, as the model sees it
MAX_FAILURES = 3  # of the endpoint in a row; then it is not asked any more
REPLY_TOKENS = 350  # of a usual reply, for the price
PROMPT_TOKENS = 330  # of instruction and example


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """ontology: a JSON file {"types": […], "relations": […]}, or the thing itself. max_calls: None, as in the settings."""

    ontology: str | Path | Ontology | None = None
    max_calls: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a build would ask the chat model. n_cached: calls whose replies are known; they are not in n_calls."""

    n_chunks: int
    n_calls: int
    n_cached: int
    n_tokens: int
    cost_usd: float


def estimate(kb: KnowledgeBase, options: ChatOptions, *, fresh: bool = False) -> Estimate:
    """The price of a build by the chat model; asks nothing."""
    settings = kb.settings
    chat, ontology = _model(kb), _ontology(options.ontology)
    way = by_chat(kb, options)
    n_chunks = n_known = n_tokens = 0
    for passage in documents.pending(kb, way, fresh=fresh):
        n_chunks += 1
        if chat.knows(_messages(passage, ontology), MAX_TOKENS, prompts.schema(ontology)):
            n_known += 1
        else:
            n_tokens += PROMPT_TOKENS + round(len(passage.text) / (1.6 if texts.language(passage.text) == "zh" else 4))
    rounds = 1 + settings.graph.gleanings
    most = settings.graph.max_calls if options.max_calls is None else options.max_calls
    n_calls = min((n_chunks - n_known) * rounds, most)
    share = n_calls / max((n_chunks - n_known) * rounds, 1)
    n_prompt, n_answer = n_tokens * rounds * share, n_calls * REPLY_TOKENS
    enrich = settings.enrich
    usd = (n_prompt * enrich.usd_per_million_prompt_tokens + n_answer * enrich.usd_per_million_answer_tokens) / 1e6
    return Estimate(
        n_chunks=n_chunks,
        n_calls=n_calls,
        n_cached=n_known,
        n_tokens=round(n_prompt + n_answer),
        cost_usd=round(usd, 4),
    )


def by_chat(kb: KnowledgeBase, options: ChatOptions) -> Extracting:
    """Raises: UsageError when there is no chat model or the ontology cannot be read."""
    ontology = _ontology(options.ontology)
    reader = _Reader(kb, _model(kb), ontology, options)
    named = {"types": list(ontology.types), "relations": list(ontology.relations)} if ontology != Ontology() else {}
    return Extracting(method="chat", options={"model": reader.model, "gleanings": kb.settings.graph.gleanings, **named},
                      run=reader.run)  # fmt: skip


class _Reader:
    """The chat model over the chunks of one build: counts calls, and stops asking when it must."""

    def __init__(self, kb: KnowledgeBase, chat: CachedChat, ontology: Ontology, options: ChatOptions) -> None:
        settings = kb.settings.graph
        self._chat, self._ontology, self._schema = chat, ontology, prompts.schema(ontology)
        self._left = settings.max_calls if options.max_calls is None else options.max_calls
        self._deadline_s, self._gleanings, self._n_failed = settings.deadline_s, settings.gleanings, 0
        self.model = chat.name

    def run(self, passages: Sequence[Passage]) -> list[Extraction]:
        return [self._read(one) for one in passages]

    def _read(self, passage: Passage) -> Extraction:
        plain = rules.extract(passage.text, passage.context, title=passage.title)
        language = texts.language(passage.text)
        asked = _messages(passage, self._ontology)
        first, problem = self._ask(asked)
        if first is None and problem == "bad_reply":
            first, problem = self._ask(asked[:1] + asked[-1:])  # small models sometimes answer the example
        if first is None:
            return _with_problem(plain, problem, passage.chunk_id)
        found = [first]
        for _ in range(self._gleanings):
            replied = json.dumps({"entities": first.entities, "relations": first.relations}, ensure_ascii=False)
            further, _problem = self._ask(prompts.more(asked, replied, language))
            if further is None or not (further.entities or further.relations):
                break
            found.append(further)
        return extraction(passage, found, plain, self._ontology)

    def _ask(self, messages: Sequence[Any]) -> tuple[Found | None, str]:
        """What a reply lists, or None and why not."""
        known = self._chat.knows(messages, MAX_TOKENS, self._schema)
        if not known and self._n_failed >= MAX_FAILURES:
            return None, "chat_failed"
        if not known and self._left <= 0:
            return None, "over_budget"
        self._left -= not known
        try:
            found = complete_as(
                self._chat, messages, prompts.reply,
                max_tokens=MAX_TOKENS, json_schema=self._schema, deadline_s=self._deadline_s,
            )  # fmt: skip
        except ChatError:
            self._n_failed += 1
            return None, "chat_failed"
        self._n_failed = 0
        return found, "" if found else "bad_reply"


def extraction(passage: Passage, found: Sequence[Found], plain: Extraction, ontology: Ontology) -> Extraction:
    """What a model listed, held against the passage: names that do not stand there and what is not allowed are left out."""
    problems = list(plain.problems)
    lowered, spans = passage.text.lower(), texts.sentences(passage.text)
    about = {names.key(name): name for name in plain.about}
    known: dict[str, Mention] = {}

    def place(name: str) -> Mention | None:
        clean = names.clean(name)
        if not names.is_name(clean):
            problems.append(("bad_name", clean[:80]))
            return None
        own = names.key(clean)
        start = lowered.find(clean.lower())
        if start < 0 and own not in about and own not in known:
            problems.append(("not_in_text", clean[:80]))
            return None
        end = start + len(clean) if start >= 0 else -1
        return known.setdefault(own, Mention(name=about.get(own, clean), start=start, end=end))

    descriptions: list[tuple[str, str]] = []
    for one in (row for reply in found for row in reply.entities):
        kind = one.get("type", "").strip().lower()[:40]
        if ontology.types and kind not in {allowed.lower() for allowed in ontology.types}:
            problems.append(("not_in_ontology", f"{one['name'][:60]}: {kind}"))
            continue
        if (mention := place(one["name"])) is not None:
            own = names.key(mention.name)
            known[own] = Mention(name=mention.name, start=mention.start, end=mention.end, type=kind)
            if (said := one.get("description", "").strip()) and said.lower() != mention.name.lower():
                descriptions.append((mention.name, said[:300]))
    relations: list[Relation] = []
    for one in (row for reply in found for row in reply.relations):
        label = one.get("relation", "").strip()[:80]
        if ontology.relations and label.lower() not in {allowed.lower() for allowed in ontology.relations}:
            problems.append(("not_in_ontology", f"{one['subject'][:40]} {label} {one['object'][:40]}"))
            continue
        subject, object_ = place(one["subject"]), place(one["object"])
        if subject is None or object_ is None:
            continue
        if names.key(subject.name) == names.key(object_.name):
            problems.append(("self_loop", f"{subject.name[:60]} {label}"))
            continue
        start, end = _sentence(spans, subject, object_)
        relate = rules.relating(passage.text, start, end)
        claim = one.get("claim", "").strip()[:300]
        relations.append(relate(subject=subject.name, label=label, object=object_.name, claim=claim))
    listed = list(known.values())
    extra = [one for one in plain.mentions if names.key(one.name) not in known]  # names that the model passed over
    return Extraction(
        about=plain.about, mentions=(*listed, *extra), relations=tuple(dict.fromkeys(relations)), aliases=plain.aliases,
        descriptions=tuple(dict.fromkeys(descriptions)), problems=tuple(problems),
    )  # fmt: skip


def _sentence(spans: Sequence[tuple[int, int]], left: Mention, right: Mention) -> tuple[int, int]:
    """The sentence that holds both names, else one of them, else the first."""
    best, most = (spans[0] if spans else (0, 0)), 0
    for start, end in spans:
        held = (start <= left.start < end) + (start <= right.start < end)
        if held > most:
            best, most = (start, end), held
    return best


def _messages(passage: Passage, ontology: Ontology) -> list[Any]:
    header = " > ".join(part for part in (passage.title, *passage.context.split("\n")) if part)[:300]
    cut = passage.text[: texts.grapheme_cut(passage.text, MAX_CHARS)]
    return prompts.messages(header, cut, texts.language(passage.text), ontology)


def _with_problem(plain: Extraction, kind: str, chunk_id: str) -> Extraction:
    return Extraction(
        about=plain.about, mentions=plain.mentions, relations=plain.relations, aliases=plain.aliases,
        problems=(*plain.problems, (kind, chunk_id)),
    )  # fmt: skip


def _model(kb: KnowledgeBase) -> CachedChat:
    if kb.chat is None:
        raise UsageError(
            "A graph by the chat model needs one, and there is none. Set llm.base_url or llm.model, or build it without: "
            "ragstone graph build --method rules"
        )
    return CachedChat(kb.chat, kb.replies)


def _ontology(given: str | Path | Ontology | None) -> Ontology:
    if given is None or isinstance(given, Ontology):
        return given or Ontology()
    try:
        tree = json.loads(Path(given).read_text(encoding="utf-8"))
        parts = {name: tuple(str(one) for one in tree.get(name, [])) for name in ("types", "relations")}
        unknown = sorted(tree.keys() - parts.keys())
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UsageError(
            f'The ontology {given} cannot be read ({error}). It is a JSON file: {{"types": ["person"], "relations": ["born in"]}}.'
        ) from error
    if unknown:
        raise UsageError(f"The ontology {given} has an unknown key {unknown[0]!r}. Known: types, relations.")
    return Ontology(**parts)
