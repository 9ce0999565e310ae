"""Metadata from front matter, sidecar files and paths, hostile ones among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.describing import describe, fingerprint, from_path, from_sidecar, front_matter, path_patterns
from rag.errors import SettingsError
from rag.loaders import load_document
from rag.sources import FoundFile, find, sidecar

YAML = """---
title: "A: B"
Author: 王小明
tags: [x, 2, true]
list:
  - one
  - two
year: 2024
score: 1.5
draft: false
day: 2024-05-01
country: no
time: 12:30
empty:
nested: {a: 1}
---

# Head
"""


def test_yaml_front_matter_keeps_types_and_words() -> None:
    values, start, warnings = front_matter(YAML)
    assert values == {
        "title": "A: B", "author": "王小明", "tags": ["x", "2", "true"], "list": ["one", "two"], "year": 2024, "score": 1.5,
        "draft": False, "day": "2024-05-01", "country": "no", "time": "12:30",
    }  # fmt: skip
    assert YAML[start:] == "# Head\n"
    assert warnings == ["front matter: left out, because only plain values and lists are kept: nested."]


def test_toml_front_matter() -> None:
    text = '+++\ntitle = "T"\ndate = 2024-05-01T10:00:00Z\nn = 3\ntags = ["a"]\n[params]\nx = 1\n+++\nBody'
    values, start, _ = front_matter(text)
    assert values == {"title": "T", "date": "2024-05-01T10:00:00+00:00", "n": 3, "tags": ["a"]}
    assert text[start:] == "Body"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "---\n\nno front matter\n",
        "---\nno end: 1\n",
        "---\n- a\n- b\n---\nlist",
        "+++\nno\n",
        "--- a: 1\n---\n",
    ],
)
def test_texts_without_front_matter_stay_whole(text: str) -> None:
    assert front_matter(text)[:2] == ({}, 0)


@pytest.mark.parametrize(
    "head",
    [
        "a: &a [x]\nb: [*a, *a]", "<<: *a", "c: !!python/object/apply:os.system ['touch EVIL']", "a: !!python/name:os.system", "a: " + "[" * 5000,
        "a: " + "{a: " * 3000, "a: 'open", "? [a, b]\n: c", "\ta: b", "a: !!binary x",
    ],
)  # fmt: skip
def test_hostile_front_matter_is_a_warning(head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values, start, warnings = front_matter(f"---\n{head}\n---\nbody\n")
    assert values == {} and len(warnings) <= 1
    assert start == 0 or warnings
    assert list(tmp_path.iterdir()) == []


def test_the_files_of_the_bad_set(shared: Path) -> None:
    for name in ("md-front-matter-alias-bomb.md", "md-yaml-python-tag.md"):
        parsed = load_document((shared / "data" / "bad" / "generated" / name).read_bytes(), name)
        assert "body text" in parsed.text and parsed.metadata == {}


def test_loaders_take_front_matter_out_of_the_text() -> None:
    parsed = load_document(YAML.encode(), "a.md")
    assert (parsed.title, parsed.text, parsed.blocks[0].start) == ("A: B", "# Head\n", 0)
    assert parsed.metadata["year"] == 2024 and "title" not in parsed.metadata
    plain = load_document(b"---\ntitle: T\nlang: de\n---\n\nBody\n", "a.txt")
    assert (plain.title, plain.text, plain.metadata) == ("T", "Body\n", {"lang": "de"})
    assert [plain.text[b.start : b.end] for b in plain.blocks] == ["Body"]


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize(
    ("pattern", "path", "values"),
    [
        ("{department}/{year:int}/*", "sales/2024/a.md", {"department": "sales", "year": 2024}),
        ("{department}/{year:int}/*", "sales/old/a.md", {}),
        ("{department}/{year:int}/*", "sales/2024/deep/a.md", {}),
        ("{department}/**", "sales/2024/deep/a.md", {"department": "sales"}),
        ("**/{day:date}-{slug}.md", "x/y/2024-05-01-hello.md", {"day": "2024-05-01", "slug": "hello"}),
        ("**/{day:date}-{slug}.md", "2024-05-01-hello.md", {"day": "2024-05-01", "slug": "hello"}),
        ("v{version:float}/*.txt", "v1.5/a.txt", {"version": 1.5}),
        ("{public:bool}/*", "Yes/a.txt", {"public": True}),
        ("{部}/x", "x", None),
    ],
)
def test_patterns(pattern: str, path: str, values: dict[str, object] | None) -> None:
    if values is None:
        with pytest.raises(SettingsError, match="path_patterns"):
            path_patterns([pattern])
        return
    assert from_path(f"/data/docs/{path}", "/data/docs", path_patterns([pattern])) == values


def test_patterns_on_urls_and_single_files() -> None:
    patterns = path_patterns(["{section}/*", "{name}.txt"])
    assert from_path("https://example.org/blog/%E4%B8%AD?x=1", "https://example.org/", patterns) == {"section": "blog"}
    assert from_path("/data/a.txt", "/data/a.txt", patterns) == {"name": "a"}


@pytest.mark.parametrize("pattern", ["{a}/{a}", "{a:number}", "{a", "a}", "x**y", "{1}"])
def test_patterns_that_are_none(pattern: str) -> None:
    with pytest.raises(SettingsError, match="path_patterns"):
        path_patterns([pattern])


# ---------------------------------------------------------------- sidecars


def test_sidecars() -> None:
    assert from_sidecar(b'{"Team": "a", "n": 1, "tags": ["x"], "bad": {"a": 1}}', "a.meta.json")[0] == {
        "team": "a",
        "n": 1,
        "tags": ["x"],
    }
    assert from_sidecar(b"team: a\nsince: 2024-01-02\n", "a.meta.yaml")[0] == {"team": "a", "since": "2024-01-02"}
    for data, name in ((b"{", "a.meta.json"), (b"[1]", "a.meta.json"), (b"\xff", "a.meta.json"), (b"a: *b", "a.meta.yml"),
                       (b"[" * 100_000, "a.meta.json"), (b" " * 300_000, "a.meta.json")):  # fmt: skip
        values, warnings = from_sidecar(data, name)
        assert values == {} and len(warnings) == 1 and name in warnings[0]


def test_the_sidecar_wins_over_the_inside_and_that_over_the_path() -> None:
    given = {"root": "/d", "patterns": path_patterns(["{a}/{b}/{c}.md"])}
    values, warnings = describe(
        "/d/1/2/3.md", **given, front={"b": "front", "c": "front"}, sidecar=("3.meta.json", b'{"c": "side"}')
    )  # type: ignore[arg-type]
    assert (values, warnings) == ({"a": "1", "b": "front", "c": "side"}, [])


def test_the_fingerprint_follows_what_stands_outside() -> None:
    assert fingerprint("/d/a.md", root="/d") == ""
    prints = {
        fingerprint("/d/x/a.md", root="/d", patterns=path_patterns(["{a}/*"])),
        fingerprint("/d/y/a.md", root="/d", patterns=path_patterns(["{a}/*"])),
        fingerprint("/d/x/a.md", root="/d", sidecar=("a.meta.json", b"{}")),
        fingerprint("/d/x/a.md", root="/d", sidecar=("a.meta.json", b'{"a": 1}')),
        "",
    }
    assert len(prints) == 5


def test_find_gives_sidecars_to_their_documents(tmp_path: Path) -> None:
    for name in ("a.pdf", "a.pdf.meta.json", "b.md", "b.meta.yaml", "alone.meta.json", "c.txt"):
        (tmp_path / name).write_text(name)
    found = [item for item in find(tmp_path) if isinstance(item, FoundFile)]
    assert [(item.name, Path(item.sidecar).name) for item in found] == [
        ("a.pdf", "a.pdf.meta.json"), ("alone.meta.json", ""), ("b.md", "b.meta.yaml"), ("c.txt", "")
    ]  # fmt: skip
    assert find_one(tmp_path / "b.md").sidecar == found[2].sidecar
    assert sidecar(found[0]) == ("a.pdf.meta.json", b"a.pdf.meta.json")
    assert sidecar(found[3]) is None
    (tmp_path / "b.meta.yaml").unlink()
    assert sidecar(found[2]) is None  # gone since


def find_one(path: Path) -> FoundFile:
    (found,) = find(path)
    assert isinstance(found, FoundFile)
    return found
