"""How a chat model behaves with the passages it is given: the abilities of RGB, and DomainRAG's conversation, faithfulness, structure.

The answers come from the pipeline's own last step (rag/answering.py): what is measured is what ships.
Sources: Chen et al., AAAI 2024, arXiv:2309.01431 (RGB); Wang et al., 2024, arXiv:2406.05654 (DomainRAG).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from eval.answer_metrics import by_character, declines, exact_match, normalised, plain, rouge_l, token_f1
from eval.evaluation import Progress
from eval.lines import read_lines
from eval.problems import ProblemLog
from rag.answering import answer_events, coverage
from rag.citations import Passage
from rag.errors import ChatError, UsageError
from rag.settings import AnswerSettings, ChunkSettings
from rag.text import language
from rag.trace import Trace
from rag.types import Answer, ChatModel, ChunkContext, Hit

N_PASSAGES = 5
NOISE = 0.4

TESTS = (
    "noise-robustness",
    "negative-rejection",
    "information-integration",
    "counterfactual-robustness",
    "conversation",
    "faithfulness",
    "structure",
)
_FILES: dict[str, tuple[str, ...]] = {
    "noise-robustness": ("rgb-zh-refine", "rgb-en-refine"),
    "negative-rejection": ("rgb-zh-refine", "rgb-en-refine"),
    "information-integration": ("rgb-zh-int", "rgb-en-int"),
    "counterfactual-robustness": ("rgb-zh-fact", "rgb-en-fact"),
    "conversation": ("domainrag-conversation",),
    "faithfulness": ("domainrag-faithful",),
    "structure": ("domainrag-html-questions",),
}
_FLAGS_ERROR = re.compile(
    r"factual(?:ly)? (?:error|wrong|incorrect)|(?:is|are|was|were|seems?|appears?) (?:wrong|incorrect|inaccurate|mistaken)|contradict|misinformation"
    r"|事实性错误|有误|错误|不准确|不正确|矛盾|与事实不符",
    re.IGNORECASE,
)

Wanted = tuple[tuple[str, ...], ...]  # every item, in any of its spellings


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question of a test. wrong: what the passages claim against the truth. history: (question, answer) pairs."""

    test: str
    case_id: str
    question: str
    passages: tuple[str, ...]
    wanted: Wanted
    wrong: Wanted = ()
    history: tuple[tuple[str, str], ...] = ()
    titles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """value: 1 for a right answer, or its token F1 in the conversation test. code: of the failure; the case then counts 0."""

    case: Case
    value: float
    text: str = ""
    abstained: bool = False
    followed_wrong: bool = False
    code: str = ""
    more: Mapping[str, float] = field(default_factory=dict)


Answerer = Callable[[Case], Answer]


def load_cases(
    folder: Path,
    tests: Sequence[str] = TESTS,
    *,
    limit: int | None = None,
    noise: float = NOISE,
    n_passages: int = N_PASSAGES,
    seed: int = 0,
    log: ProblemLog,
) -> list[Case]:
    """The cases of the tests whose files lie in the folder (NAME.jsonl or .jsonl.gz), in order.

    noise: share of irrelevant passages in the noise test. limit: cases of each file.
    Raises: UsageError for an unknown test, or when no file of any test is there.
    """
    for test in tests:
        if test not in TESTS:
            raise UsageError(f"There is no test {test!r}. There are: {', '.join(TESTS)}.")
    if not 0 <= noise <= 1:
        raise UsageError(f"The noise is {noise}; give a share from 0 to 1.")
    cases: list[Case] = []
    for test in tests:
        for name in _FILES[test]:
            path = next((p for p in (folder / f"{name}.jsonl", folder / f"{name}.jsonl.gz") if p.is_file()), None)
            if path is None:
                continue
            found = 0
            for record in _records(path, log):
                case = _case(test, record, folder, noise, n_passages, seed)
                if case is None:
                    log.add("bad_line", str(record.get("id", "")), where=path.name)
                elif limit is None or found < limit:
                    cases.append(replace(case, case_id=f"{name}:{case.case_id}"))
                    found += 1
    if not cases:
        names = ", ".join(f"{name}.jsonl" for test in tests for name in _FILES[test])
        raise UsageError(f"{folder} holds none of {names}. Give the folder with these benchmarks.")
    return cases


def run_cases(cases: Sequence[Case], answer: Answerer, *, progress: Progress | None = None) -> list[Outcome]:
    """Ask for each case; a chat model that fails is a failure of that case."""
    outcomes = []
    for done, case in enumerate(cases, start=1):
        try:
            outcomes.append(rate(case, answer(case)))
        except ChatError as error:
            outcomes.append(Outcome(case=case, value=0.0, code=error.code))
        if progress is not None:
            progress("cases", done, len(cases))
    return outcomes


def rate(case: Case, answer: Answer) -> Outcome:
    """Right or wrong, as the test says."""
    text = plain(answer.text)
    declined = answer.abstained or declines(answer.text)
    right = not declined and says_all(text, case.wanted)
    followed = not declined and bool(case.wrong) and says_all(text, case.wrong)
    more: dict[str, float] = {}
    if case.test == "negative-rejection":
        value = float(declined)
    elif case.test == "counterfactual-robustness":
        value = float(right or bool(_FLAGS_ERROR.search(text)))
    elif case.test == "faithfulness":
        value = float(followed)
    elif case.test == "conversation":
        references = [one for item in case.wanted for one in item]
        value = 0.0 if declined else token_f1(text, references, cut=by_character)
        said = 0.0 if declined else 1.0
        more = {"exact-match": said * exact_match(text, references), "ROUGE-L": said * rouge_l(text, references)}
    else:
        value = float(right)
    return Outcome(case=case, value=value, text=answer.text, abstained=declined, followed_wrong=followed, more=more)


def says_all(text: str, wanted: Wanted) -> bool:
    """Whether every item stands in the text in one of its spellings; blanks and punctuation do not count."""
    said = normalised(text).replace(" ", "")
    items = [[normalised(one).replace(" ", "") for one in item] for item in wanted]
    return bool(items) and all(any(one and one in said for one in item) for item in items)


def pipeline_answerer(chat: ChatModel | None, settings: AnswerSettings, *, deadline_s: float) -> Answerer:
    """Answers with the pipeline's last step. A follow-up question is first made standalone, as in a conversation.

    A model that fails raises ChatError, where the pipeline would quote the passages instead.
    """
    from rag.understanding import UnderstandOptions, UnderstandParts, understand

    def answer(case: Case) -> Answer:
        watched = _Watched(chat) if chat is not None else None
        question = case.question
        if case.history and watched is not None:
            parts = UnderstandParts(chat=watched, deadline_s=deadline_s)
            question = understand(
                question, parts=parts, options=UnderstandOptions(history=case.history), trace=Trace()
            ).question
        events = answer_events(
            question, _hits(case), chat=watched, settings=settings, trace=Trace(), deadline_s=deadline_s
        )
        given = next(event.answer for event in events if event.answer is not None)
        if watched is not None and watched.error is not None:
            raise watched.error
        return given

    return answer


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Per test and file: the mean, how many, failures by code, and what else was seen."""
    tree: dict[str, Any] = {}
    for test in TESTS:
        own = [one for one in outcomes if one.case.test == test]
        if own:
            files = sorted({one.case.case_id.split(":")[0] for one in own})
            tree[test] = _figures(own) | {
                "files": {name: _figures([o for o in own if o.case.case_id.startswith(f"{name}:")]) for name in files}
            }
    return tree


def header_check(folder: Path, log: ProblemLog, *, limit: int | None = None) -> dict[str, Any]:
    """Without a model: of DomainRAG's table questions, how often the chunk with the answer's cell holds its table's header, too."""
    n = n_found = n_with_header = 0
    for case in load_cases(folder, ["structure"], limit=limit, n_passages=10_000, log=log):
        n += 1
        cells = {one for item in case.wanted for one in item}
        holding = [text for text in case.passages if any(_in_cell(one, text) for one in cells)]
        n_found += bool(holding)
        n_with_header += any(re.search(r"^\|[\s:|-]+\|\s*$", text, re.MULTILINE) for text in holding)
    return {"n": n, "answer_in_a_chunk": n_found, "with_header": n_with_header}


# ---------------------------------------------------------------- inside


class _Watched:
    """A chat model whose last failure is remembered: the pipeline answers all the same, the evaluation must know."""

    def __init__(self, chat: ChatModel) -> None:
        self._chat, self.name = chat, chat.name
        self.error: ChatError | None = None

    def stream(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        try:
            yield from self._chat.stream(*arguments, **options)
        except ChatError as error:
            self.error = error
            raise

    def close(self) -> None:
        """The model is the caller's."""


def _figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    codes: dict[str, int] = {}
    for one in outcomes:
        if one.code:
            codes[one.code] = codes.get(one.code, 0) + 1
    tree: dict[str, Any] = {
        "value": sum(one.value for one in outcomes) / len(outcomes),
        "n": len(outcomes),
        "abstained": sum(one.abstained for one in outcomes),
        "failures": dict(sorted(codes.items())),
    }
    if any(one.case.wrong for one in outcomes):
        tree["followed_wrong"] = sum(one.followed_wrong for one in outcomes)
    for name in sorted({name for one in outcomes for name in one.more}):
        tree[name] = sum(one.more.get(name, 0.0) for one in outcomes) / len(outcomes)
    return tree


def _records(path: Path, log: ProblemLog) -> Iterator[dict[str, Any]]:
    for number, line in read_lines(path, log):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            yield record
        else:
            log.add("bad_line", f"line {number}", where=path.name)


def _case(test: str, record: Mapping[str, Any], folder: Path, noise: float, n: int, seed: int) -> Case | None:
    question = record.get("query", record.get("question"))
    identity = str(record.get("id", ""))
    if not isinstance(question, str) or not question.strip():
        return None
    base = Case(test=test, case_id=identity, question=question, passages=(), wanted=_wanted(record.get("answer")))
    if test in ("conversation", "faithfulness", "structure"):
        return _domain_case(base, record, folder, n)
    rng = random.Random(f"{seed} {test} {identity}")  # noqa: S311  an order, no secret
    negative = _texts(record.get("negative"))
    if test == "negative-rejection":
        chosen = negative[:n]
    elif test == "noise-robustness":
        n_noise = min(len(negative), round(n * noise))
        chosen = _texts(record.get("positive"))[: n - n_noise] + negative[:n_noise]
    elif test == "information-integration":
        groups = record.get("positive")
        firsts = [_texts(group)[:1] for group in groups] if isinstance(groups, list) else []
        chosen = [text for group in firsts for text in group]
        chosen += negative[: max(0, n - len(chosen))]
    else:
        n_noise = min(len(negative), round(n * noise))
        chosen = _texts(record.get("positive_wrong"))[: n - n_noise] + negative[:n_noise]
    rng.shuffle(chosen)
    wrong = _wanted(record.get("fakeanswer")) if test == "counterfactual-robustness" else ()
    return replace(base, passages=tuple(chosen), wrong=wrong) if chosen and base.wanted else None


def _domain_case(base: Case, record: Mapping[str, Any], folder: Path, n: int) -> Case | None:
    answers = _wanted_any(record.get("answers"))
    if base.test == "structure":
        page = _page(folder, str(record.get("page", "")))
        ranked = _ranked(base.question, page)[:n] if page else []
        return replace(base, passages=tuple(ranked), wanted=answers) if ranked else None
    key = "counterfact_reference" if base.test == "faithfulness" else "positive_reference"
    reference = record.get(key)
    contents = reference.get("contents") if isinstance(reference, dict) else None
    if not isinstance(contents, str):
        return None
    title = str(reference.get("title", "")) if isinstance(reference, dict) else ""
    turns = record.get("history_qa")
    history = tuple(
        (str(turn.get("question", "")), "".join(_texts(turn.get("answers"))[:1]))
        for turn in (turns if isinstance(turns, list) else ())
        if isinstance(turn, dict)
    )
    wrong = _wanted_any(record.get("counterfact_answers")) if base.test == "faithfulness" else ()
    return replace(base, passages=(joined(contents),), titles=(title,), wanted=answers, wrong=wrong, history=history)


def joined(segmented: str) -> str:
    """DomainRAG's text without the blanks between its Chinese words."""
    return re.sub(r"(?<=[^\x00-\u2fff]) +| +(?=[^\x00-\u2fff])", "", segmented)


def _wanted(answer: object) -> Wanted:
    """RGB's answer: a text, or a list of items that must all be there, each a text or a list of spellings."""
    items = answer if isinstance(answer, list) else [answer]
    found = [item if isinstance(item, list) else [item] for item in items]
    spelled = (tuple(str(one) for one in item if isinstance(one, str | int | float)) for item in found)
    return tuple(item for item in spelled if item)


def _wanted_any(answers: object) -> Wanted:
    """DomainRAG's answers: one of them is enough."""
    flat: list[str] = []
    for one in answers if isinstance(answers, list) else [answers]:
        flat += [str(part) for part in one] if isinstance(one, list) else [str(one)] if one is not None else []
    return (tuple(flat),) if flat else ()


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str) and one.strip()] if isinstance(value, list) else []


def _page(folder: Path, name: str) -> list[str]:
    """The chunks of one of DomainRAG's pages, as an import would cut it."""
    path = next((p for p in (folder / "domainrag-html-pages.jsonl", folder / "domainrag-html-pages.jsonl.gz") if p.is_file()), None)  # fmt: skip
    return _pages(path, path.stat().st_mtime_ns).get(name, []) if path is not None else []


@lru_cache(maxsize=1)
def _pages(path: Path, changed_ns: int) -> dict[str, list[str]]:
    records = _records(path, ProblemLog())
    return {str(one.get("id")): _chunked(one["html"]) for one in records if isinstance(one.get("html"), str)}


def _chunked(html: str) -> list[str]:
    from rag.chunking import chunker
    from rag.loaders import html as loader

    parsed = loader.load(html.encode(), name="page.html")
    context = ChunkContext(
        doc_id="page", tokens=_token_spans, size=256, overlap=32, context_tokens=64, overhead=0, embed=lambda _: []
    )
    return [one.indexed_text for one in chunker(ChunkSettings())(parsed, context)]


def _token_spans(text: str) -> Any:
    import numpy as np

    spans = [match.span() for match in re.finditer(r"[^\W\u3400-\u9fff]+|\S", text)]
    return np.array(spans, dtype=np.int64).reshape(-1, 2)


def _ranked(question: str, texts: Sequence[str]) -> list[str]:
    """The chunks of a page by the share of the question that they hold."""
    passages = [
        Passage(number=at, hit=_hit(at, text, ""), start=0, text=text) for at, text in enumerate(texts, start=1)
    ]
    shares = coverage(question, passages)
    order = sorted(range(len(texts)), key=lambda at: (-shares[at], at))
    return [texts[at] for at in order]


def _in_cell(answer: str, text: str) -> bool:
    return bool(re.search(rf"\|\s*{re.escape(answer)}\s*\|", text))


def _hits(case: Case) -> list[Hit]:
    titles = case.titles or ("",) * len(case.passages)
    return [
        _hit(rank, text, title) for rank, (text, title) in enumerate(zip(case.passages, titles, strict=True), start=1)
    ]


def _hit(rank: int, text: str, title: str) -> Hit:
    doc_id = f"p{rank}"
    return Hit(rank=rank, chunk_id=f"{doc_id}#0-{len(text)}", doc_id=doc_id, source=doc_id, title=title, score=1.0 / rank,
               text=text, start=0, end=len(text))  # fmt: skip


def languages_of(cases: Sequence[Case]) -> dict[str, int]:
    """How many cases there are in each language."""
    found: dict[str, int] = {}
    for case in cases:
        found[language(case.question)] = found.get(language(case.question), 0) + 1
    return found
