"""Token vectors from the import to the search: kept, used, carried by snapshots, and filled in where they are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag import Document, KnowledgeBase, Settings
from rag.embedding import LocalEmbedder, open_embedder
from rag.late_interaction import with_tokens
from tests.tiny_model import build

TEXTS = [
    "Green tea is brewed at 75 degrees in the garden.",
    "Black tea takes boiling water.",
    "这条河发源于北部山区。",
    "The river rises in the northern hills and joins the sea near a village.",
]


@pytest.fixture(scope="module")
def embedder(tiny_settings: Settings) -> LocalEmbedder:
    return open_embedder(tiny_settings.embedding, tiny_settings.models)


def documents(n: int = 12) -> list[Document]:
    return [Document(f"Garden {n} steeps leaves of tea for {n} minutes.", doc_id=f"d{n}") for n in range(n)]


def reranked_by_tokens(kb: KnowledgeBase, **options: Any) -> bool:
    (step,) = [one for one in kb.search("tea garden 3", **options).trace if one.name == "rerank"]
    return bool(step.detail["by_tokens"])


def n_without(kb: KnowledgeBase) -> int:
    return sum(len(batch) for batch in kb.catalog.without_tokens(kb.collection))


def test_tokens_change_no_vector(embedder: LocalEmbedder) -> None:
    vectors, packed = embedder.embed_with_tokens(TEXTS)
    np.testing.assert_allclose(vectors, embedder.embed_passages(TEXTS), atol=1e-5)
    np.testing.assert_allclose(embedder.embed_queries(TEXTS[:1]), embedder.embed_queries(TEXTS[:2])[:1], atol=1e-5)
    width = embedder.query_tokens("tea").shape[1] // 8
    assert all(packed) and all(len(one) % width == 0 for one in packed)
    assert len(packed[3]) > len(packed[1]), "a longer passage has more tokens"


def test_a_texts_signs_do_not_depend_on_its_neighbours(embedder: LocalEmbedder) -> None:
    together = embedder.embed_with_tokens(TEXTS)[1]
    alone = [embedder.embed_with_tokens([text])[1][0] for text in TEXTS]
    bits = [np.unpackbits(np.frombuffer(one, np.uint8)) for one in (b"".join(together), b"".join(alone))]
    assert (bits[0] == bits[1]).mean() > 0.999


def test_the_prefix_is_not_part_of_the_text(tiny_settings: Settings) -> None:
    changed = tiny_settings.with_values(embedding__passage_prefix="tea garden: ", embedding__query_prefix="river: ")
    plain = open_embedder(tiny_settings.embedding, tiny_settings.models)
    prefixed = open_embedder(changed.embedding, changed.models)
    for text in TEXTS:
        assert len(prefixed.embed_with_tokens([text])[1][0]) == len(plain.embed_with_tokens([text])[1][0])
        assert prefixed.query_tokens(text).shape == plain.query_tokens(text).shape


@pytest.mark.parametrize("damage", [b"", b"no array", None])
def test_a_damaged_mean_is_computed_anew(tiny_settings: Settings, tmp_path: Path, damage: bytes | None) -> None:
    model = build(tmp_path / "model", dim=24, max_tokens=64)  # one that no other test has exported
    settings = tiny_settings.with_values(embedding__model=str(model), models__dir=str(tmp_path / "models"))
    before = open_embedder(settings.embedding, settings.models).embed_with_tokens(TEXTS)[1]
    (file,) = (tmp_path / "models").rglob("token-mean.npy")
    whole = file.read_bytes()
    file.write_bytes(whole[:-200] if damage is None else damage)
    assert open_embedder(settings.embedding, settings.models).embed_with_tokens(TEXTS)[1] == before
    assert file.read_bytes() == whole


def test_torch_and_a_setting_go_without(tiny_settings: Settings) -> None:
    for changed in ({"embedding__backend": "torch-fp32"}, {"embedding__tokens": False}):
        settings = tiny_settings.with_values(**changed)
        assert with_tokens(open_embedder(settings.embedding, settings.models)) is None


def test_a_search_uses_what_the_import_kept(tiny_kb: KnowledgeBase) -> None:
    tiny_kb.ingest(documents())
    assert n_without(tiny_kb) == 0 and reranked_by_tokens(tiny_kb)
    tiny_kb.delete("d3")
    tiny_kb.ingest([Document("Tea garden 3 is another one now.", doc_id="d3")])
    assert n_without(tiny_kb) == 0 and tiny_kb.search("another tea garden")[0].doc_id == "d3"


def test_asked_again_the_model_is_not_needed(tiny_kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_kb.ingest(documents())
    first = [(hit.chunk_id, hit.score) for hit in tiny_kb.search("tea garden 3")]
    monkeypatch.setattr(tiny_kb.embedder, "_run", None)
    tiny_kb.embedder._asked.clear()  # type: ignore[attr-defined]
    assert [(hit.chunk_id, hit.score) for hit in tiny_kb.search("tea garden 3")] == first


def test_an_import_without_tokens_is_searched_without_and_filled_by_reindex(
    tmp_path: Path, tiny_settings: Settings
) -> None:
    home = tmp_path / "home"
    with KnowledgeBase.open(home, settings=tiny_settings.with_values(embedding__tokens=False)) as kb:
        kb.ingest(documents())
        assert n_without(kb) == 12 and not reranked_by_tokens(kb)
    with KnowledgeBase.open(home, settings=tiny_settings) as kb:
        kb.ingest([*documents(), Document("A tea garden 3 that is new.", doc_id="new")])
        assert n_without(kb) == 12 and not reranked_by_tokens(kb), "some passages have none, so none counts"
        told = kb.reindex()
        assert (told.changed, told.n_embedded, n_without(kb)) == (False, 12, 0) and reranked_by_tokens(kb)
        assert kb.reindex().n_embedded == 0 and kb.verify().ok


def test_a_snapshot_carries_them(tiny_kb: KnowledgeBase, tiny_settings: Settings, tmp_path: Path) -> None:
    tiny_kb.ingest(documents())
    tiny_kb.export_snapshot(tmp_path / "kb.ragstone")
    before = [(hit.chunk_id, hit.score) for hit in tiny_kb.search("tea garden 3", top_k=12)]
    with KnowledgeBase.open(tmp_path / "second", settings=tiny_settings) as kb:
        kb.import_snapshot(tmp_path / "kb.ragstone")
        assert n_without(kb) == 0 and reranked_by_tokens(kb)
        assert [(hit.chunk_id, hit.score) for hit in kb.search("tea garden 3", top_k=12)] == before
