"""Runs and qrels: what systems returned and what people judged, in memory and as TREC files."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from eval.lines import read_lines
from eval.problems import Problem, ProblemLog
from rag.errors import UsageError

Ranking = list[tuple[str, float]]  # (doc_id, score), best first, no id twice
Run = dict[str, Ranking]  # query_id -> ranking
Qrels = dict[str, dict[str, int]]  # query_id -> doc_id -> grade; 1 and more is relevant

_RUN_COLUMNS = 6
_LOWEST_WRITTEN = -1e38  # leaves room to go below, for ties
_QUERY_NAMES = ("query-id", "query_id", "qid", "query", "topic", "question-id", "question_id")
_DOCUMENT_NAMES = ("corpus-id", "corpus_id", "doc-id", "doc_id", "docid", "docno", "pid", "document", "document_id")
_GRADE_NAMES = ("score", "relevance", "rel", "label", "grade", "judgement", "judgment")


def ranking(scored: Iterable[tuple[str, float]]) -> Ranking:
    """A strict ranking: by (-score, id), each id once with its best score. The only place where rankings are made."""
    best: dict[str, float] = {}
    for doc_id, score in scored:
        if doc_id not in best or score > best[doc_id]:
            best[doc_id] = score
    return sorted(best.items(), key=lambda item: (-item[1], item[0]))


def foreign_ranking(scored: Iterable[tuple[str, float]]) -> Ranking:
    """The ranking that trec_eval sees in a run file: scores in single precision, ties by larger id first."""
    best: dict[str, float] = {}
    for doc_id, score in scored:
        if doc_id not in best or score > best[doc_id]:
            best[doc_id] = score
    return sorted(best.items(), key=lambda item: (_single(item[1]), item[0]), reverse=True)


def read_run(path: str | Path) -> tuple[Run, tuple[Problem, ...]]:
    """A TREC run file (`query Q0 document rank score tag`), plain or gzip, and what was wrong with it.

    Each question's documents are ordered as trec_eval orders them: by score in single precision, ties by larger
    document id; the rank column is not used. Lines with other columns or a score that is not a finite number are
    left out and counted. Ids with spaces are read when the file is separated by tabs or its second column is Q0.
    Raises: UsageError when the file cannot be read or holds no usable line.
    """
    path, log = Path(path), ProblemLog()
    scored: dict[str, list[tuple[str, float]]] = {}
    ranks: dict[str, list[tuple[int, float]]] = {}
    for number, line in read_lines(path, log):
        row = _run_row(line)
        if row is None:
            log.add("bad_line", f"line {number}", where=path.name)
            continue
        query_id, doc_id, rank, score = row
        scored.setdefault(query_id, []).append((doc_id, score))
        if rank is not None:
            ranks.setdefault(query_id, []).append((rank, score))
    if not scored:
        raise UsageError(
            f"{path} holds no usable line of a TREC run. Wanted six columns: query Q0 document rank score tag."
        )
    run = {query_id: foreign_ranking(rows) for query_id, rows in scored.items()}
    _note_run(run, scored, ranks, path.name, log)
    return run, log.problems()


def write_run(path: str | Path, run: Mapping[str, Sequence[tuple[str, float]]], *, tag: str) -> None:
    """Write a TREC run in the order given. Tied scores are lowered by the smallest step of single precision,
    so that every reader, whatever its rule for ties, sees this order. With white space in an id, tabs separate."""
    joiner = "\t" if any(_has_space(id_) for q, hits in run.items() for id_ in (q, *(d for d, _ in hits))) else " "
    name = "-".join(tag.split()) or "run"
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        for query_id, hits in run.items():
            last = math.inf
            for rank, (doc_id, score) in enumerate(hits, start=1):
                last = min(max(_single(score), _LOWEST_WRITTEN), _below(last))
                file.write(joiner.join((query_id, "Q0", doc_id, str(rank), f"{last:.9g}", name)) + "\n")


def read_qrels(path: str | Path) -> tuple[Qrels, tuple[Problem, ...]]:
    """Judgements from a BEIR table (query-id, corpus-id, score; header or not) or TREC qrels (query 0 document grade).

    Grades below 1 mean judged, not relevant. Bad lines, repeated and conflicting judgements are counted.
    Raises: UsageError when the file cannot be read.
    """
    path, log = Path(path), ProblemLog()
    qrels: Qrels = {}
    order: tuple[int, int, int] | None = None
    first = True
    for number, line in read_lines(path, log):
        fields = _fields(line)
        if first and _is_header(fields):
            order = _header_order(fields)
            if order is None:
                log.add("unknown_header", " ".join(fields), where=path.name)
        else:
            _add_judgement(qrels, fields, order, number, path.name, log)
        first = False
    if not qrels:
        log.add("empty_file", where=path.name)
    return qrels, log.problems()


def write_qrels(path: str | Path, qrels: Mapping[str, Mapping[str, int]]) -> None:
    """Write TREC qrels. With white space in an id, tabs separate."""
    joiner = "\t" if any(_has_space(id_) for q, docs in qrels.items() for id_ in (q, *docs)) else " "
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        for query_id, grades in qrels.items():
            for doc_id, grade in grades.items():
                file.write(joiner.join((query_id, "0", doc_id, str(grade))) + "\n")


# ---------------------------------------------------------------- run files


def _run_row(line: str) -> tuple[str, str, int | None, float] | None:
    fields = line.strip().split("\t") if line.count("\t") == _RUN_COLUMNS - 1 else line.split()
    if len(fields) > _RUN_COLUMNS and fields[1].upper() == "Q0":
        fields = [*fields[:2], " ".join(fields[2:-3]), *fields[-3:]]
    if len(fields) != _RUN_COLUMNS:
        return None
    try:
        score = float(fields[4])
    except ValueError:
        return None
    if not math.isfinite(score) or not fields[0].strip() or not fields[2].strip():
        return None
    rank = int(fields[3]) if fields[3].isascii() and fields[3].isdigit() else None
    return fields[0].strip(), fields[2].strip(), rank, score


def _note_run(
    run: Run,
    scored: Mapping[str, list[tuple[str, float]]],
    ranks: Mapping[str, list[tuple[int, float]]],
    where: str,
    log: ProblemLog,
) -> None:
    for query_id, hits in run.items():
        n_repeated = len(scored[query_id]) - len(hits)
        if n_repeated:
            log.add("duplicate_hit", f"question {query_id}", where=where, n=n_repeated)
        if len({_single(score) for _, score in hits}) < len(hits):
            log.add("tied_scores", f"question {query_id}", where=where)
        by_rank = [score for _, score in sorted(ranks.get(query_id, ()), key=lambda item: item[0])]
        if any(later > earlier for earlier, later in zip(by_rank, by_rank[1:], strict=False)):
            log.add("rank_mismatch", f"question {query_id}", where=where)


_FLOAT = struct.Struct("<f")
_UINT = struct.Struct("<I")
_LARGEST_SINGLE: float = _FLOAT.unpack(b"\xff\xff\x7f\x7f")[0]


def _single(score: float) -> float:
    """The score in single precision, which is what trec_eval stores."""
    if abs(score) >= _LARGEST_SINGLE:
        return math.copysign(_LARGEST_SINGLE, score)
    return float(_FLOAT.unpack(_FLOAT.pack(score))[0])


def _below(single: float) -> float:
    """The next smaller number in single precision."""
    if single == math.inf:
        return _LARGEST_SINGLE
    if single == 0.0:
        return -float(_FLOAT.unpack(b"\x01\x00\x00\x00")[0])
    bits = _UINT.unpack(_FLOAT.pack(single))[0]
    return float(_FLOAT.unpack(_UINT.pack(bits - 1 if single > 0 else bits + 1))[0])


def _has_space(text: str) -> bool:
    return any(character.isspace() for character in text)


# ---------------------------------------------------------------- qrels files


def _fields(line: str) -> list[str]:
    parts = line.strip("\n").split("\t") if "\t" in line else line.split()
    return [part.strip() for part in parts]


def _is_header(fields: list[str]) -> bool:
    known = {*_QUERY_NAMES, *_DOCUMENT_NAMES, *_GRADE_NAMES}
    names = [field.casefold() in known for field in fields]
    return len(fields) >= 3 and _grade(fields[-1]) is None and (sum(names) >= 2 or not any(map(_grade_like, fields)))


def _grade_like(field: str) -> bool:
    return _grade(field) is not None


def _header_order(fields: list[str]) -> tuple[int, int, int] | None:
    names = [field.casefold() for field in fields]
    places = [
        next((at for at, name in enumerate(names) if name in known), None)
        for known in (_QUERY_NAMES, _DOCUMENT_NAMES, _GRADE_NAMES)
    ]
    query, document, grade = places
    return None if query is None or document is None or grade is None else (query, document, grade)


def _add_judgement(
    qrels: Qrels, fields: list[str], order: tuple[int, int, int] | None, number: int, where: str, log: ProblemLog
) -> None:
    if order is None:
        order = {3: (0, 1, 2), 4: (0, 2, 3)}.get(len(fields))
    grade = _grade(fields[order[2]]) if order is not None and max(order) < len(fields) else None
    if order is None or grade is None or not fields[order[0]] or not fields[order[1]]:
        log.add("bad_line", f"line {number}", where=where)
        return
    query_id, doc_id = fields[order[0]], fields[order[1]]
    grades = qrels.setdefault(query_id, {})
    if doc_id in grades:
        kind = "duplicate_judgement" if grades[doc_id] == grade else "conflicting_judgement"
        log.add(kind, f"line {number}", where=where)
    grades[doc_id] = grade


def _grade(field: str) -> int | None:
    try:
        value = float(field)
    except ValueError:
        return None
    return int(value) if math.isfinite(value) and value == int(value) and abs(value) < 2**31 else None
