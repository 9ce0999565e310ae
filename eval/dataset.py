"""Evaluation datasets: documents, questions and judgements from BEIR folders, SQuAD-style JSON and CSV tables."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.lines import file_digest, read_lines, read_text
from eval.problems import Problem, ProblemLog
from eval.runs import Qrels, read_qrels
from rag.errors import UsageError
from rag.types import Document

# Of several query files: the test questions, then the development ones, then one file for all.
_SPLITS = ("test", "dev", "", "validation", "val", "valid")
_QUERIES_FILE = re.compile(r"queries(?:[._-](?P<split>[\w-]+))?\.jsonl(?:\.gz)?", re.IGNORECASE)
_QRELS_FILE = re.compile(r"qrels(?:[._-](?P<split>[\w-]+))?\.(?:tsv|txt|qrels|trec)(?:\.gz)?", re.IGNORECASE)
_QRELS_IN_FOLDER = re.compile(r"(?P<split>[\w-]+)\.(?:tsv|txt|qrels|trec)(?:\.gz)?", re.IGNORECASE)
_CORPUS_FILES = ("corpus.jsonl", "corpus.jsonl.gz")

_QUESTION_COLUMNS = ("question", "query", "q", "问题")
_ANSWER_COLUMNS = ("answer", "answers", "reference", "ground_truth", "答案", "回答")
_SOURCE_COLUMNS = ("source", "sources", "document", "doc_id", "file", "来源", "文档")
_KIND_COLUMNS = ("kind", "类型")
_KEEP_COLUMNS = ("keep", "保留")
_NO = ("no", "n", "0", "false", "否", "不")
_ID_COLUMNS = ("id", "_id", "query_id", "question_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Questions, which documents are relevant to them, and the documents.

    questions: query_id -> question, in the order of the file; exactly the ids of `qrels`.
    answers: query_id -> reference answers, where the data has some.
    unanswerable: query_id -> question that the documents do not answer (SQuAD's is_impossible, a CSV's kind
        "unanswerable"); not in `questions`.
    problems: what was wrong with the data, counted, with examples.
    files: role -> name of the file it came from.
    fingerprint: sha256 of the corpus; "" without one.
    open_corpus: starts reading the documents; None when the questions are about documents kept elsewhere (CSV).
    """

    name: str
    questions: Mapping[str, str]
    qrels: Qrels
    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unanswerable: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    n_documents: int = 0
    fingerprint: str = ""
    open_corpus: Callable[[], Iterator[Document]] | None = None

    def corpus(self) -> Iterator[Document]:
        """The documents, one at a time, each id once; doc_id and source are the id in the corpus.

        Raises: UsageError when the dataset has no corpus.
        """
        if self.open_corpus is None:
            raise UsageError(f"Dataset {self.name} has questions only. Ingest the documents it asks about first.")
        return self.open_corpus()


def load_dataset(
    path: str | Path,
    queries: str | Path | None = None,
    qrels: str | Path | None = None,
    limit: int | None = None,
) -> Dataset:
    """Read a BEIR folder, a SQuAD-style JSON file or a CSV table of question, answer and source.

    path: folder with corpus.jsonl, queries*.jsonl and qrels*.tsv (or qrels/*.tsv), each plain or .gz; or the file.
    queries, qrels: files to use instead of those found; a name is looked up in the folder too. Left out, the test
        questions are taken before the development ones, with the qrels of the same split.
    limit: only the first N questions that have judgements, and of those without an answer the first N.
    What is wrong inside the files is left out, counted and named in `Dataset.problems`.
    Raises: UsageError when a needed file is missing, cannot be read or has none of the columns.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise UsageError(f"--limit is {limit}; give 1 or more, or leave it out for all questions.")
    if path.is_dir():
        dataset = _load_beir(path, queries, qrels)
    elif path.is_file():
        dataset = _load_file(path, queries, qrels)
    else:
        raise UsageError(f"There is no {path}. Give a BEIR folder, a SQuAD-style .json or a .csv of questions.")
    return dataset if limit is None else _limited(dataset, limit)


def _load_file(path: Path, queries: str | Path | None, qrels: str | Path | None) -> Dataset:
    if queries is not None or qrels is not None:
        raise UsageError(f"{path} is one file with its own questions. Use --queries and --qrels with a BEIR folder.")
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    kind = suffixes[-1] if suffixes else ""
    if kind == ".json":
        return _load_squad(path)
    if kind in (".csv", ".tsv"):
        return _load_table(path)
    raise UsageError(
        f"{path} is of no known kind. Give a BEIR folder (the folder, not a file in it), a SQuAD-style .json or a .csv."
    )


def _limited(dataset: Dataset, limit: int) -> Dataset:
    kept = list(dataset.questions)[:limit]
    return _with(
        dataset,
        questions={query_id: dataset.questions[query_id] for query_id in kept},
        qrels={query_id: dataset.qrels[query_id] for query_id in kept},
        unanswerable=dict(list(dataset.unanswerable.items())[:limit]),
    )


def _with(dataset: Dataset, **changes: Any) -> Dataset:
    return Dataset(**{name: changes.get(name, getattr(dataset, name)) for name in Dataset.__slots__})


# ---------------------------------------------------------------- BEIR folders


def _load_beir(folder: Path, queries: str | Path | None, qrels: str | Path | None) -> Dataset:
    corpus_file = _corpus_file(folder)
    queries_file, qrels_file = _question_files(folder, queries, qrels)
    log = ProblemLog()
    questions, answers = _read_queries(queries_file, log)
    judged, qrels_problems = read_qrels(qrels_file)
    kept = _match(questions, judged, qrels_file.name, log)
    wanted = {doc_id for grades in kept.values() for doc_id in grades}
    n_documents, fingerprint, missing = _survey(corpus_file, wanted, log)
    _note_unknown(kept, missing, qrels_file.name, log)
    return Dataset(
        name=folder.resolve().name,
        questions={query_id: questions[query_id] for query_id in kept},
        qrels=kept,
        answers={query_id: answers[query_id] for query_id in kept if query_id in answers},
        problems=(*qrels_problems, *log.problems()),
        files={"corpus": corpus_file.name, "queries": queries_file.name, "qrels": _inside(qrels_file, folder)},
        n_documents=n_documents,
        fingerprint=fingerprint,
        open_corpus=lambda: _documents(corpus_file, ProblemLog()),
    )


def _inside(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def _corpus_file(folder: Path) -> Path:
    for name in _CORPUS_FILES:
        if (folder / name).is_file():
            return folder / name
    raise UsageError(
        f"{folder} has no corpus.jsonl or corpus.jsonl.gz{_seen(folder)}. A BEIR folder holds corpus.jsonl, "
        "queries.jsonl and qrels.tsv; give the folder that has them."
    )


def _seen(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    return f" (it holds {', '.join(names[:6])}{', …' if len(names) > 6 else ''})" if names else " (it is empty)"


def _question_files(folder: Path, queries: str | Path | None, qrels: str | Path | None) -> tuple[Path, Path]:
    """The query file and the qrels that belong together, from what was asked for and what is there."""
    query_files = _by_split(folder, _QUERIES_FILE)
    qrels_files = _by_split(folder / "qrels", _QRELS_IN_FOLDER) | _by_split(folder, _QRELS_FILE)
    queries_file = _named(folder, queries, "--queries", query_files) if queries is not None else None
    qrels_file = _named(folder, qrels, "--qrels", qrels_files) if qrels is not None else None
    if queries_file is None:
        if not query_files:
            raise UsageError(f"{folder} has no queries*.jsonl{_seen(folder)}. Add one, or name a file with --queries.")
        wish = _split_of(qrels_file) if qrels_file is not None else None
        queries_file = _choose(query_files, wish, also=None if qrels_file is not None else qrels_files)
    if qrels_file is None:
        if not qrels_files:
            raise UsageError(f"{folder} has no qrels*.tsv{_seen(folder)}. Add one, or name a file with --qrels.")
        qrels_file = _choose(qrels_files, _split_of(queries_file))
    return queries_file, qrels_file


def _by_split(folder: Path, pattern: re.Pattern[str]) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    found: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        match = pattern.fullmatch(entry.name)
        if match and entry.is_file():
            found.setdefault((match["split"] or "").lower(), entry)
    return found


def _named(folder: Path, name: str | Path, option: str, there: Mapping[str, Path]) -> Path:
    for candidate in (Path(name), folder / name):
        if candidate.is_file():
            return candidate
    names = ", ".join(_inside(path, folder) for path in there.values()) or "no such file"
    raise UsageError(f"{option} {name} does not exist. {folder} has: {names}.")


def _split_of(path: Path) -> str:
    for pattern in (_QUERIES_FILE, _QRELS_FILE, _QRELS_IN_FOLDER):
        match = pattern.fullmatch(path.name)
        if match:
            return (match["split"] or "").lower()
    return ""


def _choose(files: Mapping[str, Path], wish: str | None, *, also: Mapping[str, Path] | None = None) -> Path:
    """The file of the split wished for; else by the order of preference, splits that `also` has first."""
    if wish is not None and wish in files:
        return files[wish]

    def place(split: str) -> tuple[bool, int, str]:
        paired = also is None or split in also or split == ""
        return (not paired, _SPLITS.index(split) if split in _SPLITS else len(_SPLITS), split)

    return files[min(files, key=place)]


def _read_queries(path: Path, log: ProblemLog) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    questions: dict[str, str] = {}
    answers: dict[str, tuple[str, ...]] = {}
    for number, line in read_lines(path, log):
        record = _record(line)
        if record is None:
            log.add("bad_line", f"line {number}", where=path.name)
            continue
        query_id, text = record["_id"], _text(record.get("text"))
        if query_id in questions:
            log.add("duplicate_question", query_id, where=path.name)
        elif not text.strip():
            log.add("empty_question", query_id, where=path.name)
        else:
            questions[query_id] = text
            found = _answers(record.get("answer", record.get("answers")))
            if found:
                answers[query_id] = found
    if not questions:
        log.add("empty_file", where=path.name)
    return questions, answers


def _record(line: str) -> dict[str, Any] | None:
    """One JSON object with an id as text; None when the line is not one."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    identity = record.get("_id", record.get("id"))
    if not isinstance(identity, str | int) or isinstance(identity, bool) or not str(identity).strip():
        return None
    record["_id"] = str(identity).strip()
    return record


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _answers(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    texts = [item.get("text") if isinstance(item, dict) else item for item in values]
    return tuple(
        dict.fromkeys(str(text) for text in texts if isinstance(text, str | int | float) and str(text).strip())
    )


def _match(questions: Mapping[str, str], judged: Qrels, where: str, log: ProblemLog) -> Qrels:
    """The judgements of questions that exist, in the order of the questions."""
    log.add_all("unknown_question", (query_id for query_id in judged if query_id not in questions), where=where)
    log.add_all("unjudged_question", (query_id for query_id in questions if query_id not in judged), where=where)
    kept = {query_id: judged[query_id] for query_id in questions if query_id in judged}
    without = (query_id for query_id, grades in kept.items() if max(grades.values()) < 1)
    log.add_all("no_relevant", without, where=where)
    return kept


def _note_unknown(qrels: Qrels, missing: set[str], where: str, log: ProblemLog) -> None:
    unknown = dict.fromkeys(doc_id for grades in qrels.values() for doc_id in grades if doc_id in missing)
    log.add_all("unknown_document", unknown, where=where)


def _survey(path: Path, wanted: set[str], log: ProblemLog) -> tuple[int, str, set[str]]:
    """One pass over the corpus: number of documents, sha256 of its text, and the wanted ids it does not hold."""
    digest = hashlib.sha256()
    missing, n = set(wanted), 0
    for document in _documents(path, log, digest=digest):
        missing.discard(document.doc_id)
        n += 1
    if n == 0:
        raise UsageError(f"{path} holds no document. Each line must be JSON with _id, title and text.")
    return n, digest.hexdigest(), missing


def _documents(path: Path, log: ProblemLog, *, digest: Any = None) -> Iterator[Document]:
    seen: set[str] = set()
    for number, line in read_lines(path, log, digest=digest):
        record = _record(line)
        if record is None:
            log.add("bad_line", f"line {number}", where=path.name)
            continue
        doc_id, title, text = record["_id"], _text(record.get("title")).strip(), _text(record.get("text"))
        if doc_id in seen:
            log.add("duplicate_document", doc_id, where=path.name)
        elif not text.strip() and not title:
            log.add("empty_document", doc_id, where=path.name)
        else:
            seen.add(doc_id)
            yield Document(text if text.strip() else title, doc_id=doc_id, title=title, source=doc_id)


# ---------------------------------------------------------------- SQuAD-style JSON


def _load_squad(path: Path) -> Dataset:
    log = ProblemLog()
    try:
        tree = json.loads(read_text(path, log))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid JSON ({error}). Give a SQuAD-style file or a BEIR folder.") from error
    articles = tree.get("data") if isinstance(tree, dict) else tree
    if not isinstance(articles, list):
        raise UsageError(f"{path} is not SQuAD-style: wanted an object with a list called data. Check the file.")
    documents: list[Document] = []
    reader = _SquadQuestions({}, {}, {}, {})
    for article in articles:
        title = _text(article.get("title")) if isinstance(article, dict) else ""
        for paragraph in _list_of_objects(article, "paragraphs"):
            context = _text(paragraph.get("context"))
            if not context.strip():
                log.add("empty_document", f"p{len(documents)}", where=path.name)
                continue
            document = Document(context, doc_id=f"p{len(documents)}", title=title, source=f"p{len(documents)}")
            documents.append(document)
            for entry in _list_of_objects(paragraph, "qas"):
                reader.add(entry, document.doc_id, path.name, log)
    if not documents:
        raise UsageError(f"{path} holds no paragraph with a context. Wanted data → paragraphs → context and qas.")
    return Dataset(
        name=_stem(path),
        questions=reader.questions,
        qrels=reader.qrels,
        answers=reader.answers,
        unanswerable=reader.unanswerable,
        problems=log.problems(),
        files={"corpus": path.name, "queries": path.name, "qrels": path.name},
        n_documents=len(documents),
        fingerprint=file_digest(path),
        open_corpus=lambda: iter(documents),
    )


@dataclass(frozen=True, slots=True)
class _SquadQuestions:
    questions: dict[str, str]
    qrels: Qrels
    answers: dict[str, tuple[str, ...]]
    unanswerable: dict[str, str]

    def add(self, entry: Mapping[str, Any], doc_id: str, where: str, log: ProblemLog) -> None:
        query_id = str(entry.get("id") or f"q{len(self.questions) + len(self.unanswerable)}")
        text = _text(entry.get("question"))
        if not text.strip():
            log.add("empty_question", query_id, where=where)
        elif query_id in self.questions or query_id in self.unanswerable:
            log.add("duplicate_question", query_id, where=where)
        elif entry.get("is_impossible") is True:
            self.unanswerable[query_id] = text
        else:
            self.questions[query_id] = text
            self.qrels[query_id] = {doc_id: 1}
            self.answers[query_id] = _answers(entry.get("answers"))


def _list_of_objects(parent: object, key: str) -> list[dict[str, Any]]:
    children = parent.get(key) if isinstance(parent, dict) else None
    return [child for child in children if isinstance(child, dict)] if isinstance(children, list) else []


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rsplit(".", 1)[0]


# ---------------------------------------------------------------- CSV of question, answer, source


def _load_table(path: Path) -> Dataset:
    log = ProblemLog()
    text = read_text(path, log)
    names = path.name.lower().removesuffix(".gz")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if names.endswith(".tsv") else _delimiter(text))
    try:
        header, *body = [row for row in rows if any(cell.strip() for cell in row)] or [[]]
    except csv.Error as error:
        raise UsageError(
            f"{path} is not a readable table ({error}). Write it again as CSV with quoted fields."
        ) from error
    columns = _table_columns(path, header)
    questions: dict[str, str] = {}
    answers: dict[str, tuple[str, ...]] = {}
    qrels: Qrels = {}
    unanswerable: dict[str, str] = {}
    by_text: dict[str, str] = {}
    for number, row in enumerate(body, start=2):
        question, answer, source, given, kind, keep = (row[at].strip() if 0 <= at < len(row) else "" for at in columns)
        if keep.casefold() in _NO:
            log.add("rejected", f"row {number}", where=path.name)
        elif not question:
            log.add("empty_question", f"row {number}", where=path.name)
        elif kind.casefold() == "unanswerable":
            unanswerable[given if given and given not in unanswerable else f"q{number - 1}"] = question
        elif not source:
            log.add("no_source", f"row {number}", where=path.name)
        else:
            # A question in several rows has several sources.
            query_id = by_text.setdefault(question, given if given and given not in questions else f"q{number - 1}")
            if source in qrels.get(query_id, {}):
                log.add("duplicate_judgement", f"row {number}", where=path.name)
            questions[query_id] = question
            qrels.setdefault(query_id, {})[source] = 1
            if answer:
                answers[query_id] = tuple(dict.fromkeys((*answers.get(query_id, ()), answer)))
    return Dataset(
        name=_stem(path),
        questions=questions,
        qrels=qrels,
        answers=answers,
        unanswerable=unanswerable,
        problems=log.problems(),
        files={"queries": path.name, "qrels": path.name},
    )


def _delimiter(text: str) -> str:
    """Spreadsheets write semicolons where the comma is the decimal sign."""
    header = text.split("\n", 1)[0]
    return max(",;\t", key=header.count)


def _table_columns(path: Path, header: list[str]) -> tuple[int, ...]:
    names = [cell.strip().lstrip("\ufeff").casefold() for cell in header]
    found = [
        next((names.index(name) for name in known if name in names), -1)
        for known in (_QUESTION_COLUMNS, _ANSWER_COLUMNS, _SOURCE_COLUMNS, _ID_COLUMNS, _KIND_COLUMNS, _KEEP_COLUMNS)
    ]
    if found[0] < 0 or found[2] < 0:
        raise UsageError(
            f"{path} needs a header with the columns question, source and, if known, answer; "
            f"it has: {', '.join(header) or 'nothing'}."
        )
    return tuple(found)
