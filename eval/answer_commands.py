"""What `ragstone eval answers` does: plain values in, the `--json` document out; no argument parsing here."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from eval import judge as judging
from eval.answer_report import answers_html, answers_markdown
from eval.answers import ANSWER_METRICS, AnswerEvaluation, Given, evaluate_answers, given_of, read_answers
from eval.commands import FAILED, OpenKnowledgeBase, file_name, gate, made_folder, opened, write_file, written_json
from eval.dataset import Dataset, load_dataset
from eval.evaluation import Progress, ensure_graphs, index_corpus
from eval.judge import Judged
from eval.perplexity import Asked, LanguageModel, perplexity
from eval.problems import ProblemLog, no_questions
from eval.systems import System, parse_systems, split_names
from rag.errors import UsageError
from rag.knowledge_base import KnowledgeBase
from rag.types import ChatModel


def answers(
    data: str | Path,
    *,
    queries: str | Path | None = None,
    qrels: str | Path | None = None,
    limit: int | None = None,
    systems: str | Sequence[str] = ("hybrid",),
    recorded: Sequence[str] = (),
    judge: ChatModel | None = None,
    human: str | Path | None = None,
    language_model: str | None = None,
    out_dir: str | Path | None = None,
    fail_under: Sequence[str] = (),
    open_kb: OpenKnowledgeBase,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], int]:
    """The JSON document and the exit code: 3 when an answer failed or a gate was missed.

    systems: names as in eval/systems.py, answered by the knowledge base; not asked when `recorded` is given.
    recorded: `FILE` or `NAME=FILE`, answers of any system, as `read_answers` reads them.
    judge: grades answers that have a reference, and every pair of systems. human: a CSV of people's grades.
    language_model: folder or hub name of a causal model; adds the references' perplexity after what each system read.
    out_dir: receives answers/*.jsonl, answers.json, answers.html, answers.md, the same bytes for the same answers and
        seed, and answer-timings.json.
    Raises: UsageError for whatever cannot be asked for.
    """
    parsed = {} if recorded else parse_systems(split_names(systems) if isinstance(systems, str) else systems)
    gates = [gate(text, ANSWER_METRICS) for given in fail_under for text in given.split(",") if text.strip()]
    dataset = load_dataset(data, queries, qrels, limit)
    if not dataset.questions and not dataset.unanswerable:
        raise no_questions(f"Dataset {dataset.name}", dataset.problems)
    log = ProblemLog()
    people = judging.read_grades(Path(human), log) if human is not None else {}
    n_without = sum(not dataset.answers.get(query_id) for query_id in dataset.questions)
    if n_without:
        log.add("no_reference", n=n_without)
    folder = made_folder(out_dir, "answers") if out_dir is not None else None
    reader = LanguageModel(language_model) if language_model else None
    if recorded:
        evaluation = _scored(dataset, dict(_named(recorded)), log, seed)
    else:
        evaluation = _answered(dataset, parsed, open_kb, log, seed, settings, progress)
    tree = evaluation.to_dict()
    tree["judge"] = _judged(evaluation, judge, people, progress) if judge is not None else None
    if reader is not None:
        tree["perplexity"] = {"model": reader.name} | {name: perplexity(_read(evaluation, name), model=reader) for name in evaluation.systems}  # fmt: skip
    tree["gates"] = _checked(evaluation, gates)
    if folder is not None:
        _write(folder, evaluation, tree["judge"])
        tree["out"] = str(folder)
    missed = any(not one["passed"] for one in tree["gates"])
    return tree, FAILED if missed or evaluation.n_failures else 0


def _named(recorded: Sequence[str]) -> Iterator[tuple[str, Path]]:
    for text in recorded:
        name, equals, file = text.partition("=")
        path = Path(file if equals and not Path(text).is_file() else text)
        yield (name if equals and not Path(text).is_file() else path.name.split(".")[0]), path


def _scored(dataset: Dataset, files: Mapping[str, Path], log: ProblemLog, seed: int) -> AnswerEvaluation:
    """Recorded answers. A question without an answer in the file is counted and rated 0."""
    given = {name: read_answers(path, log) for name, path in files.items()}
    questions = {**dataset.questions, **dataset.unanswerable}
    by_text = {question: query_id for query_id, question in questions.items()}
    for name, answered in given.items():
        log.add_all("unanswered", (one for one in questions if one not in answered), where=files[name].name)
        log.add_all("unknown_question", (one for one in answered if one not in questions), where=files[name].name)
    missing = Given(abstained=True)
    return evaluate_answers(
        dataset,
        list(given),
        ask=lambda system, question: given[system].get(by_text[question], missing),
        seed=seed,
        problems=log.problems(),
    )


def _answered(
    dataset: Dataset,
    systems: Mapping[str, System],
    open_kb: OpenKnowledgeBase,
    log: ProblemLog,
    seed: int,
    settings: Mapping[str, Any] | None,
    progress: Progress | None,
) -> AnswerEvaluation:
    with opened(dataset, open_kb) as base_of:
        bases: dict[str, Any] = {name: base_of(system) for name, system in systems.items()}
        index_corpus(dataset, {systems[name].index_key: base for name, base in bases.items()}, log, progress)
        ensure_graphs(bases, systems)
        bases = {name: _remembering(base) for name, base in bases.items()}

        def ask(name: str, question: str) -> Given:
            start = time.perf_counter()
            answer = bases[name].ask(question, **systems[name].options)
            ms = (time.perf_counter() - start) * 1000
            return given_of(answer, text_of=bases[name].text, ms=ms)

        return evaluate_answers(
            dataset,
            list(systems),
            ask=ask,
            seed=seed,
            settings=settings,
            problems=log.problems(),
            progress=progress,
        )


def _remembering(base: Any) -> Any:
    """The knowledge base with a chat model that is not asked again what it was asked in an earlier evaluation."""
    return base.view(chat=base.remembering_chat) if isinstance(base, KnowledgeBase) else base


def _judged(
    evaluation: AnswerEvaluation, judge: ChatModel, people: Mapping[str, int], progress: Progress | None
) -> dict[str, Any]:
    rows = {name: dict(_rows(evaluation, name)) for name in evaluation.systems}
    tree: dict[str, Any] = {"model": judge.name, "grades": {}, "pairs": []}
    for name, judged in rows.items():
        step = partial(progress, f"judge {name}") if progress is not None else None
        grading = judging.grade(judged, judge=judge, progress=step)
        tree["grades"][name] = grading.to_dict()
        if people:
            tree["grades"][name]["agreement"] = judging.agreement(grading.grades, people)
    for a, b in combinations(rows, 2):
        tree["pairs"].append({"a": a, "b": b, **judging.duel(rows[a], rows[b], judge=judge).to_dict()})
    return tree


def _rows(evaluation: AnswerEvaluation, system: str) -> Iterator[tuple[str, Judged]]:
    """Questions with a reference. An answer that failed is judged as an empty one: it is not dropped."""
    given, dataset = evaluation.systems[system].given, evaluation.dataset
    for query_id, question in dataset.questions.items():
        if references := dataset.answers.get(query_id):
            said = given[query_id].text if query_id in given else ""
            yield query_id, Judged(question=question, reference=" / ".join(references), answer=said)


def _read(evaluation: AnswerEvaluation, system: str) -> dict[str, Asked]:
    """The first reference of each question, with what the system read for it."""
    given, dataset = evaluation.systems[system].given, evaluation.dataset
    return {
        query_id: Asked(question=question, reference=dataset.answers[query_id][0], passages=_texts(given.get(query_id)))
        for query_id, question in dataset.questions.items()
        if dataset.answers.get(query_id)
    }


def _texts(given: Given | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*given.passages.values(), *given.read))) if given is not None else ()


def _checked(evaluation: AnswerEvaluation, gates: Sequence[tuple[str, float]]) -> list[dict[str, Any]]:
    checked = []
    for metric, minimum in gates:
        for name, result in evaluation.systems.items():
            if metric not in result.means():
                raise UsageError(f"--fail-under {metric}: the questions have no reference answers to compare with.")
            value = result.means()[metric]
            checked.append({"metric": metric, "minimum": minimum, "system": name, "value": value, "passed": value >= minimum})  # fmt: skip
    return checked


def _write(folder: Path, evaluation: AnswerEvaluation, judge: Mapping[str, Any] | None) -> None:
    questions = {**evaluation.dataset.questions, **evaluation.dataset.unanswerable}
    try:
        for name, result in evaluation.systems.items():
            lines = (
                json.dumps(given.to_dict(query_id, questions[query_id]), ensure_ascii=False) + "\n"
                for query_id, given in result.given.items()
            )
            write_file(folder / "answers" / f"{file_name(name)}.jsonl", "".join(lines))
        write_file(folder / "answers.json", written_json({**evaluation.to_dict(timings=False), "judge": judge}))
        write_file(folder / "answers.html", answers_html(evaluation, judge))
        write_file(folder / "answers.md", answers_markdown(evaluation, judge))
        write_file(folder / "answer-timings.json", written_json(evaluation.latency()))
    except OSError as error:
        raise UsageError(f"The results cannot be written to {folder} ({error.strerror}). Choose another with -o.") from error  # fmt: skip
