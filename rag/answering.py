"""From hits to a cited answer: pack → prompt → stream → cite and check, or sentences from the documents without a model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import log

from rag import prompts
from rag.citations import Checked, Passage, check, is_wide, with_markers
from rag.conflicts import conflicts
from rag.errors import ChatError
from rag.names import missing_names
from rag.numerals import missing_numbers
from rag.reply_cache import complete_as
from rag.settings import AnswerSettings
from rag.text import language, nouns, sentences, terms, words
from rag.trace import Trace
from rag.turns import turns
from rag.types import Answer, ChatModel, Citation, Event, Hit, Usage

NO_MODEL = (
    "No chat model is installed, so this answer consists of sentences from the documents. Run `ragstone models pull "
    "qwen2.5-coder-1.5b`, or set llm.base_url to an OpenAI-compatible endpoint."
)
MAX_SENTENCE_CHARS = 500
MAX_SHORT_ANSWER = 120  # characters; a longer one is no name, date or number to search with
MIN_COVERAGE = 0.45  # share of the question, by weight, that an extracted sentence and its surroundings must hold
SECOND_SHARE = 0.75  # of the best sentence's score, that a second one needs
SURE_SHARE = 0.5  # of the question in the best passage, from which on passages may be left out for holding far less
FAR_LESS = 0.5  # of the best passage's share
MIN_QUOTED = 0.15  # share of the question that one quote at least must hold
MOST_MISSING = 6  # named in an abstention
OVERLAP_SHARE = 0.5  # of a hit that another hit of the document already shows


def answer_events(
    question: str,
    hits: Sequence[Hit],
    *,
    chat: ChatModel | None,
    settings: AnswerSettings,
    trace: Trace,
    deadline_s: float | None = None,
) -> Iterator[Event]:
    """Steps and pieces of text as they come, and at the end one event with the whole Answer.

    The Answer counts, not the streamed text: markers are cleaned up in it, and an answer that nothing bears out is
    replaced by the sentence that the documents do not hold one. Without a chat model, and when it fails before its
    first word, the answer consists of sentences from the hits. Never raises ChatError.
    """
    lang = language(question)
    if not hits:
        yield from _finish(abstention(question, lang, ()), question, hits, trace)
        return
    if chat is None:
        yield from _extract(question, hits, (NO_MODEL,), trace)
        return
    with turns.taken(), trace.span("pack") as step:
        passages = pack(
            question,
            hits,
            max_passages=settings.max_passages,
            passage_tokens=settings.passage_tokens,
            order=settings.order,
        )
        step.n_in, step.n_out = len(hits), len(passages)
        step.detail["tokens"] = sum(estimate_tokens(passage.text) for passage in passages)
    yield Event(kind="step", step=trace.steps[-1])
    if not passages:  # the hits hold blanks only
        yield from _finish(abstention(question, lang, ()), question, hits, trace)
        return
    reply = _Generation()
    yield from _generate(reply, question, passages, chat, settings, trace, deadline_s)
    if not reply.text and (why := _why_nothing_was_said(reply)):
        warning = f"{why[0]}, so this answer consists of sentences from the documents. {why[1]}"
        yield from _extract(question, hits, (warning,), trace)
        return
    with turns.taken(), trace.span("check") as step:
        answer = _checked_answer(reply, question, passages)
        step.n_out = len(answer.citations)
        step.detail.update(unsupported=len(answer.unsupported), abstained=answer.abstained)
    yield Event(kind="step", step=trace.steps[-1])
    yield from _finish(answer, question, hits, trace)


def short_answer(
    question: str, hits: Sequence[Hit], *, chat: ChatModel | None, settings: AnswerSettings, deadline_s: float
) -> str:
    """The answer without markers, for putting into another question; "" when the hits do not hold it or the model fails."""
    if chat is None or not hits:
        return ""
    passages = pack(question, hits, max_passages=settings.max_passages, passage_tokens=settings.passage_tokens)
    shown = [prompts.ShownPassage(passage.number, passage.header, passage.text) for passage in passages]
    messages = prompts.task_messages(
        prompts.BRIEF, prompts.asked(question, shown, language(question)), language(question)
    )
    try:
        found = complete_as(
            chat, messages, partial(prompts.task_reply, prompts.BRIEF),
            max_tokens=prompts.BRIEF.max_tokens, json_schema=prompts.BRIEF.schema, deadline_s=deadline_s,
        )  # fmt: skip
    except ChatError:
        return ""
    said = next(iter(found), "")
    return "" if prompts.says_no_answer(said) or len(said) > MAX_SHORT_ANSWER else said


# ---------------------------------------------------------------- pack


def pack(
    question: str, hits: Sequence[Hit], *, max_passages: int, passage_tokens: int, order: str = "rank"
) -> list[Passage]:
    """The passages of the prompt: the best hits, each cut to the sentences about the question, numbered from 1.

    Left out is a hit that mostly repeats a better one's stretch of the same document, and one that holds far less of the
    question than the best does: small models mix passages up, and each costs seconds of reading.
    """
    passages: list[Passage] = []
    for hit in quotable(hits):
        if len(passages) == max_passages:
            break
        start, end = window(question, hit.text, passage_tokens)
        passage = Passage(number=len(passages) + 1, hit=hit, start=hit.start + start, text=hit.text[start:end])
        if passage.text and not any(_repeats(passage, other) for other in passages):
            passages.append(passage)
    shares = coverage(question, passages)
    best = max(shares, default=0.0)
    kept = [
        passage
        for passage, share in zip(passages, shares, strict=True)
        if best < SURE_SHARE or share >= FAR_LESS * best
    ]
    return [replace(passage, number=number) for number, passage in enumerate(_ordered(kept, order), start=1)]


def _ordered(passages: Sequence[Passage], order: str) -> list[Passage]:
    """Passages, best first, as the prompt shows them. edges: models overlook what stands in the middle of a long prompt.

    Source: Liu et al., TACL 2024, arXiv:2307.03172.
    """
    if order == "edges":
        return [*passages[::2], *reversed(passages[1::2])]
    if order == "document":
        return sorted(passages, key=lambda one: (one.hit.source, one.start))
    return list(passages)


def quotable(hits: Sequence[Hit]) -> list[Hit]:
    """The hits that are the documents' own text; a summary is none, and rag/expand.py puts its sources in its place."""
    return [hit for hit in hits if not hit.level]


def coverage(question: str, passages: Sequence[Passage]) -> list[float]:
    """For each passage, the share of the question's content that it holds; rare terms weigh more. 0 between languages."""
    shares = term_shares(question, passages)
    return [_held_share(shares, f"{passage.header}\n{passage.text}") for passage in passages]


def term_shares(question: str, passages: Sequence[Passage]) -> dict[str, float]:
    """What share of the question each of its terms is: the fewer passages hold it, the more. They add up to 1."""
    asked = content_terms(question)
    weights = rarity([*(terms(f"{passage.header}\n{passage.text}") for passage in passages), asked])
    total = sum(weights[term] for term in asked)  # not 0, for a weight is never
    return {term: weights[term] / total for term in sorted(asked)}


def _held_share(shares: Mapping[str, float], text: str) -> float:
    held = terms(text)
    return sum(share for term, share in shares.items() if term in held)


def window(question: str, text: str, max_tokens: int) -> tuple[int, int]:
    """Span of the neighbouring sentences of `text`, about `max_tokens` long, that hold most of the question's words.

    A word counts by how few sentences hold it. Between equals the window that holds the words more often wins, then the
    earlier. A single sentence that is too long is cut.
    """
    spans = sentences(text)
    if not spans or estimate_tokens(text) <= max_tokens:
        return (spans[0][0], spans[-1][1]) if spans else (0, len(text))
    asked = content_terms(question)
    held = [terms(text[start:end]) & asked for start, end in spans]
    weights = rarity(held)
    sizes = [estimate_tokens(text[start:end]) for start, end in spans]
    best, best_key, last, size = (0, 0), (-1.0, -1.0), 0, 0.0
    for first in range(len(spans)):
        last = max(last, first)
        while last < len(spans) and size + sizes[last] <= max_tokens:
            size += sizes[last]
            last += 1
        inside = held[first : max(last, first + 1)]
        key = (
            sum(weights[term] for term in set().union(*inside)),
            sum(weights[term] for terms in inside for term in terms),
        )
        if key > best_key:
            best, best_key = (first, max(last, first + 1)), key
        size = size - sizes[first] if last > first else 0.0
    start, end = spans[best[0]][0], spans[best[1] - 1][1]
    return start, _cut(text, start, end, max_tokens)


def estimate_tokens(text: str) -> float:
    """About how many tokens a model makes of `text`: 0.7 for a Chinese, Japanese or Korean character, 1.3 for a word, 0.5 for
    a digit or sign. What runs on beyond a word's length, as code and scripts without blanks do, counts 0.4 a character."""
    n_wide = len(_WIDE.findall(text)) if not text.isascii() else 0
    found = _LETTERS.findall(text)
    n_over = sum(len(word) - LONG_WORD for word in found if len(word) > LONG_WORD)
    n_signs = len(_SIGNS.findall(text))
    return 0.7 * n_wide + 1.3 * len(found) + 0.4 * n_over + 0.5 * n_signs


LONG_WORD = 16
_WIDE_CHARS = "\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
_WIDE = re.compile(f"[{_WIDE_CHARS}]")
_LETTERS = re.compile(rf"(?:(?![{_WIDE_CHARS}])[^\W\d_])+")
_SIGNS = re.compile(r"[\d_]|[^\w\s]")


def content_terms(question: str) -> set[str]:
    """The question's terms that say what it is about, without those that only ask. "Summarise this file" has none."""
    return terms(question) - _ASKING


_ASKING_ZH = (
    "什么 多少 哪 哪个 哪些 哪位 哪里 哪儿 哪种 哪一 哪年 谁 何 何时 何地 为何 如何 怎么 怎样 为什么 几 几个 请问 问 我 你 这个 那个 他们 它们 种 位 名 些 中 里 上 下 时 时候 后 前 "
    "可以 所 人 年 多 大 做 称 叫 名字 名称 成为 使用 通过 进行 以及 根据 下列 以下 关于 "
    "总结 概括 概述 介绍 解释 说明 告诉 列出 文件 文档 资料 文章 内容 主要 份 篇 这份 这篇 这些 本文 全文"
)
_ASKING_EN = (
    "many much name names type types kind kinds sort call called become use used give given know known make made take "
    "taken happen happened summarize summarise summary explain describe tell list overview main point points topic "
    "document text file article passage content"
)
_ASKING = frozenset(words(_ASKING_EN)) | frozenset(_ASKING_ZH.split())


def rarity(held: Sequence[set[str]]) -> dict[str, float]:
    """Weight of each term that these sets hold: BM25's inverse document frequency over these sets, which is never negative."""
    counts = Counter(term for terms in held for term in terms)
    return {term: log(1 + (len(held) - n + 0.5) / (n + 0.5)) for term, n in counts.items()}


def _cut(text: str, start: int, end: int, max_tokens: int) -> int:
    """`end`, or the last word's end before it at which text[start:end] fits twice the budget."""
    while estimate_tokens(text[start:end]) > 2 * max_tokens:
        middle = start + (end - start) * 3 // 4
        blank = text.rfind(" ", start + 1, middle)
        end = blank if blank > start + (end - start) // 2 else middle
    return end


def _repeats(passage: Passage, other: Passage) -> bool:
    if passage.hit.doc_id != other.hit.doc_id:
        return False
    shared = min(passage.start + len(passage.text), other.start + len(other.text)) - max(passage.start, other.start)
    return shared > OVERLAP_SHARE * len(passage.text)


# ---------------------------------------------------------------- with a chat model


class _Generation:
    """What came of asking the model."""

    def __init__(self) -> None:
        self.text = ""
        self.usage = Usage()
        self.finish_reason = ""
        self.error: ChatError | None = None


def _generate(
    reply: _Generation,
    question: str,
    passages: Sequence[Passage],
    chat: ChatModel,
    settings: AnswerSettings,
    trace: Trace,
    deadline_s: float | None,
) -> Iterator[Event]:
    """Stream the model's reply into `reply`. What may become the agreed no-answer sentence is held back until it is not."""
    shown = [prompts.ShownPassage(passage.number, passage.header, passage.text) for passage in passages]
    messages = prompts.answer_messages(question, shown, language(question))
    n_shown = 0
    with trace.span("generate") as step:
        try:
            deltas = chat.stream(
                messages, max_tokens=settings.max_tokens, temperature=settings.temperature, deadline_s=deadline_s
            )
            for delta in prompts.spoken(deltas):
                reply.text += delta.text
                if delta.done:
                    reply.usage, reply.finish_reason = delta.usage or Usage(), delta.finish_reason
                if n_shown < len(reply.text) and not prompts.may_say_no_answer(reply.text):
                    yield Event(kind="text", text=reply.text[n_shown:])
                    n_shown = len(reply.text)
        except ChatError as error:
            reply.error = error
            step.detail["error"] = error.code
        reply.text = prompts.without_thinking(reply.text)
        step.n_in, step.n_out = reply.usage.n_prompt_tokens or None, reply.usage.n_answer_tokens or None
        step.detail["model"] = reply.usage.model or chat.name
    yield Event(kind="step", step=trace.steps[-1])


def _why_nothing_was_said(reply: _Generation) -> tuple[str, str] | None:
    """What kept the model from its first word, and what to do; None where it ended without one."""
    if reply.error is not None:
        return f"The chat model failed ({reply.error.code})", str(reply.error)
    if reply.finish_reason == "length":
        return (
            "The chat model was still thinking at answer.max_tokens",
            "Raise it, or turn thinking off for this model.",
        )
    return None


def _checked_answer(reply: _Generation, question: str, passages: Sequence[Passage]) -> Answer:
    lang = language(question)
    if prompts.says_no_answer(reply.text):
        return abstention(question, lang, passages, usage=reply.usage)
    checked = check(reply.text, passages, question=question)
    whole = reply.error is None  # a reply that broke off is shown as far as it came, and said to be incomplete
    if whole and (_nothing_holds(checked) or _beside_the_question(question, checked, passages)):
        return abstention(question, lang, passages, usage=reply.usage, unsupported=checked.unsupported)
    warnings = []
    if reply.error is not None:
        warnings.append(f"The answer is incomplete ({reply.error.code}): {reply.error}")
    elif reply.finish_reason == "length":
        warnings.append("The answer is incomplete: it reached answer.max_tokens. Raise it for longer answers.")
    if checked.unsupported:
        warnings.append("Some sentences are not borne out by the passages; they are listed as unsupported.")
    return Answer(
        text=checked.text,
        citations=checked.citations,
        usage=reply.usage,
        warnings=tuple(warnings),
        unsupported=checked.unsupported,
        broke_off=reply.error.code if reply.error else "length" if reply.finish_reason == "length" else "",
    )


def _nothing_holds(checked: Checked) -> bool:
    """Whether no sentence of the answer is borne out by a passage."""
    return (
        not any(citation.supported for citation in checked.citations)
        and len(checked.unsupported) == checked.n_sentences
    )


def _beside_the_question(question: str, checked: Checked, passages: Sequence[Passage]) -> bool:
    """Whether the quotes, with their headings and what stands right before them, hold next to none of the question.

    A small model that finds no answer copies some sentence all the same. Not told between languages, nor for questions
    without words of their own ("Summarise this"). Of answers that stand in a passage, 1 to 5 % are lost by it.
    """
    near = {passage.number: passage for passage in passages if language(passage.text) == language(question)}
    if not checked.citations or any(citation.marker not in near for citation in checked.citations):
        return False
    shares = term_shares(question, passages)
    if not shares:
        return False
    quoted = max(_held_share(shares, _with_context(citation, near[citation.marker])) for citation in checked.citations)
    return quoted < MIN_QUOTED


def _with_context(citation: Citation, passage: Passage) -> str:
    """A quote with its headings and the sentence before it, which often names what the quote calls "it"."""
    start = citation.start - passage.start
    before = [begin for begin, _ in sentences(passage.text) if begin < start]
    above = passage.hit.text[: max(0, citation.start - passage.hit.start)]
    headings = [line for line in above.splitlines() if line.startswith("#")]
    near = passage.text[before[-1] if before else 0 : start]
    return "\n".join([passage.header, *headings[-1:], near + citation.quote])


def abstention(
    question: str,
    lang: str,
    passages: Sequence[Passage],
    *,
    usage: Usage | None = None,
    unsupported: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
) -> Answer:
    missing = missing_terms(question, passages)
    if lang == "zh":
        text = "资料中没有这个问题的答案。" + (f"其中没有提到：{'、'.join(missing)}。" if missing else "")
    else:
        text = "The documents do not hold an answer to this question." + (
            f" They do not mention: {', '.join(missing)}." if missing else ""
        )
    return Answer(text=text, abstained=True, usage=usage or Usage(), unsupported=unsupported, warnings=warnings)


def missing_terms(question: str, passages: Sequence[Passage]) -> list[str]:
    """What the question asks about and no passage mentions, in its order: names, years and long numbers; else Chinese nouns.

    Between two languages numbers are told alone.
    """
    texts = [f"{passage.header}\n{passage.text}" for passage in passages]
    if not texts:
        return []
    whole = "\n".join(texts)
    missing = {number for number in missing_numbers(question, whole) if len(number) > 2}  # "3 reasons" is no subject
    if any(language(text) == language(question) for text in texts):
        found = [
            one for one in nouns(question) if not _is_asked_for(one[0], question) and not _mentioned(one[0], whole)
        ]
        missing |= missing_names(question, whole) | {word for word, is_name in found if is_name}
        missing = missing or {word for word, _ in found if word not in _ASKING}
    apart = [one for one in missing if not any(one != other and one in other for other in missing)]
    return sorted(apart, key=lambda one: (question.find(one) if one in question else len(question), one))[:MOST_MISSING]


def _mentioned(word: str, text: str) -> bool:
    """Whether a text holds a Chinese word, or what a longer one begins with, which is what is special to it: 华为 of 华为公司.

    Nor is one missing that the text holds without its first character: it may have been cut a character too early.
    """
    squeezed = "".join(text.split())
    parts = [part for part in words(word) if word.startswith(part)] + [word, word[1:]]
    return any(len(part) > 1 and part in squeezed for part in parts)


def _is_asked_for(word: str, question: str) -> bool:
    """Whether a word says what kind of thing is asked for, as in 什么朝代: an answer need not hold it."""
    return bool(re.search(rf"(?:什么|怎样|哪一?.?|几.?){re.escape(word)}", question))


def _finish(answer: Answer, question: str, hits: Sequence[Hit], trace: Trace) -> Iterator[Event]:
    yield Event(kind="answer", answer=finished(answer, question, hits, trace))


def finished(answer: Answer, question: str, hits: Sequence[Hit], trace: Trace) -> Answer:
    """The answer with what it was made from, and with what other documents among the hits say against it."""
    found = conflicts(answer.citations, hits)
    return replace(answer, question=question, hits=tuple(hits), trace=tuple(trace.steps), conflicts=found)


# ---------------------------------------------------------------- without a chat model


@dataclass(frozen=True, slots=True)
class _Candidate:
    score: float
    coverage: float  # of the question, by the sentence and its surroundings
    held: dict[str, float]  # the question's terms in the sentence, with their share of the question
    passage: Passage
    start: int  # in the passage's text
    end: int


def _extract(question: str, hits: Sequence[Hit], warnings: tuple[str, ...], trace: Trace) -> Iterator[Event]:
    with trace.span("extract") as step:
        answer = extractive_answer(question, hits, warnings=warnings)
        step.n_in, step.n_out = len(hits), len(answer.citations)
    yield Event(kind="step", step=trace.steps[-1])
    yield Event(kind="text", text=answer.text)
    yield from _finish(answer, question, hits, trace)


def extractive_answer(question: str, hits: Sequence[Hit], *, warnings: tuple[str, ...] = ()) -> Answer:
    """The one or two sentences of the hits that answer best, each with its marker; abstains when none is about the question.

    A sentence is scored by the question's words in it and around it, by the kind of thing that is asked for (a name, a
    number, a time) and by its hit's rank. Between two languages the best hit's first sentences are taken.
    """
    lang = language(question)
    passages = [
        Passage(number=rank, hit=hit, start=hit.start, text=hit.text)
        for rank, hit in enumerate(quotable(hits), start=1)
    ]
    found = sorted(_candidates(question, passages), key=lambda one: (-one.score, one.passage.number, one.start))
    same_language = any(language(passage.text) == lang for passage in passages[:3])
    if not found or (same_language and content_terms(question) and found[0].coverage < MIN_COVERAGE):
        return abstention(question, lang, passages, warnings=warnings)
    chosen = _with_second(found)
    parts, citations = [], []
    for number, one in enumerate(chosen, start=1):
        passage = Passage(
            number=number,
            hit=one.passage.hit,
            start=one.passage.start + one.start,
            text=one.passage.text[one.start : one.end],
        )
        parts.append(_with_marker(" ".join(passage.text.split()), number))
        citations.append(_exact(passage))
    text = "".join(part if is_wide(part[-1]) else f"{part} " for part in parts).rstrip()
    return Answer(text=text, citations=tuple(citations), warnings=warnings)


def _with_second(found: Sequence[_Candidate]) -> list[_Candidate]:
    """The best sentence, and with it the one that scores best with what it adds to the first, if that is near as good."""
    first = found[0]

    def worth(other: _Candidate) -> float:
        return other.score + sum(share for term, share in other.held.items() if term not in first.held)

    second = max(found[1:], key=worth, default=None)
    if second is None or worth(second) < SECOND_SHARE * first.score:
        return [first]
    return sorted([first, second], key=lambda one: (one.passage.number, one.start))


def _exact(passage: Passage) -> Citation:
    hit, end = passage.hit, passage.start + len(passage.text)
    return Citation(
        marker=passage.number, chunk_id=hit.chunk_id, doc_id=hit.doc_id, source=hit.source, title=hit.title, quote=passage.text,
        start=passage.start, end=end, page=hit.page_of(passage.start), supported=True,
    )  # fmt: skip


def _with_marker(sentence: str, number: int) -> str:
    stop = len(sentence.rstrip(".!?。！？…"))
    return with_markers(sentence, [(stop, number)])


def _candidates(question: str, passages: Sequence[Passage]) -> Iterator[_Candidate]:
    asked = content_terms(question)
    spans = [(passage, start, end) for passage in passages for start, end in sentences(passage.text)]
    held = [terms(passage.text[start:end]) for passage, start, end in spans]
    weights = rarity([*held, asked])
    total = sum(weights[term] for term in asked) or 1.0
    around = {passage.number: terms(f"{passage.header}\n{passage.text}") for passage in passages}
    for (passage, start, end), inside in zip(spans, held, strict=True):
        near = asked & around[passage.number]
        own = {term: weights[term] / total for term in sorted(asked & inside)}
        whole = sum(weights[term] for term in near) / total
        if end - start <= MAX_SENTENCE_CHARS:
            kind = kind_bonus(question, passage.text[start:end], asked)
            score = sum(own.values()) + 0.5 * whole + kind + 0.3 / (passage.number + 1)
            yield _Candidate(score, whole, own, passage, start, end)


_TIME = re.compile(r"\b(?:1\d{3}|20\d{2})\b|\d{1,2}:\d{2}|\d+\s*(?:年|月|日|世纪|点)|\b(?:january|february|march|april|june|july|august|september|october|november|december|century|decade)\b", re.IGNORECASE)  # fmt: skip
_KINDS = (
    (re.compile(r"\bwhen\b|\b(?:what|which) (?:year|date|month|day|century|time)\b|何时|什么时候|哪一?年|几月|哪天|什么时间|年份", re.IGNORECASE), _TIME),
    (re.compile(r"\bhow (?:many|much|long|old|tall|far|big|large|often|fast|high)\b|\b(?:what|which) (?:percent|number|amount|age|score)|多少|几[个名次年人]|多[大长高远久]|比例", re.IGNORECASE), re.compile(r"\d|[一二三四五六七八九十百千万亿]{2,}|\b(?:two|three|four|five|six|seven|eight|nine|ten|twelve|hundred|thousand|million|billion|percent)\b", re.IGNORECASE)),
    (re.compile(r"\bwho(?:m|se)?\b|\b(?:what|which) (?:person|man|woman|scientist|author|player|king|president)|谁|哪位|什么人|哪个人", re.IGNORECASE), re.compile(r"(?<=[\w,;] )[A-Z][a-z]+|[\u4e00-\u9fff]·[\u4e00-\u9fff]")),
)  # fmt: skip


def kind_bonus(question: str, sentence: str, asked: set[str]) -> float:
    """0.15 for a sentence that holds the kind of thing a question asks for, beyond what stands in the question itself."""
    for ask, fits in _KINDS:
        if ask.search(question):
            return 0.15 if any(match.group().lower() not in asked for match in fits.finditer(sentence)) else 0.0
    return 0.0
