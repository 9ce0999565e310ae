"""Why a passage is among the hits of a question, or at which step it was lost, and what would bring it back.

Nothing is advised as a remedy that was not tried: each is searched with, and completed with as many hits as it takes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rag.catalog_rows import StoredChunk
from rag.errors import RagstoneError
from rag.filters import matches
from rag.fusion import Ranking
from rag.pipeline import Recalled
from rag.routing import Routed, Stage
from rag.settings import FORMS
from rag.store import search_terms
from rag.text import is_han
from rag.trace import Trace

FURTHEST = 5000  # how deep a retriever is asked for a passage that it did not bring
TRIES = 8  # searches that one remedy may take: more hits are asked for until the passage is among them
MOST_REMEDIES = 4
MOST_CAUSES = 4  # steps that keep one passage out, one after the other

Attempt = Callable[[Mapping[str, Any], Mapping[str, Any], Trace], Routed]
"""(options of `search`, settings by dotted name, trace) → the search with these changed. Raises what a search raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a passage stood after a step. rank: from 1; None: not among the step's n candidates."""

    step: str
    rank: int | None
    n: int
    score: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """A change with which the passage was among the hits. options: of `search`; settings: by dotted name."""

    text: str
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """rank: among the hits, None when it is not shown. lost_at: the step that lost it, "" when none did.

    searched: which of the searches of the mode auto gave the hits: search, graph or escalated.
    shared_words, missing_words: of the question, as keyword search compares them, in the passage and not in it; whole words.
    dropped_words: of the question, which keyword search leaves out.
    remedies: what was tried and brings it back, the simplest first. advice: the same as sentences, and what else may help.
    """

    chunk_id: str
    question: str
    rank: int | None
    lost_at: str
    reason: str
    advice: tuple[str, ...]
    standings: tuple[Standing, ...]
    shared_words: tuple[str, ...]
    missing_words: tuple[str, ...]
    dropped_words: tuple[str, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    searched: str = "search"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loss:
    """tries: changes that may bring it back. hints: what cannot be tried, such as other words."""

    step: str
    reason: str
    tries: Sequence[Remedy] = ()  # the likeliest first
    hints: Sequence[str] = ()


def explain(stored: StoredChunk, attempt: Attempt) -> Explanation:
    """Search and follow one live chunk through the steps. Raises what a search raises."""
    trace = Trace()
    routed = attempt({}, {}, Trace())
    rank = _shown(routed, stored)
    if rank is None:
        routed = attempt(
            {"explain": True}, {}, trace
        )  # with all candidates, where a plain search needs the first alone
    case = _Case(stored, routed, trace)
    loss = _Loss(step="", reason=case.why_found()) if rank else case.loss()
    remedies = () if rank else _tried(stored, attempt, loss)
    question = routed.won.ranked.plan.question
    shared, missing, dropped = _words(question, stored.chunk.indexed_text)
    return Explanation(
        chunk_id=stored.chunk.chunk_id, question=question, rank=rank, lost_at=loss.step, reason=loss.reason,
        advice=(*(one.text for one in remedies), *loss.hints), standings=case.standings(),
        shared_words=shared, missing_words=missing, dropped_words=dropped, remedies=remedies, searched=routed.won.name,
    )  # fmt: skip


def refused(stored: StoredChunk, question: str, step: str, reason: str, advice: str) -> Explanation:
    """The explanation of a passage that no search of this reader looks at."""
    return Explanation(
        chunk_id=stored.chunk.chunk_id, question=question, rank=None, lost_at=step, reason=reason, advice=(advice,),
        standings=(), shared_words=(), missing_words=(),
    )  # fmt: skip


def _words(question: str, text: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The question's words: in the text, not in it, and left out by keyword search. Whole words, as people read them.

    The index holds pairs of Chinese characters beside them. A word whose pairs are all there is in the text, however it is cut
    there; pairs are named where they alone are shared. A single character inside a longer word is neither found nor missing.
    """
    held, asked = search_terms(text), search_terms(question, question=True, pairs=False)

    def is_held(term: str) -> bool:
        pairs = [term[at : at + 2] for at in range(len(term) - 1)] if is_han(term[0]) else []
        return term in held or (bool(pairs) and all(pair in held for pair in pairs))

    shared = [word for term, word in asked.items() if is_held(term)]
    missing = [word for term, word in asked.items() if not is_held(term) and not (is_han(word[0]) and word in text)]
    whole = search_terms(question, question=True, dropped=True, pairs=False)
    dropped = [word for term, word in whole.items() if term not in asked]
    shared = shared or [word for term, word in search_terms(question, question=True).items() if term in held]
    return tuple(shared), tuple(missing), tuple(dropped)


def _rank(ranking: Ranking, pk: str) -> int | None:
    return next((rank for rank, (key, _) in enumerate(ranking, start=1) if key == pk), None)


def _shown(routed: Routed, stored: StoredChunk) -> int | None:
    return next((hit.rank for hit in routed.hits if hit.chunk_id == stored.chunk.chunk_id), None)


# ------------------------------------------------------------ remedies


def _tried(stored: StoredChunk, attempt: Attempt, loss: _Loss) -> tuple[Remedy, ...]:
    """Changes with which the passage is shown, those with the fewest first.

    Where none is enough by itself, the first one stays, and what loses the passage after it is changed, too.
    """
    before = Remedy(text="")
    for _ in range(MOST_CAUSES):
        if found := _worked(stored, attempt, before, loss.tries):
            return tuple(replace(one, text=f"{one.text} ({written(one)}).") for one in found[:MOST_REMEDIES])
        if not loss.tries:
            break
        before, trace = _both(before, loss.tries[0]), Trace()
        try:
            routed = attempt({**before.options, "explain": True}, before.settings, trace)
        except RagstoneError:
            break
        loss = _Case(stored, routed, trace).loss()
    return ()


def _worked(stored: StoredChunk, attempt: Attempt, before: Remedy, tries: Sequence[Remedy]) -> list[Remedy]:
    plain = _completed(stored, attempt, _both(before, Remedy(text="Ask for more hits")))
    most = plain.options.get("top_k", 0) if plain else FURTHEST + 1
    worked = [done for one in tries if (done := _completed(stored, attempt, _both(before, one)))]
    # A change that takes as many hits as none at all changes nothing.
    worked = [one for one in worked if one.options.get("top_k", 0) < most]
    return sorted([*worked, *([plain] if plain else [])], key=lambda one: len({**one.options, **one.settings}))


def _both(first: Remedy, second: Remedy) -> Remedy:
    text = f"{first.text}; {second.text[:1].lower()}{second.text[1:]}" if first.text else second.text
    options, settings = {**first.options, **second.options}, {**first.settings, **second.settings}
    return Remedy(text=text, options=options, settings=settings)


def _completed(stored: StoredChunk, attempt: Attempt, change: Remedy) -> Remedy | None:
    """The change, with as many hits as it takes; None where the passage does not come back."""
    works: Remedy | None = None
    least = 0
    for n in range(TRIES):
        try:
            routed = attempt(change.options, change.settings, Trace())
        except RagstoneError:  # such as a reranker that is not there
            return None
        rank, asked = _shown(routed, stored), routed.won.options.top_k
        least = least or asked
        if rank is None and works is not None:
            return works  # fewer hits are too few: with them the retrievers are asked for less
        if rank is not None:
            works = change
            if max(rank, least) == asked:
                return works
        wanted = max(rank, least) if rank else _needed(routed.won, stored)
        if rank is None and (
            n > 2 or wanted <= asked
        ):  # its rank grows with the candidates; equal scores change places
            wanted = max(wanted, 2 * asked)
        if wanted > FURTHEST or wanted == asked:
            return works
        change = replace(change, options={**change.options, "top_k": wanted})
    return works


def _needed(stage: Stage, stored: StoredChunk) -> int:
    """How many hits it takes at least, as far as this search can tell; FURTHEST + 1: any number is too few."""
    if rank := _rank(stage.ranked.final, stored.pk):
        return rank
    last = list(stage.ranked.lists)[-1]
    if last == "mmr" and _rank(stage.ranked.lists[list(stage.ranked.lists)[-2]], stored.pk):
        return max(2 * stage.options.top_k, stage.options.top_k + 1)  # it picks one after the other
    if any(_rank(ranking, stored.pk) for ranking in stage.ranked.lists.values()):
        return FURTHEST + 1  # a step takes it out, however many are shown
    return min((rank for _, rank in _further_down(stage, stored)), default=FURTHEST + 1)


def _further_down(stage: Stage, stored: StoredChunk) -> Iterator[tuple[Recalled, int]]:
    """The retrievers that have it when they are asked for more, with its rank."""
    for one in stage.ranked.recalled:
        retriever = stage.parts.retrievers.get(one.retriever) or stage.parts.fallback
        if retriever is not None and (rank := _rank(list(retriever(one.query, FURTHEST, one.where)), stored.pk)):
            yield one, rank


_FLAGS: Mapping[str, Callable[[Any], str]] = {
    "top_k": lambda value: f"-k {value}",
    "mode": lambda value: f"--mode {value}",
    "mmr": lambda value: f"--mmr {value:g}",
    "filter": lambda _: "no --filter",
    "rerank": lambda value: "--rerank" if value else "--no-rerank",
    "auto_filter": lambda _: "--no-auto-filter",
    "summaries": lambda value: f"--summaries {value}",
}


def written(one: Remedy) -> str:
    """As the command line and the settings have it."""
    flags = [_FLAGS[name](value) for name, value in one.options.items()]
    values = [f"no {key}" if value is None else f"{key}={json.dumps(value)}" for key, value in one.settings.items()]
    return ", ".join([*values, *flags])


# ------------------------------------------------------------ where it was lost


class _Case:
    """One passage in one search: where it stood, and the step that lost it."""

    def __init__(self, stored: StoredChunk, routed: Routed, trace: Trace) -> None:
        self._stored, self._routed, self._trace = stored, routed, trace
        self._stage, self._ranked, self._options = routed.won, routed.won.ranked, routed.won.options
        self._deeper: dict[str, int] = {}  # step of a retriever → rank when it is asked for more

    def standings(self) -> tuple[Standing, ...]:
        """Of each step, with the rank that a retriever gives further down, where that was looked up."""
        found = []
        for step, ranking in self._ranked.lists.items():
            rank, deeper = _rank(ranking, self._stored.pk), self._deeper.get(step)
            score = ranking[rank - 1][1] if rank else None
            note = f"rank {deeper} when asked for more" if deeper else ""
            found.append(Standing(step=step, rank=rank, n=len(ranking), score=score, note=note))
        return tuple(found)

    def why_found(self) -> str:
        which = {"graph": ", which the search with the graph found", "escalated": ", which the search in the chat model's words found"}  # fmt: skip
        return f"It is among the hits{which.get(self._routed.won.name, '')}."

    def loss(self) -> _Loss:
        if self._options.summaries != "all" and bool(self._stored.chunk.level) is not (
            self._options.summaries == "only"
        ):
            kind = "a summary" if self._stored.chunk.level else "no summary"
            return _Loss(step="summaries", reason=f"It is {kind}, and summaries are searched: {self._options.summaries}.",
                         tries=[Remedy(text="Search all", options={"summaries": "all"})])  # fmt: skip
        if found := self._filtered():
            return found
        if self._given_way():
            name = {"graph": "with the graph", "escalated": "in the chat model's words"}[self._routed.won.name]
            return _Loss(
                step=self._routed.won.name,
                reason=f"The first search has it at rank {self._given_way()}; those hits held too little of the question, and "
                f"those of the search {name} took their place.",
                tries=[Remedy(text="Do not search again", options={"mode": "hybrid"})],
            )
        if not any(_rank(one.ranking, self._stored.pk) for one in self._ranked.recalled):
            return self._not_recalled()
        return self._demoted()

    def _given_way(self) -> int | None:
        """Its rank among hits that other hits took the place of."""
        ranks = [_rank(one.ranked.final[: one.options.top_k], self._stored.pk) for one in self._routed.earlier]
        return next((rank for rank in ranks if rank), None)

    def _filtered(self) -> _Loss | None:
        row, given = self._stored.row, self._options.filter
        if given is not None and not matches(given, row):
            return _Loss(step="filter", reason="The filter leaves its document out.",
                         tries=[Remedy(text="Search without the filter, or widen it", options={"filter": None})])  # fmt: skip
        read = self._ranked.plan.filter
        in_force = any(one.where is not None and not matches(one.where, row) for one in self._ranked.recalled)
        if read is not None and in_force:
            return _Loss(step="auto-filter", reason="The filter that was read from the question leaves its document out.",
                         tries=[Remedy(text="Read no filter from the question", options={"auto_filter": False})])  # fmt: skip
        return None

    # -------------------------------------------------------- recall

    def _not_recalled(self) -> _Loss:
        """No retriever brought it: how far down is it in each, and why?"""
        hints = ["Let the chat model reword the question (--rewrite, --multi-query, --hyde)."]
        retrievers = {one.retriever for one in self._ranked.recalled}
        elsewhere = (
            []
            if retrievers >= {"dense", "bm25"}
            else [Remedy(text="Search by meaning and words", options={"mode": "hybrid"})]
        )
        if retrievers == {"bm25"} and not any(
            search_terms(one.query.text, question=True) for one in self._ranked.recalled
        ):
            return _Loss(step="analyser", reason="Nothing of the question is left after the analyser, which leaves stop words out, and punctuation.",
                         tries=elsewhere, hints=["Ask with words that say what it is about."])  # fmt: skip
        deeper = list(_further_down(self._stage, self._stored))
        self._deeper = {one.step: rank for one, rank in deeper}
        if deeper:
            told = "; ".join(
                f"{one.name} has it at rank {rank} and was asked for {one.depth * self._options.rounds}"
                for one, rank in deeper
            )
            plain = [] if self._options.mmr is None else [Remedy(text="Turn diversification off", options={"mmr": 1.0})]
            return _Loss(step="recall", reason=f"It is further down than what the retrievers were asked for: {told}.",
                         tries=[*self._more_candidates(deeper), *plain, *elsewhere], hints=hints)  # fmt: skip
        reasons = dict.fromkeys(self._absent(one) for one in self._ranked.recalled)
        return _Loss(step="recall", reason=" ".join(reasons), tries=elsewhere, hints=hints)

    def _more_candidates(self, deeper: Sequence[tuple[Recalled, int]]) -> Iterator[Remedy]:
        for one, rank in sorted(deeper, key=lambda item: item[1]):
            own = one.retriever in self._options.depths
            changed = (
                {"search.depths": {**self._options.depths, one.retriever: rank}} if own else {"search.depth": rank}
            )
            yield Remedy(text="Let retrievers bring more candidates", settings=changed)

    def _absent(self, one: Recalled) -> str:
        """Why a retriever does not have it at all."""
        if one.retriever in FORMS and self._stage.parts.forms is not None:
            return self._stage.parts.forms().why(one.retriever, one.query, self._stored, one.where)
        if one.retriever == "bm25":
            asked = search_terms(one.query.text, question=True)
            if not asked:
                return "Of the question nothing is left for keyword search: it leaves stop words out, and punctuation."
            if not asked.keys() & search_terms(self._stored.chunk.indexed_text).keys():
                return "Keyword search cannot find it: it holds none of the question's words."
        if one.retriever == "graph":
            return "No entity of the question leads to it in the graph."
        return f"{one.name} does not have it among its first {FURTHEST}."

    # -------------------------------------------------------- after recall

    def _demoted(self) -> _Loss:
        """The last step that took it out, or from among the hits to below them; top_k where it never was among them."""
        pk, top_k = self._stored.pk, self._options.top_k
        best = min((rank for one in self._ranked.recalled if (rank := _rank(one.ranking, pk))), default=0)
        before = best
        lost: tuple[str, int, int | None] = ("top_k", best, None)
        for name, ranking in self._ranked.lists.items():
            if name.startswith("recall:"):
                continue
            rank = _rank(ranking, pk)
            taken_out = rank is None and name != "mmr"  # which picks it when more hits are asked for
            if taken_out or before <= top_k < (rank or FURTHEST):
                lost = (name, before, rank)
            if rank is None:
                break
            before = rank
        step, was, now = lost
        told = {"fuse": self._fused, "rerank": self._reranked, "boost": self._boosted, "collapse": self._collapsed, "mmr": self._picked}  # fmt: skip
        return told[step](was, now) if step in told else self._below(before)

    def _below(self, rank: int) -> _Loss:
        options, tries = (
            self._options,
            [Remedy(text="Let a reranker read the best candidates", options={"rerank": True})],
        )
        reason = f"It is at rank {rank}; {options.top_k} hits are shown."
        fused = _rank(self._ranked.lists["fuse"], self._stored.pk)
        if "rerank" in self._ranked.lists:
            tries = []
            if fused and fused > options.rerank_depth:
                reason += f" The reranker reads the first {options.rerank_depth}."
                tries = [Remedy(text="Let the reranker read more candidates", settings={"rerank.depth": fused})]
        tries += self._cut_off()
        if options.mmr is not None:
            tries.append(Remedy(text="Turn diversification off", options={"mmr": 1.0}))
            reason += f" Diversification looks at the first {options.depth}." if rank > options.depth else ""
        return _Loss(step="top_k", reason=reason, tries=tries)

    def _fused(self, was: int, now: int | None) -> _Loss:
        ranks = {one.name: _rank(one.ranking, self._stored.pk) for one in self._ranked.recalled}
        told = ", ".join(
            f"{name} has it at rank {rank}" if rank else f"{name} not at all" for name, rank in ranks.items()
        )
        best = min(
            (one for one in self._ranked.recalled if ranks[one.name]), key=lambda one: ranks[one.name] or 0
        ).retriever
        tries = [Remedy(text=f"Search with {best} alone", options={"mode": best})]
        if best in ("dense", "bm25") and self._options.retrievers.keys() <= {"dense", "bm25"}:
            weight = 0.75 if best == "dense" else 0.25
            tries.insert(0, Remedy(text=f"Let {best} weigh more", settings={"search.dense_weight": weight}))
        return _Loss(step="fuse", reason=f"{told}; together that makes rank {now}.", tries=[*tries, *self._cut_off()])

    def _cut_off(self) -> Iterator[Remedy]:
        """More candidates of retrievers that have it further down, where others brought it."""
        lacking = [one for one in self._ranked.recalled if _rank(one.ranking, self._stored.pk) is None]
        deeper = [(one, rank) for one, rank in _further_down(self._stage, self._stored) if one in lacking]
        self._deeper |= {one.step: rank for one, rank in deeper}
        return self._more_candidates(deeper)

    def _reranked(self, was: int, now: int | None) -> _Loss:
        options, without = self._options, Remedy(text="Leave the reranker out", options={"rerank": False})
        if now is not None:
            half = (
                [Remedy(text="Let the reranker weigh less", settings={"rerank.weight": 0.5})]
                if options.rerank_weight > 0.5
                else []
            )
            return _Loss(
                step="rerank", reason=f"The reranker took it from rank {was} to {now}.", tries=[without, *half]
            )
        every = Remedy(text="Keep all, whatever their scores", settings={"rerank.threshold": None})
        if was > options.rerank_depth:
            more = Remedy(text="Let the reranker read more candidates", settings={"rerank.depth": was})
            reason = (f"It is at rank {was}; the reranker reads the first {options.rerank_depth}, and with "
                      "rerank.threshold nothing else is kept.")  # fmt: skip
            return _Loss(step="rerank", reason=reason, tries=[more, every, without])
        return _Loss(
            step="rerank", reason=f"The reranker scored it below {options.rerank_threshold}.", tries=[every, without]
        )

    def _boosted(self, was: int, now: int | None) -> _Loss:
        found = {
            "search.boosts": ("Favour no documents", {}, bool(self._options.boosts)),
            "search.recency": ("Do not favour newer documents", 0.0, self._options.recency is not None),
        }
        tries = [Remedy(text=text, settings={key: value}) for key, (text, value, on) in found.items() if on]
        if len(tries) > 1:
            both = {key: value for key, (_, value, _) in found.items()}
            tries.append(Remedy(text="Favour neither", settings=both))
        names = " and ".join(key for key, (_, _, on) in found.items() if on)
        return _Loss(step="boost", reason=f"{names} took it from rank {was} to {now}.", tries=tries)

    def _collapsed(self, was: int, _now: int | None) -> _Loss:
        mine = self._stored.chunk.chunk_id
        repeats = [step.detail["repeats"] for step in self._trace.steps if step.name == "collapse"]
        twin = next((one[mine] for one in reversed(repeats) if mine in one), "a better passage")
        return _Loss(
            step="collapse",
            reason=f"It was at rank {was} and repeats {twin} (cosine of {self._options.collapse} or more).",
            tries=[Remedy(text="Keep repetitions", settings={"search.collapse": 1.0})],
        )

    def _picked(self, was: int, now: int | None) -> _Loss:
        other, cosine = self._most_alike()
        where = f"it comes to rank {now} after it" if now else "others were picked"
        return _Loss(
            step="mmr",
            reason=f"It is at rank {was} before diversification, and {where}; it is like {other} (cosine {cosine:.3f}), which was picked.",
            tries=[Remedy(text=f"Turn diversification off (λ is {self._options.mmr})", options={"mmr": 1.0})],
        )  # fmt: skip

    def _most_alike(self) -> tuple[str, float]:
        """The shown passage that this one is most like."""
        rows = self._ranked.rows
        picked = [pk for pk, _ in self._ranked.final[: self._options.top_k] if pk != self._stored.pk]
        vectors = self._stage.parts.vectors([self._stored.vector_key, *(rows[pk].vector_key for pk in picked)])
        mine = vectors.get(self._stored.vector_key)
        if mine is None:
            return "another one", 0.0
        alike = {
            rows[pk].chunk_id: float(np.dot(vectors[rows[pk].vector_key], mine))
            for pk in picked
            if rows[pk].vector_key in vectors
        }
        return max(alike.items(), key=lambda item: item[1], default=("another one", 0.0))
