"""What every Milvus must do for us: the embedded engine, the same engine as a server over TCP, and a real server.

The real server of an older version (2.3) has no full-text search; everything else must hold there, too.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag import filters
from rag.errors import StoreError
from rag.lite import LiteServer, available
from rag.store import MilvusStore, search_text
from tests import milvus_server

DIM = 8
KEY = "{:032x}".format


def rows(n: int, start: int = 0) -> list[dict[str, object]]:
    texts = [
        "Green tea is steeped at 80 degrees",
        "绿茶用八十度的水冲泡",
        "COVID-19 infections rose by 3.5%",
        "Running foxes and a quick dog",
    ]
    return [
        {"pk": KEY(i), "doc_id": f"d{i % 5}", "source": f"/docs/file {i}.md", "title": "T" if i % 2 else "", "type": "pdf" if i % 3 else "md",
         "page": i % 4 or None, "meta": {"year": 2020 + i, "lang": "en"} if i % 7 else {}, "text": texts[i % 4]}
        for i in range(start, start + n)
    ]  # fmt: skip


def vectors(n: int, start: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(7)
    made = random.standard_normal((start + n, DIM)).astype(np.float32)
    return list((made / np.linalg.norm(made, axis=1, keepdims=True))[start:])


@pytest.fixture(scope="module", params=["embedded", "tcp", "milvus-2.3.5"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusStore]:
    if not available():
        pytest.skip("the embedded Milvus is not installed here")
    folder = tmp_path_factory.mktemp("milvus")
    if request.param == "embedded":
        server = LiteServer(folder)
        opened = MilvusStore(server.uri)
        yield opened
        opened.close()
        server.close()
    elif request.param == "tcp":
        with milvus_server.tcp_server(folder) as uri:
            opened = MilvusStore(uri)
            yield opened
            opened.close()
    else:
        with milvus_server.running(folder) as uri:
            opened = MilvusStore(uri, timeout_s=30)
            yield opened
            opened.close()


@pytest.fixture(scope="module")
def index(store: MilvusStore) -> Iterator[str]:
    name = f"contract_{os.getpid()}"
    store.create(name, dim=DIM)
    store.upsert(name, rows(30), vectors(30))
    yield name
    store.drop(name)
    assert not store.exists(name)


def test_creating_again_keeps_the_rows(store: MilvusStore, index: str) -> None:
    store.create(index, dim=DIM)
    assert sorted(store.keys(index)) == [KEY(i) for i in range(30)]


def test_dense_search_is_exact(store: MilvusStore, index: str) -> None:
    made = np.stack(vectors(30))
    query = vectors(31)[-1]
    expected = [KEY(i) for i in np.argsort(-(made @ query), kind="stable")[:10]]
    found = store.dense(index, query, depth=10)
    assert [key for key, _ in found] == expected
    assert found[0][1] == pytest.approx(float((made @ query).max()), abs=1e-5)


def test_vectors_of_any_length_are_compared_by_their_angle(store: MilvusStore, index: str) -> None:
    longer = [7 * vector for vector in vectors(3)]
    store.upsert(index, rows(3), longer)
    (key, cosine), *_ = store.dense(index, 0.2 * longer[1], depth=1)
    assert key == KEY(1) and cosine == pytest.approx(1, abs=1e-5)
    assert store.dense(index, np.zeros(DIM), depth=1)[0][1] == 0, "no angle, and no error"


def test_a_row_is_there_once_however_it_was_written(store: MilvusStore) -> None:
    name = f"twice_{os.getpid()}"
    store.create(name, dim=DIM)
    first, second, third = vectors(3)
    (row,) = rows(1)
    store.upsert(name, [row, row], [first, second])  # twice in one call, the last counts
    store.upsert(name, rows(3), [third, first, second])  # one that is there among new ones
    assert sorted(store.keys(name)) == [KEY(0), KEY(1), KEY(2)]
    assert [key for key, _ in store.dense(name, third, depth=9)][0] == KEY(0)
    assert len(store.dense(name, third, depth=9)) == 3
    store.drop(name)


def test_an_index_made_when_it_measured_cosines_still_answers(store: MilvusStore) -> None:
    from pymilvus import MilvusClient

    name = f"older_{os.getpid()}"
    store.create(name, dim=DIM)
    client: MilvusClient = store._client
    indexes = MilvusClient.prepare_index_params()
    indexes.add_index("dense", index_type="FLAT", metric_type="COSINE")
    client.release_collection(name)
    client.drop_index(name, "dense")
    client.create_index(name, indexes)
    store._loaded.clear()
    store.upsert(name, rows(5), vectors(5))
    assert [key for key, _ in store.dense(name, vectors(5)[3], depth=1)] == [KEY(3)]
    store.drop(name)


def test_threads_that_search_at_once_get_each_its_own(store: MilvusStore, index: str) -> None:
    def nearest(at: int) -> str:
        return store.dense(index, vectors(30)[at % 30], depth=1)[0][0]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(nearest, range(120))) == [KEY(at % 30) for at in range(120)]


def test_depth_beyond_the_index_is_no_error(store: MilvusStore, index: str) -> None:
    assert len(store.dense(index, vectors(1)[0], depth=5000)) == 30


@pytest.mark.parametrize(
    ("query", "word"),
    [("steeping green teas", "Green"), ("绿茶", "绿茶"), ("covid", "COVID"), ("fox run", "foxes"), ("3.5", "3.5%")],
)
def test_bm25_stems_english_and_cuts_chinese(store: MilvusStore, index: str, query: str, word: str) -> None:
    if not store.has_bm25(index):
        with pytest.raises(StoreError, match="full-text"):
            store.bm25(index, query, depth=5)
        return
    found = store.bm25(index, query, depth=5)
    texts = {str(row["pk"]): str(row["text"]) for row in rows(30)}
    assert found and all(word in texts[key] for key, _ in found) and all(score > 0 for _, score in found)


def test_bm25_finds_nothing_for_words_that_are_not_there(store: MilvusStore, index: str) -> None:
    if store.has_bm25(index):
        for query in ("zeppelin", "…!?", "zeppelin airships over Berlin", "飞艇 齐柏林", "the of and"):
            assert store.bm25(index, query, depth=5) == [], query
        assert len(store.bm25(index, "zeppelin airships and COVID", depth=30)) == 7, "only rows that share a word"


def test_an_index_without_a_row_finds_nothing(store: MilvusStore, index: str) -> None:
    if not store.has_bm25(index):
        pytest.skip("no full-text search on this server")
    name = f"contract_empty_{os.getpid()}"
    store.create(name, dim=DIM)
    assert store.bm25(name, "tea", depth=10) == [] == store.dense(name, vectors(1)[0], depth=10)
    store.upsert(name, rows(3), vectors(3))
    assert len(store.bm25(name, "tea", depth=10)) == 1
    store.drop(name)


def test_bm25_statistics_follow_deletes(store: MilvusStore, index: str) -> None:
    if not store.has_bm25(index):
        pytest.skip("no full-text search on this server")
    before = store.bm25(index, "green tea", depth=30)
    extra = [{**row, "text": "green tea"} for row in rows(5, start=100)]
    store.upsert(index, extra, vectors(5, start=100))
    assert len(store.bm25(index, "green tea", depth=30)) == len(before) + 5
    store.delete(index, [str(row["pk"]) for row in extra])
    store.flush(index)
    after = store.bm25(index, "green tea", depth=30)
    assert dict(after) == pytest.approx(dict(before), abs=1e-4)


def test_upsert_replaces(store: MilvusStore, index: str) -> None:
    changed = [{**rows(1)[0], "title": "changed"}]
    for _ in range(3):
        store.upsert(index, changed, vectors(1))
    assert len(list(store.keys(index))) == 30
    expression = filters.to_milvus(filters.parse("title == 'changed'"))
    assert [key for key, _ in store.dense(index, vectors(1)[0], depth=30, expression=expression)] == [KEY(0)]
    store.upsert(index, rows(1), vectors(1))


FILTERS = ["type == 'pdf'", "year >= 2030", "not (type == 'pdf' or page > 2)", "source like '/docs/file 1%'", "lang in ['en', 'zh']",
           "doc_id in ['d1', 'd3'] and year < 2040", "page != 0", "year == 2021 or year == 2022", "doc_id in []", "page < 2", "not page > 2",
           "page == 0", "page in [0, 1]", "page not in [0, 1]", "page not in [2]"]  # fmt: skip


@pytest.mark.parametrize("text", FILTERS)
def test_filters_mean_what_they_mean_in_python(store: MilvusStore, index: str, text: str) -> None:
    expression = filters.parse(text)
    expected = {str(row["pk"]) for row in rows(30) if filters.matches(expression, row)}
    found = store.dense(index, vectors(1)[0], depth=100, expression=filters.to_milvus(expression))
    assert {key for key, _ in found} == expected


HOSTILE = [
    '"',
    "\\",
    '\\"',
    "' or 1 == 1 or '",
    '" or doc_id != "',
    "%",
    "_",
    "]",
    "日本",
    "🍵",
    "\\n",
    "a\\",
    '"]) or (pk != "',
    "{x}",
    "\u202e",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_find_no_foreign_row(store: MilvusStore, index: str, value: str) -> None:
    for expression in (
        filters.Compare("doc_id", "==", value),
        filters.Compare("lang", "==", value),
        filters.Compare(value, "==", "en"),
    ):
        assert store.dense(index, vectors(1)[0], depth=100, expression=filters.to_milvus(expression)) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.text(alphabet=st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), max_size=30))
def test_any_value_is_a_value(store: MilvusStore, index: str, value: str) -> None:
    expression = filters.to_milvus(filters.Compare("title", "==", value))
    found = store.dense(index, vectors(1)[0], depth=100, expression=expression)
    assert len(found) == {"T": 15, "": 15}.get(value, 0)


@pytest.mark.parametrize("key", ["x' or 1 == 1", 'zz"] or pk in ["0', "", "A" * 32, "0" * 31])
def test_only_our_keys_reach_the_client(store: MilvusStore, index: str, key: str) -> None:
    with pytest.raises(StoreError, match="row key"):
        store.delete(index, [key])
    with pytest.raises(StoreError, match="row key"):
        store.present(index, [key])


def test_search_text_spaces_punctuation_and_keeps_numbers() -> None:
    assert search_text("COVID-19, 3.5% of C++/C#. End_of").split() == [
        "COVID",
        "19",
        "3.5",
        "of",
        "C++",
        "C#",
        "End",
        "of",
    ]
    assert len(search_text("汉" * 40_000).encode()) <= 60_000


def test_an_unreachable_server_is_one_sentence() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(StoreError, match=f"Milvus at http://127.0.0.1:{port} cannot be reached"):
        MilvusStore(f"http://127.0.0.1:{port}", timeout_s=2)


def said(script: str, folder: Path, repo: Path, **environment: str) -> list[str]:
    """The words that a process of its own prints, which has the folder as its argument."""
    command = [sys.executable, "-W", "ignore", "-c", script, str(folder)]
    ended = subprocess.run(
        command, cwd=repo, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()


def test_a_milvus_uri_in_the_environment_does_not_matter(tmp_path: Path, repo: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from rag.lite import LiteServer; from rag.store import MilvusStore\n"
        "server = LiteServer(Path(sys.argv[1])); store = MilvusStore(server.uri); print(store.exists('x'), os.environ['MILVUS_URI'])"
    )
    assert said(script, tmp_path, repo, MILVUS_URI="./milvus.db") == ["False", "./milvus.db"]


def test_homes_that_are_opened_at_the_same_moment_do_not_trip_over_each_other(tmp_path: Path, repo: Path) -> None:
    """Both find MILVUS_URI taken away by the other, and pymilvus half loaded."""
    script = (
        "import sys; from concurrent.futures import ThreadPoolExecutor; from pathlib import Path; from threading import Barrier\n"
        "from rag.lite import LiteServer; from rag.store import MilvusStore\n"
        "folders = [Path(sys.argv[1], name) for name in 'abc']; [folder.mkdir() for folder in folders]\n"
        "servers, together = [LiteServer(folder) for folder in folders], Barrier(3)\n"
        "def opened(server): together.wait(); store = MilvusStore(server.uri); found = store.exists('x'); store.close(); return found\n"
        "with ThreadPoolExecutor(3) as threads: print(*threads.map(opened, servers))\n"
        "[server.close() for server in servers]"
    )
    assert said(script, tmp_path, repo) == ["False"] * 3


def test_a_write_and_a_search_leave_sparse_matrices_alone(tmp_path: Path, repo: Path) -> None:
    """pymilvus loads scipy.sparse past the import lock, and fails where a model's library imports it at that moment."""
    script = (
        "import sys; from pathlib import Path; from rag.lite import LiteServer; from rag.store import MilvusStore\n"
        "from tests.contract.test_store_contract import DIM, rows, vectors\n"
        "server = LiteServer(Path(sys.argv[1])); store = MilvusStore(server.uri); store.create('x', dim=DIM)\n"
        "store.upsert('x', rows(3), vectors(3)); store.flush('x')\n"
        "print(len(store.dense('x', vectors(1)[0], depth=3)), 'scipy.sparse' in sys.modules); store.close(); server.close()"
    )
    assert said(script, tmp_path, repo) == ["3", "False"]


def test_more_rows_never_change_the_first_among_equal_scores(store: MilvusStore) -> None:
    name = f"equal_{os.getpid()}"
    store.create(name, dim=DIM)
    try:
        store.upsert(name, rows(300), [vectors(4)[i % 4] for i in range(300)])
        searches = [lambda depth: store.dense(name, vectors(4)[0], depth=depth)]
        if store.has_bm25(name):
            searches.append(lambda depth: store.bm25(name, "green tea at 80 degrees", depth=depth))
        for search in searches:
            every = search(300)
            assert every == sorted(every, key=lambda one: (-one[1], one[0]))
            for depth in (1, 5, 10, 40, 100, 170):
                assert search(depth) == every[:depth]
    finally:
        store.drop(name)
