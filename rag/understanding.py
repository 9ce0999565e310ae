"""From a question to the queries that are searched: standalone, rewritten, varied, imagined, taken apart, translated.

Every step here asks the chat model one small thing. A model that is absent, fails, is slow or answers nonsense costs
the step and nothing else: the search goes on with what there is, and the trace says what was left out.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from rag import auto_filter, prompts
from rag.auto_filter import Known
from rag.errors import ChatError
from rag.filters import Expr, shown
from rag.prompts import Task
from rag.reply_cache import complete_as
from rag.text import language, spaced, words
from rag.trace import Trace
from rag.types import ChatModel, Query

VARIANT_WEIGHT = 0.5  # of a reworded query against the question itself
MAX_PARTS = 4  # sub-questions; each costs a search and, but for the last, an answer
MAX_QUERY_CHARS = 1000  # of what a model made up; a longer text is a monologue, not a query
MAX_PASSAGE_CHARS = 2000
AWAY = frozenset({"E_LLM_DEADLINE", "E_LLM_UNREACHABLE", "E_LLM_AUTH", "E_LLM_RATE_LIMIT", "E_LLM_REDIRECT"})
FEW_WORDS = 3  # a follow-up such as "and in Chinese?" has fewer words that carry meaning
_POINTS_BACK = re.compile(
    r"\b(?:it|its|he|him|his|she|her|hers|they|them|their|theirs|this|that|these|those|there|then|one|ones|former|latter|same|"
    r"above|before|else|instead)\b|[它他她那这其]|上述|前者|后者|刚才|之前|呢[？?]?\s*$",
    re.IGNORECASE,
)
_JOIN = (
    "是 的 地 得 了 着 过 有 在 吗 呢 吧 啊 和 与 及 或 把 被 对 从 到 为 以 于 向 给 让 会 能 要 将 都 也 就 还 又 很 更 最 个 请 请问 我 你 您 "
    "我们 你们 可以 能够 应该 多 后 前 上 下 里 中 所 之 其中 那么 这么 再 才 么 啦 一下 告诉 知道"
)
_JOINING = frozenset(_JOIN.split())
_REFERENCE = re.compile(r"(?<![A-Za-z0-9])#(\d)(?!\d)")  # not the end of C#2

Fits = Callable[[str], bool]
Answerer = Callable[[str], str]
"""Answers a sub-question from the documents, in a few words; "" when they do not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderstandOptions:
    """Which steps run. history: (question, answer) pairs of the conversation so far, oldest first.

    filter: the caller's condition, which the documents that answer a sub-question meet as well.
    """

    rewrite: bool = False
    multi_query: int = 0  # how many reworded queries
    hyde: int = 0  # how many imagined passages
    decompose: bool = False
    step_back: bool = False
    translate: bool = False
    auto_filter: bool = False
    history: tuple[tuple[str, str], ...] = ()
    filter: str | None = None

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


class Budget:
    """The seconds that all calls of the model for one question may take together, and whether it failed in one of them."""

    def __init__(self, seconds: float) -> None:
        self.left_s = seconds
        self.spent = ""  # why the model is not asked any more

    @contextmanager
    def counted(self) -> Iterator[None]:
        """While the model is asked. A model that is away or too slow is not asked again. Raises what is raised."""
        began = time.monotonic()
        try:
            yield
        except ChatError as error:
            if error.code in AWAY:
                self.spent = f"the chat model failed just before ({error.code})"
            raise
        finally:
            self.left_s -= time.monotonic() - began
            if self.left_s <= 0:
                self.spent = self.spent or "the steps before took all of understand.deadline_s"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderstandParts:
    """What understanding needs. fields: values that documents have in each field, for filters. answer: for sub-questions.

    deadline_s: for all calls together. budget: what is left of it, where it is shared with another search.
    """

    chat: ChatModel | None
    deadline_s: float
    fields: Callable[[], Known] = dict
    answer: Answerer | None = None
    budget: Budget | None = None


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
    other = lambda text: language(text) != language(question)  # noqa: E731
    if options.translate and (translated := model.one("translate", prompts.TRANSLATE, asked, fits=other)):
        queries.append(Query(text=translated, kind="translation"))
    if options.decompose:
        queries += _parts(asked, model, parts.answer)
    if options.hyde:
        passages = model.many("hyde", prompts.HYPOTHETICAL, asked, n=options.hyde, limit=MAX_PASSAGE_CHARS)
        queries[0] = Query(text=question, passages=tuple(passages))
    found = _filter(question, model, parts.fields()) if options.auto_filter else None
    return Understood(question=question, queries=distinct(queries), filter=found, skipped=model.skipped)


def depends_on_context(question: str) -> bool:
    """Whether a question seems to lean on what was said before: it points back, or says too little by itself.

    Only then is the model asked: on a CPU each call takes seconds.
    """
    return bool(_POINTS_BACK.search(question)) or len(_content_words(question)) < FEW_WORDS


def _content_words(question: str) -> set[str]:
    """Its words, each whole, without those that only ask or join."""
    found = spaced(question, pairs=False, asking=False).split()
    latin = words(" ".join(one for one in found if one.isascii()))
    return {*latin, *(one for one in found if not one.isascii() and one.isalnum() and one not in _JOINING)}


def distinct(queries: Sequence[Query]) -> tuple[Query, ...]:
    """The queries without those that repeat an earlier one but for case, blanks and punctuation."""
    kept: dict[str, Query] = {}
    for query in queries:
        kept.setdefault(re.sub(r"[\W_]+", "", query.text).casefold(), query)
    return tuple(kept.values())


class _Model:
    """The chat model behind the small tasks of one question; notes in the trace what each did."""

    def __init__(self, parts: UnderstandParts, trace: Trace) -> None:
        self._chat, self._trace = parts.chat, trace
        self._budget = parts.budget or Budget(parts.deadline_s)
        self._skipped: dict[str, list[str]] = {}  # reason → the steps

    def one(self, name: str, task: Task, text: str, fits: Fits = bool) -> str:
        return next(iter(self.many(name, task, text, fits=fits)), "")

    def many(
        self, name: str, task: Task, text: str, *, n: int = 1, limit: int = MAX_QUERY_CHARS, fits: Fits = bool
    ) -> list[str]:
        """What the model made of the text, n strings at most that fit; none when the step has to be left out."""
        with self._trace.span(f"understand:{name}") as step:
            texts, reason = self._ask(task, text, n, lambda made: len(made) <= limit and fits(made))
            reason = reason or ("" if texts else "its reply was not usable")
            step.n_out, step.detail = len(texts), {"texts": texts} if texts else {"skipped": reason}
            if reason:
                self.skip(name, reason)
        return texts

    def skip(self, name: str, reason: str) -> None:
        self._skipped.setdefault(reason, []).append(name)

    @property
    def skipped(self) -> tuple[str, ...]:
        return tuple(f"{', '.join(dict.fromkeys(names))}: {reason}" for reason, names in self._skipped.items())

    def note(self, **detail: object) -> None:
        """Add to the last step of the trace."""
        last = self._trace.steps[-1]
        self._trace.steps[-1] = replace(last, detail={**last.detail, **detail})

    def _ask(self, task: Task, text: str, n: int, fits: Fits) -> tuple[list[str], str]:
        if self._chat is None:
            return [], "there is no chat model"
        if self._budget.spent:
            return [], self._budget.spent

        def usable(reply: str) -> list[str]:
            return list(filter(fits, prompts.task_reply(task, reply)))[:n]

        messages = prompts.task_messages(task, text, language(text), n=n)
        try:
            with self._budget.counted():
                texts = complete_as(
                    self._chat, messages, usable,
                    max_tokens=task.max_tokens, json_schema=task.schema, deadline_s=self._budget.left_s,
                )  # fmt: skip
        except ChatError as error:
            return [], f"the chat model failed ({error.code})"
        return texts, ""


def _conversation(history: Sequence[tuple[str, str]], question: str) -> str:
    return prompts.conversation(history[-3:], question, language(question))


def _parts(question: str, model: _Model, answer: Answerer | None) -> list[Query]:
    """Sub-questions as queries. A later one that builds on an earlier one's answer gets that answer put in."""
    texts = model.many("decompose", prompts.PARTS, question, n=MAX_PARTS)
    if len(texts) < 2:
        if texts:
            model.note(skipped="the question has no parts")
        return []
    answers: dict[str, str] = {}
    queries = []
    for number, text in enumerate(texts, start=1):
        wanted = set(_REFERENCE.findall(text))
        if missing := sorted(wanted - answers.keys()):
            model.skip("decompose", f"{text!r} builds on part {missing[0]}, to which there is no answer")
            continue
        text = _REFERENCE.sub(lambda match: answers[match.group(1)], text)
        queries.append(Query(text=text, kind="part"))
        needed = any(str(number) in _REFERENCE.findall(later) for later in texts[number:])
        if needed and answer is not None and (found := answer(text)):
            answers[str(number)] = found
    model.note(answers=answers)
    return queries


def _filter(question: str, model: _Model, known: Known) -> Expr | None:
    """The conditions that the question puts on documents; what the model reads beyond them is noted."""
    if not known:
        return None
    labels = ("字段", "问题") if language(question) == "zh" else ("Fields", "Question")
    fields = prompts.neutral(auto_filter.listed(question, known))
    texts = model.many(
        "filter", prompts.FILTER, f"{labels[0]}: {fields}\n{labels[1]}: {prompts.neutral(question)}", n=4
    )
    found = auto_filter.conditions(texts, question, known)
    if texts:
        model.note(applied=[shown(one) for one in found.applied], dropped=[list(one) for one in found.dropped])
    for reason in dict.fromkeys(reason for _, reason in found.dropped):
        model.skip("filter", f"{', '.join(text for text, why in found.dropped if why == reason)} ({reason})")
    return found.filter
