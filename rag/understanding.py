"""From a question to the queries that are searched: standalone, rewritten, varied, imagined, taken apart, translated.

Every step here asks the chat model one small thing. A model that is absent, fails, is slow or answers nonsense costs
the step and nothing else: the search goes on with what there is, and the trace says what was left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rag import prompts
from rag.chat import complete
from rag.errors import ChatError, FilterError
from rag.filters import All, Expr, parse
from rag.prompts import Task
from rag.text import language, words
from rag.trace import Trace
from rag.types import ChatModel, Query

VARIANT_WEIGHT = 0.5  # of a reworded query against the question itself
MAX_PARTS = 4  # sub-questions; each costs a search and, but for the last, an answer
MAX_QUERY_CHARS = 1000  # of what a model made up; a longer text is a monologue, not a query
MAX_PASSAGE_CHARS = 2000
FEW_WORDS = 3  # a follow-up such as "and in Chinese?" has fewer words that carry meaning
_POINTS_BACK = re.compile(
    r"\b(?:it|its|he|him|his|she|her|hers|they|them|their|theirs|this|that|these|those|there|then|one|ones|former|latter|same|"
    r"above|before|else|instead)\b|[它他她那这其]|上述|前者|后者|刚才|之前|呢[？?]?\s*$",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"#(\d)")

Answerer = Callable[[str], str]
"""Answers a sub-question from the documents, in a few words; "" when they do not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderstandOptions:
    """Which steps run. history: (question, answer) pairs of the conversation so far, oldest first."""

    rewrite: bool = False
    multi_query: int = 0  # how many reworded queries
    hyde: int = 0  # how many imagined passages
    decompose: bool = False
    step_back: bool = False
    translate: bool = False
    auto_filter: bool = False
    history: tuple[tuple[str, str], ...] = ()

    @property
    def needs_chat(self) -> bool:
        wanted = (self.rewrite, self.multi_query, self.hyde, self.decompose, self.step_back, self.translate)
        return any(wanted) or self.auto_filter or bool(self.history)


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """What is searched. question: standalone. filter: read from the question, to be joined with the caller's."""

    question: str
    queries: tuple[Query, ...]
    filter: Expr | None = None
    skipped: tuple[str, ...] = ()  # steps that were asked for and left out, each with its reason


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderstandParts:
    """What understanding needs. fields: values that documents have in each field, for filters. answer: for sub-questions."""

    chat: ChatModel | None
    deadline_s: float
    fields: Callable[[], Mapping[str, Sequence[str]]] = dict
    answer: Answerer | None = None


def understand(question: str, *, parts: UnderstandParts, options: UnderstandOptions, trace: Trace) -> Understood:
    """Plan the queries for a question, itself always among them. Never raises ChatError."""
    model = _Model(parts, trace)
    if options.history and depends_on_context(question):
        question = model.one("condense", prompts.CONDENSE, _conversation(options.history, question)) or question
    asked = prompts.neutral(question)
    queries = [Query(text=question)]
    if options.rewrite and (rewritten := model.one("rewrite", prompts.REWRITE, asked)):
        queries.append(Query(text=rewritten, kind="rewrite", weight=VARIANT_WEIGHT))
    if options.multi_query:
        varied = model.many("multi-query", prompts.VARIANTS, asked, n=options.multi_query)
        queries += [Query(text=text, kind="variant", weight=VARIANT_WEIGHT) for text in varied]
    if options.step_back and (general := model.one("step-back", prompts.STEP_BACK, asked)):
        queries.append(Query(text=general, kind="step-back", weight=VARIANT_WEIGHT))
    if options.translate and (translated := model.one("translate", prompts.TRANSLATE, asked)):
        queries.append(Query(text=translated, kind="translation"))
    if options.decompose:
        queries += _parts(asked, model, parts.answer)
    if options.hyde:
        passages = model.many("hyde", prompts.HYPOTHETICAL, asked, n=options.hyde, limit=MAX_PASSAGE_CHARS)
        queries[0] = Query(text=question, passages=tuple(passages))
    found = _filter(question, model, parts.fields()) if options.auto_filter else None
    return Understood(question=question, queries=distinct(queries), filter=found, skipped=tuple(model.skipped))


def depends_on_context(question: str) -> bool:
    """Whether a question seems to lean on what was said before: it points back, or says too little by itself.

    Only then is the model asked: on a CPU each call takes seconds.
    """
    return bool(_POINTS_BACK.search(question)) or len(set(words(question))) < FEW_WORDS


def distinct(queries: Sequence[Query]) -> tuple[Query, ...]:
    """The queries without those that repeat an earlier one but for case, blanks and punctuation."""
    kept: dict[str, Query] = {}
    for query in queries:
        kept.setdefault(re.sub(r"[\W_]+", "", query.text).casefold(), query)
    return tuple(kept.values())


class _Model:
    """The chat model behind the small tasks of one question; notes in the trace what each did."""

    def __init__(self, parts: UnderstandParts, trace: Trace) -> None:
        self._chat, self._deadline_s, self._trace = parts.chat, parts.deadline_s, trace
        self.skipped: list[str] = []

    def one(self, name: str, task: Task, text: str) -> str:
        return next(iter(self.many(name, task, text)), "")

    def many(self, name: str, task: Task, text: str, *, n: int = 1, limit: int = MAX_QUERY_CHARS) -> list[str]:
        """What the model made of the text, n strings at most; none when the step has to be left out."""
        with self._trace.span(f"understand:{name}") as step:
            texts, reason = self._ask(task, text, n)
            texts = [one for one in texts if len(one) <= limit][:n]
            reason = reason or ("" if texts else "its reply was not usable")
            step.n_out, step.detail = len(texts), {"texts": texts} if texts else {"skipped": reason}
            if reason:
                self.skipped.append(f"{name}: {reason}")
        return texts

    def _ask(self, task: Task, text: str, n: int) -> tuple[list[str], str]:
        if self._chat is None:
            return [], "there is no chat model"
        messages = prompts.task_messages(task, text, language(text), n=n)
        try:
            reply = complete(
                self._chat, messages, max_tokens=task.max_tokens, json_schema=task.schema, deadline_s=self._deadline_s
            )
        except ChatError as error:
            return [], f"the chat model failed ({error.code})"
        return prompts.task_reply(task, reply), ""


def _conversation(history: Sequence[tuple[str, str]], question: str) -> str:
    return prompts.conversation(history[-3:], question, language(question))


def _parts(question: str, model: _Model, answer: Answerer | None) -> list[Query]:
    """Sub-questions as queries. A later one that builds on an earlier one's answer gets that answer put in."""
    texts = model.many("decompose", prompts.PARTS, question, n=MAX_PARTS)
    if len(texts) < 2:
        return []
    answers: dict[str, str] = {}
    queries = []
    for number, text in enumerate(texts, start=1):
        wanted = set(_REFERENCE.findall(text))
        if not wanted <= answers.keys():
            continue  # nobody could answer what it builds on
        text = _REFERENCE.sub(lambda match: answers[match.group(1)], text)
        queries.append(Query(text=text, kind="part"))
        needed = any(f"#{number}" in later for later in texts[number:])
        if needed and answer is not None and (found := answer(text)):
            answers[str(number)] = found
    return queries


def _filter(question: str, model: _Model, fields: Mapping[str, Sequence[str]]) -> Expr | None:
    """The conditions that the question puts on documents, as far as they are valid and name fields that there are."""
    if not fields:
        return None
    listed = ", ".join(f"{name} ({', '.join(values[:6])})" for name, values in fields.items())
    labels = ("字段", "问题") if language(question) == "zh" else ("Fields", "Question")
    asked = f"{labels[0]}: {prompts.neutral(listed)}\n{labels[1]}: {prompts.neutral(question)}"
    conditions = []
    for text in model.many("filter", prompts.FILTER, asked, n=4):
        try:
            expression = parse(text)
        except FilterError:
            continue
        if getattr(expression, "field", "") in fields:
            conditions.append(expression)
    return All(tuple(conditions)) if len(conditions) > 1 else conditions[0] if conditions else None
