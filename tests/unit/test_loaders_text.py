"""Loaders of data and text formats: tables of text, JSON, XML and feeds, notebooks, reStructuredText, source code."""

from __future__ import annotations

import contextlib
import importlib
import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rag.errors import CODES, DocumentError
from rag.loaders import identify
from tests.ends import ends
from tests.unit.test_loaders import blocks_of, load, refused


def headings(data: bytes | str, name: str) -> list[tuple[int, str]]:
    parsed = load(data, name)
    return [(b.level, parsed.text[b.start : b.end].lstrip("# ")) for b in parsed.blocks if b.kind == "heading"]


# ---------------------------------------------------------------- what a file is


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (b"a,b", "a.csv", "csv"), (b"a\tb", "a.tsv", "csv"), (b"[1]", "a.json", "json"), (b"\xef\xbb\xbf{}", "a.geojson", "json"),
        ('{"a": 1}'.encode("utf-16"), "a.json", "json"), (b"prose", "a.json", "text"), (b"<r/>", "a.xml", "xml"), (b"prose", "a.xml", "text"),
        (b"<?xml version='1.0'?><r/>", "a", "xml"), (b"<rss/>", "a.rss", "xml"), (b"{}", "a.ipynb", "ipynb"), (b"x", "a.rst", "rst"),
        (b"x", "a.py", "code"), (b"x", "Dockerfile", "code"), (b"x,y", "a", "text"), (b"{}", "a", "text"), (b"<html><p>x", "a.csv", "html"),
        (b"%PDF-1.4", "a.json", "pdf"), (bytes(range(256)), "a.csv", "unsupported:binary"), (b"\x89PNG\r\n\x1a\n", "a.xml", "image"),
    ],
)  # fmt: skip
def test_identify(data: bytes, name: str, kind: str) -> None:
    assert identify(data, name) == kind


# ---------------------------------------------------------------- tables of text


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_csv_delimiters_and_encodings(delimiter: str, encoding: str) -> None:
    rows = [["姓名", "城市", "金额"], ["王小明", "北京", "1.234,50"], ["李小红", "上海, 中国", "7"]]
    text = "\r\n".join(delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in row) for row in rows)
    assert blocks_of(load(text.encode(encoding), "a.csv")) == [
        (
            "table",
            "| 姓名 | 城市 | 金额 |\n| --- | --- | --- |\n| 王小明 | 北京 | 1.234,50 |\n| 李小红 | 上海, 中国 | 7 |",
        )
    ]


def test_csv_shift_jis() -> None:
    assert "| 髙橋淳 | 名古屋 |" in load("名前,住所\n佐藤太郎,東京\n髙橋淳,名古屋\n".encode("cp932"), "a.csv").text


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("name,n\na,1\nb,2\n", "| name | n |"), ("a,1\nb,2\nc,3\n", "| A | B |"), ("2024,2025\nx,y\nz,w\n", "| 2024 | 2025 |"),
        ("a,b\nc,d\n", "| a | b |"), ("yes,x\nno,x\nyes,x\n", "| A | B |"), ("1,2\n", "| A | B |"), ("date\n2024-01-02\n2024-01-03\n", "| date |"),
    ],
)  # fmt: skip
def test_csv_head_row(text: str, head: str) -> None:
    """A first row that looks like the rows below it is data; the columns then have letters."""
    table = load(text, "a.csv").text
    assert table.split("\n")[0] == head
    n_rows = text.count("\n") + ("| A " in head)
    assert table.count("\n") == n_rows


def test_csv_titles_empty_rows_and_columns() -> None:
    parsed = load("Sales 2024,,\n\nregion,,sum\n,,\nNorth,,1\nSouth,,2\n", "a.csv")
    assert blocks_of(parsed) == [
        ("paragraph", "Sales 2024"),
        ("table", "| region | sum |\n| --- | --- |\n| North | 1 |\n| South | 2 |"),
    ]


def test_csv_cells_stay_text() -> None:
    parsed = load("sep=;\nname;value\n=cmd|' /C calc'!A0;007\n'x;\"two\nlines\"\n", "a.csv")
    assert parsed.text.split("\n")[2:] == ["| =cmd\\|' /C calc'!A0 | 007 |", "| 'x | two lines |"]


def test_ragged_csv_keeps_every_cell_and_says_so() -> None:
    parsed = load("a,b\n1,2\n3,4,5\n6\n", "a.csv")
    assert parsed.text.split("\n") == [
        "| a | b |  |",
        "| --- | --- | --- |",
        "| 1 | 2 |  |",
        "| 3 | 4 | 5 |",
        "| 6 |  |  |",
    ]
    assert "1 rows have more cells" in parsed.warnings[0]


def test_hostile_csv() -> None:
    assert refused(b",".join([b"x"] * 10_001), "a.csv") == "E_TOO_WIDE"
    assert load(b"a,b\n1,2\n" + b",".join([b"x"] * 10_000), "a.csv").text.count("x") == 10_000
    assert load(b'a,b\n1,"' + b"word " * 1_000_000 + b'"\n', "a.csv").text.count("word") == 1_000_000
    assert load(b"a\0,b\n1,2\n", "a.csv").warnings == ("1 NUL characters were removed.",)
    opened = load('a,b\n1,"closed"\n2,"never\n3,x\n4,y\n', "a.csv")
    assert "line 3" in opened.warnings[0]
    assert opened.text.split("\n")[2:] == ["| 1 | closed |", '| 2 | "never |', "| 3 | x |", "| 4 | y |"]


# ---------------------------------------------------------------- JSON


def test_json_list_of_flat_records_is_a_table() -> None:
    data = json.dumps([{"name": "a", "n": 1, "ok": True}, {"name": "b|c", "n": None}])
    assert blocks_of(load(data, "a.json")) == [
        ("table", "| name | n | ok |\n| --- | --- | --- |\n| a | 1 | true |\n| b\\|c | null |  |")
    ]


def test_json_objects_become_lines_with_their_path() -> None:
    data = {"server": {"port": 8080, "hosts": ["a", "b"]}, "tls": {"on": False, "keys": [{"id": 1, "x": {"y": "z"}}]}}
    assert blocks_of(load(json.dumps(data), "a.json")) == [
        ("paragraph", "server.port: 8080\nserver.hosts: a, b"),
        ("paragraph", "tls.on: false"),
        ("paragraph", "tls.keys[0].id: 1\ntls.keys[0].x.y: z"),
    ]


def test_json_titles_and_long_texts() -> None:
    text = "First paragraph of some length. " * 10 + "\n\nSecond."
    record = {"id": 7, "title": "A  title", "content": text, "note": "x" * 200}
    parsed = load(json.dumps({"title": "Set", "docs": [record, {"id": 8}]}), "a.json")
    assert parsed.title == "Set"
    assert blocks_of(parsed)[0] == ("heading", "# Set")
    parsed = load(json.dumps([record, {"title": "Other", "content": text}]), "a.json")
    assert [kind for kind, _ in blocks_of(parsed)] == ["heading", "paragraph", "paragraph", "paragraph", "paragraph", "heading", "paragraph", "paragraph"]  # fmt: skip
    assert [text for kind, text in blocks_of(parsed) if kind == "heading"] == ["# A title", "# Other"]
    assert "\n\nid: 7\n\nFirst" in parsed.text and f"note: {'x' * 200}" in parsed.text


def test_json_keeps_what_dicts_and_floats_lose() -> None:
    data = '{"a": "first", "a": "second", "n": 1.10, "big": 12345678901234567890123, "nan": NaN, "e": 1e999}'
    assert load(data, "a.json").text == "a: first\na: second\nn: 1.10\nbig: 12345678901234567890123\nnan: NaN\ne: 1e999"
    assert load('{"a": "\\ud83d\\ude00 \\ud800 \\u0000x"}', "a.json").text == "a: 😀 \ufffd x"


def test_json_lines() -> None:
    parsed = load('{"id": 1, "tags": ["x", "y"]}\n\n{"id": 2, "sub": {"a": "b"}}\n[3, 4]\n{"id": 3, "te', "a.jsonl")
    assert blocks_of(parsed) == [
        ("paragraph", "id: 1\ntags: x, y"), ("paragraph", "id: 2\nsub.a: b"), ("paragraph", "3, 4"), ("paragraph", '{"id": 3, "te'),
    ]  # fmt: skip
    assert parsed.warnings == ("Line 5 is not valid JSON; it was kept as it stands.",)
    assert load('{"a": 1}\n{"a": 2}', "a.json").text == "a: 1\n\na: 2"
    assert len(load("{oops\n" * 50, "a.jsonl").warnings) == 6
    long = json.dumps({"title": "T", "text": "Sentence. " * 100})
    assert headings(long + "\n" + long, "a.jsonl") == [(2, "T"), (2, "T")]


def test_what_is_not_quite_json_is_text() -> None:
    parsed = load('{"a": 1, // comment\n "b": 2}', "a.json")
    assert "// comment" in parsed.text and "not valid JSON" in parsed.warnings[0]


def test_deep_json() -> None:
    assert refused(b"[" * 100_000 + b"]" * 100_000, "a.json") == "E_TOO_DEEP"
    assert refused(b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "a.jsonl") == "E_TOO_DEEP"
    assert "1" in load(b"[" * 100 + b"1" + b"]" * 100, "a.json").text


def test_geojson_leaves_outlines_out() -> None:
    outline = [[[i, i + 0.5] for i in range(300)]]
    features = [
        {"type": "Feature", "properties": {"name": "Lake", "depth": 12}, "geometry": {"type": "Polygon", "coordinates": outline}},
        {"type": "Feature", "properties": {"name": "Hut"}, "geometry": {"type": "Point", "coordinates": [7.1, 46.2]}},
    ]  # fmt: skip
    parsed = load(json.dumps({"type": "FeatureCollection", "features": features}), "a.geojson")
    assert "properties.name: Lake" in parsed.text and "geometry.coordinates: 7.1, 46.2" in parsed.text
    assert "299.5" not in parsed.text and "600 numbers" in parsed.warnings[0]


# ---------------------------------------------------------------- XML


def test_xml_records_and_running_text() -> None:
    data = (
        "<book><title>The Book</title><info year='2024'/><lang>en</lang>"
        "<chapter><title>One</title><p>Text with <b>bold</b> words.</p><p>More.</p></chapter>"
        "<items><item id='1'><name>a</name><n>2</n></item><item id='2'><name>b</name><n>3</n></item></items></book>"
    )
    parsed = load(data, "a.xml")
    assert parsed.title == "The Book"
    assert blocks_of(parsed) == [
        ("heading", "# The Book"), ("paragraph", "info (year: 2024)\nlang: en"), ("heading", "## One"), ("paragraph", "Text with bold words."),
        ("paragraph", "More."), ("table", "| id | name | n |\n| --- | --- | --- |\n| 1 | a | 2 |\n| 2 | b | 3 |"),
    ]  # fmt: skip


def test_xml_encodings_and_document_types() -> None:
    for encoding in ("gb2312", "utf-16", "shift_jis", "utf-8"):
        data = f"<?xml version='1.0' encoding='{encoding}'?><r><a>日本</a><a>今天</a></r>".encode(encoding, "replace")
        assert "日本" in load(data, "a.xml").text
    outside = '<!DOCTYPE r PUBLIC "-//X" "http://127.0.0.1:9/x.dtd"><r>caf&eacute;&nbsp;x</r>'
    assert load(outside, "a.xml").text == "café x"


@pytest.mark.parametrize("name", ["a.xml", "a.svg", "a.rss"])
def test_hostile_xml(name: str) -> None:
    assert refused(b'<!DOCTYPE r [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><r>&b;</r>', name) == "E_XML_UNSAFE"
    assert refused(b'<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]><r>&a;</r>', name) == "E_XML_UNSAFE"
    assert refused(b'<!DOCTYPE r [<!ENTITY % p SYSTEM "http://127.0.0.1:9/">%p;]><r/>', name) == "E_XML_UNSAFE"
    assert refused(b"<r>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</r>", name) == "E_TOO_DEEP"


def test_deep_and_broken_xml_keeps_its_text() -> None:
    assert "end" in load("<a>" * 3_000 + "end" + "</a>" * 3_000, "a.xml").text
    parsed = load("<r><a>One & two</a><!-- no --><b>three</r>", "a.xml")
    assert "One & two" in " ".join(parsed.text.split()) and "no " not in parsed.text
    assert "without its tags" in parsed.warnings[0]


RSS = """<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel>
<title>The &amp;amp; Blog</title><link>https://blog.example/</link><description>About tea</description>
<item><title>Green &amp;#8217;tea&amp;lt;</title><link>https://blog.example/1</link><pubDate>Mon, 01 Jan 2024</pubDate><dc:creator>Ann</dc:creator>
<description>Short</description><content:encoded><![CDATA[<h2>Why</h2><p>Long &amp; full.</p><script>x</script>]]></content:encoded></item>
<item><description>&lt;p&gt;No title&lt;/p&gt;</description></item></channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"><title>Feed</title><link rel="self" href="https://x/self"/><link href="https://x/"/>
<entry><title>E</title><link href="https://x/e"/><updated>2024-02-03</updated><author><name>Bo</name></author>
<content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>a &lt;b&gt; <i>c</i> d</p></div></content></entry></feed>"""


def test_feeds() -> None:
    parsed = load(RSS, "a.xml")
    assert (parsed.type, parsed.title, parsed.metadata) == ("feed", "The & Blog", {"link": "https://blog.example/"})
    assert blocks_of(parsed) == [
        ("heading", "# The & Blog"), ("paragraph", "About tea"), ("heading", "## Green ’tea<"),
        ("paragraph", "Mon, 01 Jan 2024 · Ann · https://blog.example/1"), ("heading", "### Why"), ("paragraph", "Long & full."),
        ("heading", "## –"), ("paragraph", "No title"),
    ]  # fmt: skip
    parsed = load(ATOM, "a.atom")
    assert parsed.metadata == {"link": "https://x/"}
    assert [text for _, text in blocks_of(parsed)] == ["# Feed", "## E", "2024-02-03 · Bo · https://x/e", "a <b> c d"]
    rdf = '<rdf:RDF xmlns:rdf="r"><channel><title>T</title></channel><item><title>I</title></item></rdf:RDF>'
    assert headings(rdf, "a.rdf") == [(1, "T"), (2, "I")]


def test_svg_texts() -> None:
    data = '<svg xmlns="http://www.w3.org/2000/svg"><title>Chart</title><g><text>Q1 <tspan>2024</tspan></text></g><path d="M0 0"/></svg>'
    parsed = load(data, "a.svg")
    assert parsed.title == "Chart" and parsed.text == "Chart\n\nQ1 2024"
    assert refused(b'<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0"/></svg>', "a.svg") == "E_NO_TEXT"


# ---------------------------------------------------------------- notebooks


def test_notebook() -> None:
    picture = {
        "output_type": "display_data",
        "data": {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure size 640x480>"},
    }
    page = {
        "output_type": "execute_result",
        "data": {"text/html": ["<table><tr><th>a<th>b<tr><td>1<td>2</table>"], "text/plain": "raw"},
    }
    error = {"output_type": "error", "ename": "ValueError", "evalue": "\x1b[31mbad\x1b[0m", "traceback": ["long"]}
    cells = [
        {"cell_type": "markdown", "source": ["# Study\n", "\n", "Text ![plot](data:image/png;base64,AAAA).\n", "- a\n", "- b"]},
        {"cell_type": "code", "source": "print(1)", "outputs": [{"output_type": "stream", "text": ["1\n", "2\n"]}, picture, page, error]},
        {"cell_type": "raw", "source": ""},
    ]  # fmt: skip
    book = {"cells": cells, "metadata": {"kernelspec": {"language": "R"}}, "nbformat": 4, "nbformat_minor": 5}
    parsed = load(json.dumps(book), "a.ipynb")
    assert (parsed.title, parsed.type, parsed.metadata) == ("Study", "notebook", {"language": "r"})
    assert blocks_of(parsed) == [
        ("heading", "# Study"), ("paragraph", "Text plot."), ("list", "- a\n- b"), ("code", "```r\nprint(1)\n```"), ("code", "```\n1\n2\n```"),
        ("table", "| a | b |\n| --- | --- |\n| 1 | 2 |"), ("code", "```\nValueError: bad\n```"),
    ]  # fmt: skip


def test_old_cut_and_strange_notebooks() -> None:
    old = {
        "worksheets": [
            {
                "cells": [
                    {"cell_type": "heading", "level": 2, "source": "H"},
                    {"cell_type": "code", "input": "x=1", "outputs": []},
                ]
            }
        ]
    }
    assert load(json.dumps(old), "a.ipynb").text == "## H\n\n```\nx=1\n```"
    long = {
        "cells": [{"cell_type": "code", "source": "x", "outputs": [{"output_type": "stream", "text": "y" * 50_000}]}]
    }
    assert "cut" in load(json.dumps(long), "a.ipynb").warnings[0]
    assert load('{"cells": [{"cell_type": "code", "source": "x', "a.ipynb").warnings
    assert load('{"cells": {"a": 1}}', "a.ipynb").text == "cells.a: 1"
    for cell in (
        None,
        1,
        {"cell_type": []},
        {"cell_type": "code", "source": {}, "outputs": [None, {"data": 1, "text": {}}]},
    ):
        assert (
            "kept"
            in load(
                json.dumps({"cells": [cell, {"cell_type": "markdown", "source": "kept"}], "metadata": 1}), "a.ipynb"
            ).text
        )


# ---------------------------------------------------------------- reStructuredText

RST = """
=====
Guide
=====

:Author: Ann
:Version: 2

.. _target:

Some *text* with ``code``, :ref:`words <target>`, a `link <https://x.example>`_ and |sub|. See Guide_.

Section
=======

* item
  goes on
* second

  with a paragraph

#. one

An example::

    code  here

    more

.. code-block:: python
   :linenos:

   x = 1

.. note:: Take care
   of it.

.. warning::

   - listed

.. comment that nobody
   reads

.. toctree::
   :maxdepth: 2

   page

.. include:: /etc/passwd

.. raw:: html

   <b>raw</b>

.. figure:: a.png
   :alt: A picture

   The caption.

Deeper
------

+-----+-------+
| a   | b     |
+=====+=======+
| one | two   |
|     | lines |
+-----+-------+

==  =====
x   y
==  =====
1   first
    goes on
2   second
==  =====

.. list-table:: Titles
   :header-rows: 1

   * - k
     - v
   * - a
     - b

.. csv-table::
   :header: "m", "n"

   "1, 2", 3

term
   definition

   Indented text.

>>> 1 + 1
2

| line one
| line two

Again
=====
"""


def test_rst_becomes_markdown() -> None:
    parsed = load(RST, "a.rst")
    assert parsed.title == "Guide" and parsed.metadata == {"author": "Ann", "version": "2"}
    assert blocks_of(parsed) == [
        ("heading", "# Guide"), ("paragraph", "Author: Ann\nVersion: 2"),
        ("paragraph", "Some *text* with `code`, words, a link (https://x.example) and sub. See Guide."), ("heading", "## Section"),
        ("list", "- item\n  goes on\n- second\n\n  with a paragraph\n\n1. one"), ("paragraph", "An example:"),
        ("code", "```\ncode  here\n\nmore\n```"), ("code", "```python\nx = 1\n```"), ("paragraph", "Note: Take care"), ("paragraph", "of it."),
        ("paragraph", "Warning:"), ("list", "- listed"), ("paragraph", "A picture"), ("paragraph", "The caption."), ("heading", "### Deeper"),
        ("table", "| a | b |\n| --- | --- |\n| one | two lines |"), ("table", "| x | y |\n| --- | --- |\n| 1 | first goes on |\n| 2 | second |"),
        ("paragraph", "Titles"), ("table", "| k | v |\n| --- | --- |\n| a | b |"), ("table", "| m | n |\n| --- | --- |\n| 1, 2 | 3 |"),
        ("paragraph", "term"), ("quote", "> definition\n>\n> Indented text."), ("code", "```python\n>>> 1 + 1\n2\n```"),
        ("paragraph", "line one\nline two"), ("heading", "## Again"),
    ]  # fmt: skip
    assert "2 files or raw passages" in parsed.warnings[0]


def test_rst_agrees_with_docutils() -> None:
    core = pytest.importorskip("docutils.core")
    nodes = importlib.import_module("docutils.nodes")
    overrides = {
        "file_insertion_enabled": False,
        "raw_enabled": False,
        "report_level": 5,
        "halt_level": 6,
        "doctitle_xform": False,
    }
    samples = [
        RST.replace(":ref:`words <target>`", "words").replace("   :linenos:\n", "").replace(".. toctree::\n   :maxdepth: 2\n\n   page\n", ""),
        "A\n=\n\nB\n-\ntext\n\nC\n~\n\nD\n-\n\nE\n=\n",
        "Over\n----\n\n====\nNot\n====\n\npara\nwith ====\n\n----\n\nafter a rule\n\n中文标题\n--------\n\ntext\n",
        "1. one\n2. two\n\nx\n\n- a\n\n  - b\n\nLast\n====\n\n::\n\n  Not a heading\n  =============\n",
    ]  # fmt: skip
    for text in samples:
        tree = core.publish_doctree(text, settings_overrides=overrides)
        expected = [node.astext() for node in tree.findall(nodes.title) if isinstance(node.parent, nodes.section)]
        assert [words for _, words in headings(text, "a.rst")] == expected
        for node in [*tree.findall(nodes.comment), *tree.findall(nodes.system_message)]:
            node.parent.remove(node)
        words = set(re.findall(r"\w+", load(text, "a.rst").text))
        assert set(re.findall(r"\w+", tree.astext())) - words == set()


# ---------------------------------------------------------------- source code

PYTHON = '''"""Module."""

import os

X = 1


# About f.
@cache
def f(a: int) -> int:
    """Doc."""

    def inner() -> None: ...

    return a


class C(Base):
    def method(self) -> None:
        pass
'''


def test_source_code_has_its_definitions_as_headings() -> None:
    parsed = load(PYTHON, "pkg/mod.py")
    assert (parsed.type, parsed.title, parsed.metadata) == ("code", "mod.py", {"language": "python"})
    assert [(kind, text.split("\n")[0]) for kind, text in blocks_of(parsed)] == [
        ("code", '"""Module."""'), ("code", "import os"), ("code", "X = 1"), ("heading", "## def f"), ("code", "# About f."),
        ("heading", "## class C"), ("code", "class C(Base):"),
    ]  # fmt: skip
    kept = [line for line in parsed.text.split("\n") if line.strip() and not line.startswith("## ")]
    assert kept == [line for line in PYTHON.split("\n") if line.strip()]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.go", "// F does.\nfunc (s *S) F(a int) error {\n}\n\ntype T struct {\n}\n", ["func F", "type T struct"]),
        ("a.rs", "pub fn f<T>(a: T) {\n}\n\nimpl Foo for Bar {\n}\n", ["fn f<T>", "impl Foo for Bar"]),
        ("a.c", "static int foo(int a,\n  int b)\n{\n  if (a) {\n  }\n}\n\nint x;\n", ["foo"]),
        ("a.ts", "export async function f(a) {\n}\n\nconst g = async (x: T) => {\n}\n", ["function f", "const g"]),
        ("a.sh", "foo() {\n  x\n}\n", ["foo"]), ("a.sql", "CREATE TABLE IF NOT EXISTS t (\n  id int\n);\n", ["TABLE t"]),
        ("a.java", "/** Doc. */\n@Entity\npublic class A extends B {\n" + "  // x\n" * 90 + "  public int f(int a) {\n  }\n}\n", ["class A extends B", "A.f"]),
        ("a.yaml", "a: 1\n\nb: 2\n", []),
    ],
)  # fmt: skip
def test_definitions_of_other_languages(name: str, text: str, expected: list[str]) -> None:
    assert [words for _, words in headings(text, name)] == expected


# ---------------------------------------------------------------- any bytes

LOADERS = {
    "a.csv": "delimited", "a.tsv": "delimited", "a.json": "json_text", "a.jsonl": "json_text", "a.ipynb": "notebook", "a.xml": "xml",
    "a.rst": "rst", "a.py": "source_code", "a.ts": "source_code",
}  # fmt: skip
PIECES = st.sampled_from(
    [
        b",", b'"', b";", b"\n", b"\t", b"a", b" ", b"{", b"}", b"[", b"]", b":", b"1", b"null", b'"cells"', b"\\ud800", b"\\u0000", b"<a>", b"</a>",
        b"<b/>", b"&amp;", b"<!--", b"<![CDATA[", b"<rss><channel><item>", b"=", b"==\n", b"::\n\n ", b".. x:: y\n", b"* ", b"`", b"|", b"+-+\n",
        b"def f(", b"class A", b"\0", b"\xff\xfe", b"\xe4\xb8\xad", b"\xd6\xd0",
    ]
)  # fmt: skip


@pytest.mark.parametrize("name", LOADERS)
@given(data=st.one_of(st.binary(max_size=300), st.lists(PIECES, max_size=60).map(b"".join)))
@example(data=b"")
@example(data=b"\xff\xfe\x00\xd8")
@settings(deadline=None)
def test_any_bytes_give_text_or_a_known_code(name: str, data: bytes) -> None:
    module = importlib.import_module(f"rag.loaders.{LOADERS[name]}")
    try:
        parsed = module.load(data, name=name)
    except DocumentError as error:
        assert error.code in CODES
        return
    parsed.text.encode()
    at = 0
    for block in parsed.blocks:
        assert at <= block.start < block.end <= len(parsed.text) and not parsed.text[at : block.start].strip()
        at = block.end
    assert not parsed.text[at:].strip()


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("a.csv", '"'), ("a.csv", "a,b\n"), ("a.json", "["), ("a.json", '{"a":1}\n'), ("a.xml", "<!--"), ("a.xml", "<"), ("a.rst", "``"),
        ("a.rst", "a\n=\n"), ("a.rst", ".. a::\n\n "), ("a.rst", "`a "), ("a.rst", "== ==\n"), ("a.ts", "public static "), ("a.ts", "# x\n"),
    ],
)  # fmt: skip
def test_linear_time(name: str, unit: str) -> None:
    module = importlib.import_module(f"rag.loaders.{LOADERS[name]}")
    data = (unit * (1_000_000 // len(unit))).encode()

    def work() -> None:
        with contextlib.suppress(DocumentError):
            module.load(data, name=name)

    assert ends(work)
