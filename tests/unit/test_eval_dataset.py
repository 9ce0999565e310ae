"""Datasets: which files are taken, what is counted as wrong, and that nothing of it is a traceback."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from eval.dataset import Dataset, load_dataset
from rag.errors import UsageError
from rag.types import Document

CORPUS = [{"_id": "d1", "title": "Flint", "text": "A hard stone."}, {"_id": "d2", "title": "", "text": "燧石很硬。"}, {"_id": 3, "text": "Chalk."}]  # fmt: skip
QUERIES = [{"_id": "q1", "text": "hard stone?", "answer": ["flint"]}, {"_id": "q2", "text": "什么很硬？"}, {"_id": "q3", "text": "soft?"}]  # fmt: skip
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq2\td2\t1\nq3\t3\t1\n"


def lines(records: list) -> str:  # type: ignore[type-arg]
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def folder(tmp_path: Path, **files: str | bytes) -> Path:
    """A BEIR folder; keyword `queries__dev_jsonl_gz` makes the file queries.dev.jsonl.gz, and `qrels___x` qrels/x."""
    path = tmp_path / "set"
    for name, content in {"corpus_jsonl": lines(CORPUS), **files}.items():
        target = path / name.replace("___", "/").replace("__", ".").replace("_", ".")
        target.parent.mkdir(parents=True, exist_ok=True)
        raw = content.encode() if isinstance(content, str) else content
        target.write_bytes(gzip.compress(raw) if target.suffix == ".gz" else raw)
    return path


def kinds(dataset: Dataset) -> dict[str, int]:
    return {problem.kind: problem.n for problem in dataset.problems}


def test_a_folder(tmp_path: Path) -> None:
    dataset = load_dataset(folder(tmp_path, queries_jsonl=lines(QUERIES), qrels_tsv=QRELS))
    assert dataset.questions == {"q1": "hard stone?", "q2": "什么很硬？", "q3": "soft?"}
    assert dataset.qrels == {"q1": {"d1": 2}, "q2": {"d2": 1}, "q3": {"3": 1}}
    assert dataset.answers == {"q1": ("flint",)}
    assert list(dataset.corpus()) == [
        Document("A hard stone.", doc_id="d1", title="Flint", source="d1"),
        Document("燧石很硬。", doc_id="d2", title="", source="d2"),
        Document("Chalk.", doc_id="3", title="", source="3"),
    ]
    assert (dataset.name, dataset.n_documents, dataset.problems) == ("set", 3, ())
    assert len(list(dataset.corpus())) == 3, "the corpus can be read again"


def test_compressed_and_plain_are_the_same_corpus(tmp_path: Path) -> None:
    plain = load_dataset(folder(tmp_path / "a", queries_jsonl=lines(QUERIES), qrels_tsv=QRELS))
    packed = folder(tmp_path / "b", corpus_jsonl_gz=lines(CORPUS), queries_jsonl_gz=lines(QUERIES), qrels_tsv_gz=QRELS)
    (packed / "corpus.jsonl").unlink()
    assert load_dataset(packed).fingerprint == plain.fingerprint
    assert load_dataset(packed).qrels == plain.qrels


def test_the_corpus_is_read_lazily(tmp_path: Path) -> None:
    path = folder(tmp_path, queries_jsonl=lines(QUERIES), qrels_tsv=QRELS)
    stream = load_dataset(path).corpus()
    assert next(stream).doc_id == "d1"


@pytest.mark.parametrize(
    ("files", "taken"),
    [
        ({"queries__dev_jsonl": 0, "queries__test_jsonl": 0, "qrels__dev_tsv": 0, "qrels__test_tsv": 0}, ("queries.test.jsonl", "qrels.test.tsv")),
        ({"queries__train_jsonl": 0, "queries__dev_jsonl": 0, "qrels__dev_tsv": 0, "qrels__train_tsv": 0}, ("queries.dev.jsonl", "qrels.dev.tsv")),
        ({"queries_jsonl": 0, "qrels___dev_tsv": 0, "qrels___test_tsv": 0, "qrels___train_tsv": 0}, ("queries.jsonl", "qrels/test.tsv")),
        ({"queries__test_jsonl": 0, "queries__dev_jsonl": 0, "qrels__dev_tsv": 0}, ("queries.dev.jsonl", "qrels.dev.tsv")),
        ({"queries__dev_jsonl": 0, "qrels_tsv": 0}, ("queries.dev.jsonl", "qrels.tsv")),
    ],
)  # fmt: skip
def test_which_files_are_taken(tmp_path: Path, files: dict[str, int], taken: tuple[str, str]) -> None:
    content = {name: QRELS if name.startswith("qrels") else lines(QUERIES) for name in files}
    found = load_dataset(folder(tmp_path, **content)).files
    assert (found["queries"], found["qrels"]) == taken


def test_named_queries_bring_their_qrels(tmp_path: Path) -> None:
    path = folder(tmp_path, queries__dev_jsonl=lines(QUERIES), qrels__dev_tsv=QRELS, queries__train_jsonl=lines(QUERIES), qrels__train_tsv=QRELS)  # fmt: skip
    assert load_dataset(path, queries="queries.train.jsonl").files["qrels"] == "qrels.train.tsv"
    assert load_dataset(path, queries=path / "queries.train.jsonl").files["qrels"] == "qrels.train.tsv"
    assert load_dataset(path, qrels="qrels.train.tsv").files["queries"] == "queries.train.jsonl"
    with pytest.raises(UsageError, match=r"queries\.dev\.jsonl"):
        load_dataset(path, queries="queries.test.jsonl")


def test_limit_takes_the_first_judged_questions(tmp_path: Path) -> None:
    path = folder(tmp_path, queries_jsonl=lines([{"_id": "q0", "text": "not judged"}, *QUERIES]), qrels_tsv=QRELS)
    dataset = load_dataset(path, limit=2)
    assert list(dataset.questions) == list(dataset.qrels) == ["q1", "q2"]
    assert len(load_dataset(path, limit=99).questions) == 3
    with pytest.raises(UsageError, match="1 or more"):
        load_dataset(path, limit=0)


def test_faults_are_counted_and_named(tmp_path: Path) -> None:
    corpus = (
        lines(CORPUS)
        + "{broken\n[1]\n"
        + lines([{"_id": "d1", "text": "again"}, {"_id": "d9", "text": " "}, {"text": "no id"}])
    )
    queries = lines([*QUERIES, {"_id": "q1", "text": "again"}, {"_id": "q4", "text": "  "}, {"_id": "q5", "text": "free"}, {"_id": "q6", "text": "x"}]) + "nope\n"  # fmt: skip
    qrels = QRELS + "q1\td1\t2\nq9\td1\t1\nq3\tdX\t1\nq6\td1\t0\nq1 d1\n"
    dataset = load_dataset(folder(tmp_path, corpus_jsonl=corpus, queries_jsonl=queries, qrels_tsv=qrels))
    assert kinds(dataset) == {
        "duplicate_judgement": 1, "bad_line": 3, "duplicate_question": 1, "empty_question": 1, "unknown_question": 1,
        "unjudged_question": 1, "no_relevant": 1, "duplicate_document": 1, "empty_document": 1, "unknown_document": 1,
    }  # fmt: skip
    assert {(p.where, p.n) for p in dataset.problems if p.kind == "bad_line"} == {("qrels.tsv", 1), ("queries.jsonl", 1), ("corpus.jsonl", 3)}  # fmt: skip
    assert next(p.message for p in dataset.problems if p.kind == "unknown_document").endswith("never found (dX)")
    assert dataset.questions["q1"] == "hard stone?"
    assert [document.text for document in dataset.corpus()] == ["A hard stone.", "燧石很硬。", "Chalk."]
    assert dataset.qrels["q3"] == {"3": 1, "dX": 1}, "what cannot be found still counts"


def test_mixed_encodings(tmp_path: Path) -> None:
    rows = [
        b'{"_id": "d1", "text": "plain"}',
        '{"_id": "d2", "text": "déjà été"}'.encode("cp1252"),
        '{"_id": "d3", "text": "燧石很硬，可以打火"}'.encode("gb18030"),
        '{"_id": "d4", "text": "naïve"}'.encode(),
    ]
    path = folder(
        tmp_path, corpus_jsonl=b"\xef\xbb\xbf" + b"\n".join(rows), queries_jsonl=lines(QUERIES), qrels_tsv=QRELS
    )
    dataset = load_dataset(path)
    assert [document.text for document in dataset.corpus()] == ["plain", "déjà été", "燧石很硬，可以打火", "naïve"]
    assert kinds(dataset)["bad_encoding"] == 2


def test_utf16_files(tmp_path: Path) -> None:
    path = folder(tmp_path, corpus_jsonl=lines(CORPUS).encode("utf-16"), queries_jsonl=lines(QUERIES).encode("utf-16"), qrels_tsv=QRELS)  # fmt: skip
    assert load_dataset(path).questions["q2"] == "什么很硬？"


@pytest.mark.parametrize("qrels", ["", "query-id\tcorpus-id\tscore\n", "a,b,c\n1,2,3\n", "q8\td1\t1\n"])
def test_useless_qrels_leave_no_question_but_a_problem(tmp_path: Path, qrels: str) -> None:
    dataset = load_dataset(folder(tmp_path, queries_jsonl=lines(QUERIES), qrels_tsv=qrels))
    assert dataset.questions == {}
    assert {"empty_file", "unknown_question"} & set(kinds(dataset))


def test_unusable_folders_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    damaged = folder(tmp_path / "c", corpus_jsonl=gzip.compress(b"x" * 9000)[:40], queries_jsonl=lines(QUERIES), qrels_tsv=QRELS)  # fmt: skip
    cases = {
        tmp_path / "none": "There is no",
        tmp_path / "empty": r"corpus\.jsonl.*it is empty",
        folder(tmp_path / "a", qrels_tsv=QRELS): "--queries",
        folder(tmp_path / "b", queries_jsonl=lines(QUERIES)): "--qrels",
        folder(tmp_path / "d", corpus_jsonl="\n", queries_jsonl=lines(QUERIES), qrels_tsv=QRELS): "no document",
        damaged: "damaged",
        damaged / "queries.jsonl": "the folder, not a file in it",
    }
    for path, says in cases.items():
        with pytest.raises(UsageError, match=says):
            load_dataset(path)


def test_squad(tmp_path: Path) -> None:
    tree = {
        "data": [
            {
                "title": "Stones",
                "paragraphs": [
                    {
                        "context": "Flint is hard.",
                        "qas": [
                            {"id": "a", "question": "What is hard?", "answers": [{"text": "Flint", "answer_start": 0}]},
                            {"id": "b", "question": "Who is soft?", "answers": [], "is_impossible": True},
                            {"id": "a", "question": "again?", "answers": []},
                        ],
                    },
                    {"context": "", "qas": []},
                    {
                        "context": "Chalk is soft.",
                        "qas": [{"question": "What is soft?", "answers": [{"text": "Chalk"}]}, 5],
                    },
                ],
            },
            "nonsense",
        ]
    }
    path = tmp_path / "squad.json"
    path.write_text(json.dumps(tree))
    dataset = load_dataset(path)
    assert dataset.questions == {"a": "What is hard?", "q2": "What is soft?"}
    assert dataset.qrels == {"a": {"p0": 1}, "q2": {"p1": 1}}
    assert dataset.answers["a"] == ("Flint",)
    assert dataset.unanswerable == {"b": "Who is soft?"}
    assert [(d.doc_id, d.title, d.text) for d in dataset.corpus()] == [("p0", "Stones", "Flint is hard."), ("p1", "Stones", "Chalk is soft.")]  # fmt: skip
    assert kinds(dataset) == {"duplicate_question": 1, "empty_document": 1}


@pytest.mark.parametrize("content", ["", "{", "{}", '{"data": 3}', '{"data": []}', "[" * 100_000])
def test_json_that_is_not_squad(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UsageError):
        load_dataset(tmp_path / "x.json")


@pytest.mark.parametrize(("delimiter", "encoding"), [(",", "utf-8"), (";", "utf-8-sig"), (",", "utf-16")])
def test_csv(tmp_path: Path, delimiter: str, encoding: str) -> None:
    rows = [
        ["Question", "Answer", "Source"],
        ["What, exactly, is hard?", "Flint", "docs/stones.md"],
        ["What, exactly, is hard?", "", "docs/more.md"],
        ["什么很软？", "白垩", "chalk.pdf"],
        ["", "x", "y"],
        ["no source", "x", ""],
        ["什么很软？", "白垩", "chalk.pdf"],
    ]
    text = "\r\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in rows)
    (tmp_path / "mine.csv").write_text(text, encoding=encoding, newline="")
    dataset = load_dataset(tmp_path / "mine.csv")
    assert dataset.questions == {"q1": "What, exactly, is hard?", "q3": "什么很软？"}
    assert dataset.qrels == {"q1": {"docs/stones.md": 1, "docs/more.md": 1}, "q3": {"chalk.pdf": 1}}
    assert dataset.answers == {"q1": ("Flint",), "q3": ("白垩",)}
    assert kinds(dataset) == {"empty_question": 1, "no_source": 1, "duplicate_judgement": 1}
    with pytest.raises(UsageError, match="Ingest the documents"):
        dataset.corpus()


def test_csv_with_wrong_columns(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("prompt,reply\na,b\n")
    with pytest.raises(UsageError, match="question, source.*it has: prompt, reply"):
        load_dataset(tmp_path / "x.csv")
