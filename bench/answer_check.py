"""How often the check of an answer's sentences is wrong, on real passages: python -m bench.answer_check → JSON.

verbatim: a passage's own sentences, each cited with that passage; what is not supported is a false alarm.
questions: questions that people wrote from a passage, another wording of it; a fact said to be missing is a false alarm.
translated: sentences cited with the passage in the other language; what is not supported is a false alarm, or a translation
that differs.
changed: the same sentences with one number, date, name or negation changed; what is still supported is missed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from calendar import month_name
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.citations import Passage, check, missing_facts
from rag.text import sentences
from rag.types import Hit

REPO = Path(__file__).resolve().parents[1]
LANGUAGES = ("en", "zh")
SHORTEST = {"en": 40, "zh": 15}  # characters of a sentence that is tested
SPELLED = {
    "en": ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"],
    "zh": list("两三四五六七八九十"),
}
MONTHS = [month_name[n] for n in range(1, 13)]
ASKS_NAME = re.compile(r"\b(?:Who|Whose|Where|Which (?:team|city|country|player|person))\b")
DENIED = re.compile(
    r"\b(is|are|was|were|can|could|will|would|did|does|do) not\b|(?<=[\u4e00-\u9fff])(不|没有)(?=[是能会可存得被])"
)
STATED = re.compile(
    r"\b(is|are|was|were|can|could|will|would)\b(?! not)|(?<![不没但总还就也只都若正于协议员国大社机委])[是能会](?=[\u4e00-\u9fff])(?!否|不|议|员|力|计|源|量)"
)


@dataclass(frozen=True)
class Text:
    """A passage, its questions, and the names that are answers to them."""

    text: str
    questions: list[str]
    names: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=Path, default=REPO.parent / "shared/data/sets")
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument("--show", action="store_true", help="print what is wrong")
    options = parser.parse_args()
    named = _asked_for_names(options.sets / "xquad-en")
    texts = {lang: read(options.sets / f"xquad-{lang}", named) for lang in LANGUAGES}
    result = {lang: measure(texts, lang, options.sentences, options.show) for lang in LANGUAGES}
    print(json.dumps(result, indent=1))


def read(folder: Path, named: set[object]) -> dict[str, Text]:
    """Passages of a set by id. named: ids of the questions whose answer is a name; they are the same in both languages."""
    texts = {row["_id"]: Text(row["text"], [], []) for row in _rows(folder / "corpus.jsonl.gz")}
    queries = {row["_id"]: row for row in _rows(folder / "queries.dev.jsonl.gz")}
    with gzip.open(folder / "qrels.dev.tsv.gz", "rt", encoding="utf-8") as lines:
        for line in list(lines)[1:]:
            query_id, doc_id, _ = line.split("\t")
            query, text = queries[query_id], texts[doc_id]
            text.questions.append(query["text"])
            if query_id in named:
                text.names.extend(name for name in query["answer"] if len(name) < 25 and name in text.text)
    return texts


def _asked_for_names(folder: Path) -> set[object]:
    rows = _rows(folder / "queries.dev.jsonl.gz")
    return {row["_id"] for row in rows if ASKS_NAME.search(row["text"]) and row["answer"][0][0].isupper()}


def measure(texts: dict[str, dict[str, Text]], lang: str, wanted: int, show: bool) -> dict[str, dict[str, int]]:
    """For each kind of test, how many there were and how many the check got wrong."""
    own, other = texts[lang], texts["zh" if lang == "en" else "en"]
    chosen = list(_sentences(own, lang))
    chosen = chosen[:: max(1, len(chosen) // wanted)][:wanted]
    counts: dict[str, dict[str, int]] = {}

    def count(kind: str, wrong: bool, *what: object) -> None:
        counts.setdefault(kind, {"n": 0, "wrong": 0})
        counts[kind]["n"] += 1
        counts[kind]["wrong"] += wrong
        if wrong and show:
            print(lang, kind, *what, sep=" | ")

    for doc_id, sentence in chosen:
        count("verbatim", not supported(sentence, own[doc_id].text), doc_id, sentence)
        count("translated", not supported(sentence, other[doc_id].text), doc_id, sentence,
              missing_facts(sentence, other[doc_id].text))  # fmt: skip
    for text in own.values():
        for question in text.questions:
            missing = missing_facts(question, text.text)
            count("questions", bool(missing), missing, question, text.text[:80])
    every = [name for text in own.values() for name in text.names]
    for at, (doc_id, sentence) in enumerate(_sentences(own, lang)):
        for kind, wrong in changed(sentence, own[doc_id], every, at, lang):
            if counts.get(kind, {"n": 0})["n"] < wanted:
                count(kind, supported(wrong, own[doc_id].text), doc_id, wrong, "was: " + sentence)
    return counts


def supported(sentence: str, text: str) -> bool:
    """Whether the check lets a sentence pass that cites `text`."""
    hit = Hit(rank=1, chunk_id="c", doc_id="d", source="s", title="", score=1.0, text=text, start=0, end=len(text))
    checked = check(f"{sentence} [1]", [Passage(number=1, hit=hit, start=0, text=text)], question="")
    return not checked.unsupported


def changed(sentence: str, text: Text, names: list[str], at: int, lang: str) -> Iterator[tuple[str, str]]:
    """The sentence with one fact changed to what the passage does not hold, and what kind of fact that is."""
    if match := re.search(r"\d[\d.,]*\d|\d", sentence):
        new = match.group()[:-1] + str((int(match.group()[-1]) + 3) % 10)
        if new not in text.text and not re.match(r"\d{4}$", new):
            yield "number", _put(sentence, match.span(), new)
    spelled = (
        r"\b(two|three|four|five|six|seven|eight|nine|ten)\b"
        if lang == "en"
        else "([两三四五六七八九])(?=[个名位项次艘座种场人条])"
    )
    if match := re.search(spelled, sentence):
        absent = [word for word in SPELLED[lang] if not re.search(rf"\b{word}\b" if lang == "en" else word, text.text)]
        if absent:
            yield "small number", _put(sentence, match.span(1), absent[at % len(absent)])
    if match := re.search(r"(?<!\d)1[5-9]\d\d(?!\d)", sentence):
        new = str(int(match.group()) + 7)
        if new not in text.text:
            yield "date", _put(sentence, match.span(), new)
    if match := re.search(r"\b(" + "|".join(MONTHS) + r")\b|(?<!\d)(\d{1,2})(?=月)", sentence):
        month = MONTHS.index(match[1]) if match[1] else int(match[2]) - 1
        new = MONTHS[(month + 4) % 12] if match[1] else str((month + 4) % 12 + 1)
        if not re.search(rf"(?<!\d){new}\b" if lang == "en" else f"(?<!\\d){new}月", text.text):
            yield "month", _put(sentence, match.span(), new)
    for name in text.names:
        others = [one for one in names if one not in text.text and len(one.split()) <= 3]
        if name in sentence and others:
            start = sentence.index(name)
            yield "name", _put(sentence, (start, start + len(name)), others[at % len(others)])
            break
    if match := DENIED.search(sentence):
        yield "negation", _put(sentence, match.span(), match[1] or "")
    elif match := STATED.search(sentence):
        yield "negation", _put(sentence, match.span(), f"{match[1]} not" if match[1] else f"不{match.group()}")


def _put(text: str, span: tuple[int, int], new: str) -> str:
    return text[: span[0]] + new + text[span[1] :]


def _sentences(texts: dict[str, Text], lang: str) -> Iterator[tuple[str, str]]:
    for doc_id, text in texts.items():
        for start, end in sentences(text.text):
            if end - start >= SHORTEST[lang]:
                yield doc_id, text.text[start:end]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines)


if __name__ == "__main__":
    main()
