"""Snapshots: a collection with its texts, chunks and vectors as one file, for another home, machine or server.

The file is a ZIP of four members, written and read as streams:

    vectors.bin       key (32 bytes) and vector (float32, little endian), one after the other
    tokens.bin        key, length (4 bytes) and the signs of the token vectors, where they are kept; format 1 has none
    documents.jsonl   one document per line: its row, text, blocks and chunks
    manifest.json     format, counts, the embedding model with the probe's vector, size and sha256 of the others

Nothing is unpacked to disk and nothing of it is run. What is read is checked first and believed afterwards: hashes and
sizes before the first row, each value's type on the way, and the whole as `verify` does before anybody sees it.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import struct
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rag.catalog import NEXT, Catalog
from rag.catalog_rows import Collection
from rag.errors import UsageError
from rag.ingest import Progress
from rag.principals import EVERYONE
from rag.reindex import abandon, drop_old_indexes
from rag.rows import store_row
from rag.sealed import PIECE, Hashed, pieces, written
from rag.store import MilvusStore

FORMAT = 2
VECTORS, TOKENS, DOCUMENTS, MANIFEST = "vectors.bin", "tokens.bin", "documents.jsonl", "manifest.json"
MAX_RATIO = 200  # a member that unpacks to more than so many times its size is no honest text
MAX_MANIFEST = 1_000_000
MAX_LINE = 2_000_000_000  # one document
MAX_DIM = 32_768
BATCH = 2_000  # chunks written together
_KEY = 32
_LENGTH = struct.Struct("<I")
MAX_TOKENS = 16_000_000  # bytes of one chunk's signs
_MARK = NEXT + "import-"

_DOCUMENT = {
    "doc_id": str, "source": str, "title": str, "type": str, "state": str, "version": int, "content_hash": str,
    "recipe": str, "size": int, "mtime_ns": int, "n_chunks": int, "n_chars": int, "n_pages": (int, type(None)), "meta": str,
    "warnings": str, "code": str, "message": str, "updated_at": str, "container": str, "copy_of": str, "validators": str,
}  # fmt: skip
_CHUNK = {
    "pk": str, "ordinal": int, "start": int, "end": int, "page": (int, type(None)), "vector_key": str, "n_tokens": int,
    "level": int, "parent_start": (int, type(None)), "parent_end": (int, type(None)), "extra": str, "context": str, "text": str,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What was written or read. n_embedded is 0 and stands here so that nobody has to believe it unsaid."""

    path: str
    collection: str
    model: str
    n_documents: int
    n_chunks: int
    n_vectors: int
    n_bytes: int
    seconds: float
    n_embedded: int = 0


# ---------------------------------------------------------------- export


def export(
    catalog: Catalog, collection: Collection, path: Path, progress: Callable[[Progress], None] | None = None
) -> Snapshot:
    """Write the collection's live documents into a file; it is there whole or not at all.

    The caller holds the write lock, so that nothing changes meanwhile. Raises: UsageError when it cannot be written.
    """
    start = time.perf_counter()
    with written(path, "snapshot") as archive:
        members, n_vectors = {}, 0
        members[VECTORS], n_vectors = _write_vectors(archive, catalog, collection)
        members[TOKENS] = _write_tokens(archive, catalog, collection)
        members[DOCUMENTS], n_documents, n_chunks = _write_documents(archive, catalog, collection, progress)
        archive.writestr(
            MANIFEST, json.dumps(_manifest(collection, members, n_documents, n_chunks, n_vectors), indent=2)
        )
    return Snapshot(path=str(path), collection=collection.name, model=collection.model, n_documents=n_documents,
                    n_chunks=n_chunks, n_vectors=n_vectors, n_bytes=path.stat().st_size,
                    seconds=round(time.perf_counter() - start, 3))  # fmt: skip


def _new_keys(catalog: Catalog, collection: Collection) -> Iterator[list[str]]:
    """The keys of the collection's vectors in groups, each once."""
    seen: set[bytes] = set()
    for keys in _groups(catalog.vector_keys(collection.name)):
        new = [key for key in dict.fromkeys(keys) if bytes.fromhex(key) not in seen]
        yield new
        seen.update(map(bytes.fromhex, new))


def _write_vectors(archive: zipfile.ZipFile, catalog: Catalog, collection: Collection) -> tuple[dict[str, Any], int]:
    n_vectors = 0
    member = zipfile.ZipInfo(VECTORS)  # stored: floats do not get smaller
    with archive.open(member, "w", force_zip64=True) as stream:
        out = Hashed(stream)
        for keys in _new_keys(catalog, collection):
            found = catalog.vectors(keys)
            for key in keys:
                if key not in found:
                    raise UsageError(
                        "A vector is missing in the catalog. Run `ragstone verify --repair`, then export again."
                    )
                out.write(bytes.fromhex(key) + found[key].astype("<f4").tobytes())
            n_vectors += len(keys)
    return out.summary(), n_vectors


def _write_tokens(archive: zipfile.ZipFile, catalog: Catalog, collection: Collection) -> dict[str, Any]:
    with archive.open(zipfile.ZipInfo(TOKENS), "w", force_zip64=True) as stream:  # stored, as the vectors are
        out = Hashed(stream)
        for keys in _new_keys(catalog, collection):
            for key, signs in catalog.tokens(keys).items():
                out.write(bytes.fromhex(key) + _LENGTH.pack(len(signs)) + signs)
    return out.summary()


def _write_documents(
    archive: zipfile.ZipFile, catalog: Catalog, collection: Collection, progress: Callable[[Progress], None] | None
) -> tuple[dict[str, Any], int, int]:
    n_documents = n_chunks = 0
    total = catalog.counts(collection.name)[0]
    with archive.open(DOCUMENTS, "w", force_zip64=True) as stream:
        out = Hashed(stream)
        for record in catalog.records(collection.name):
            blocks = record["blocks"]
            record["blocks"] = None if blocks is None else base64.b64encode(blocks).decode("ascii")
            record["document"].pop("pending")
            for chunk in record["chunks"]:
                del chunk["doc_id"], chunk["version"]
            out.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n")
            n_documents += bool(record["document"]["version"])
            n_chunks += len(record["chunks"])
            if progress and n_documents % 100 == 0:
                progress(Progress(n_done=n_documents, n_total=total, n_chunks=n_chunks))
    return out.summary(), n_documents, n_chunks


def _manifest(
    collection: Collection, members: Mapping[str, Any], n_documents: int, n_chunks: int, n_vectors: int
) -> dict[str, Any]:
    probe = (
        None if collection.probe is None else base64.b64encode(collection.probe.astype("<f4").tobytes()).decode("ascii")
    )
    return {
        "ragstone_snapshot": FORMAT, "collection": collection.name, "model": collection.model,
        "fingerprint": collection.fingerprint, "dim": collection.dim, "probe": probe, "documents": n_documents,
        "chunks": n_chunks, "vectors": n_vectors, "members": dict(members),
    }  # fmt: skip


def _groups(keys: Iterator[str], size: int = 1000) -> Iterator[list[str]]:
    group: list[str] = []
    for key in keys:
        group.append(key)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


# ---------------------------------------------------------------- import


def import_(
    path: Path, *, catalog: Catalog, store: Callable[[], MilvusStore], index: Callable[[int], str], name: str,
    replace_existing: bool, progress: Callable[[Progress], None] | None = None,
) -> Snapshot:  # fmt: skip
    """Read a snapshot into collection `name`; searches see it when it is whole. No model is opened.

    The caller holds the write lock. Rows that a killed import left are removed first.
    Raises: UsageError for a file that is damaged, newer or no snapshot, and for a collection that holds something
        already, unless `replace_existing`; StoreError.
    """
    start = time.perf_counter()
    with _opened(path) as archive:
        manifest = _checked(archive, path)
        live = catalog.collection(name)
        if live is not None and catalog.documents(name) and not replace_existing:
            raise UsageError(
                f"Collection {name} is not empty. Import into another --collection, or replace it with --replace."
            )
        milvus = store()
        abandon(catalog, milvus, index, name)
        successor = _collection(manifest, f"{name}{_MARK}{secrets.token_hex(4)}", catalog.new_generation())
        target = index(successor.generation)
        catalog.add_collection(successor)
        milvus.create(target, dim=successor.dim)
        try:
            _read_vectors(archive, catalog, successor.dim, path)
            if TOKENS in archive.namelist():
                _read_tokens(archive, catalog, path)
            _read_documents(archive, catalog, milvus, successor, target, manifest, path, progress)
            if catalog.problems(successor.name) or catalog.counts(successor.name) != (
                manifest["documents"],
                manifest["chunks"],
            ):
                raise _damaged(path, "its parts do not fit together")
        except (UsageError, KeyboardInterrupt):
            abandon(catalog, milvus, index, name)
            raise
    catalog.switch(successor.name, name, keep_failed=False)
    drop_old_indexes(milvus, index, keep={successor.generation})
    catalog.drop_unused_vectors()
    return Snapshot(path=str(path), collection=name, model=successor.model, n_documents=manifest["documents"],
                    n_chunks=manifest["chunks"], n_vectors=manifest["vectors"], n_bytes=path.stat().st_size,
                    seconds=round(time.perf_counter() - start, 3))  # fmt: skip


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:  # what a changed byte leads to
        raise UsageError(f"{path} is no snapshot, or is cut off. Export it again.") from error
    except OSError as error:
        raise UsageError(f"The snapshot {path} cannot be read ({error.strerror or error}). Check its name.") from error


def _checked(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    """The manifest, once every byte of the file is shown to be what it says. Raises: UsageError."""
    members = {info.filename: info for info in archive.infolist()}
    if MANIFEST not in members or len(members) != len(archive.infolist()):
        raise UsageError(
            f"{path} is no snapshot: it has no {MANIFEST}. Name a file that `ragstone snapshot export` wrote."
        )
    if extra := sorted(members.keys() - {VECTORS, TOKENS, DOCUMENTS, MANIFEST}):
        raise _damaged(path, f"it holds {extra[0][:80]!r}, which no snapshot does")
    for info in members.values():
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _damaged(path, "it is encrypted or packed in an unknown way")
        if info.file_size > MAX_RATIO * info.compress_size + PIECE:
            raise _damaged(path, f"{info.filename} unpacks to more than {MAX_RATIO} times its size")
    if members[MANIFEST].file_size > MAX_MANIFEST:
        raise _damaged(path, "its manifest is too long")
    try:
        manifest = json.loads(archive.read(MANIFEST))
        if int(manifest["ragstone_snapshot"]) > FORMAT:
            raise UsageError(
                f"{path} was written by a newer ragstone (format {manifest['ragstone_snapshot']}; this one reads {FORMAT}). Update ragstone."
            )
        _check_manifest(manifest)
        for name in (VECTORS, DOCUMENTS, *((TOKENS,) if TOKENS in members else ())):
            _check_member(archive, name, manifest["members"][name])
    except (
        KeyError,
        TypeError,
        ValueError,
        RecursionError,
        zipfile.BadZipFile,
        OSError,
        EOFError,
        NotImplementedError,
    ) as error:
        raise _damaged(path, _words(error)) from error
    except Exception as error:
        if type(error).__module__ == "zlib":
            raise _damaged(path, _words(error)) from error
        raise
    return dict(manifest)


def _check_manifest(manifest: Mapping[str, Any]) -> None:
    kinds = {
        "collection": str,
        "model": str,
        "fingerprint": str,
        "dim": int,
        "documents": int,
        "chunks": int,
        "vectors": int,
    }
    for key, kind in kinds.items():
        _typed(manifest, key, kind)
    if not 1 <= manifest["dim"] <= MAX_DIM or manifest["members"][VECTORS]["size"] != manifest["vectors"] * (
        _KEY + 4 * manifest["dim"]
    ):
        raise ValueError("the size of its vectors is not what the manifest says")
    probe = manifest["probe"]
    if probe is not None and len(base64.b64decode(probe, validate=True)) != 4 * manifest["dim"]:
        raise ValueError("the probe has another size")


def _check_member(archive: zipfile.ZipFile, name: str, wanted: Mapping[str, Any]) -> None:
    for _ in pieces(archive, name, wanted):
        pass


def _collection(manifest: Mapping[str, Any], name: str, generation: int) -> Collection:
    probe = None if manifest["probe"] is None else np.frombuffer(base64.b64decode(manifest["probe"]), "<f4")
    return Collection(name=name, generation=generation, fingerprint=manifest["fingerprint"], model=manifest["model"],
                      dim=manifest["dim"], probe=probe)  # fmt: skip


def _read_vectors(archive: zipfile.ZipFile, catalog: Catalog, dim: int, path: Path) -> None:
    width = _KEY + 4 * dim
    with archive.open(VECTORS) as stream:
        while piece := stream.read(width * 1000):
            records = [piece[at : at + width] for at in range(0, len(piece), width)]
            vectors = {record[:_KEY].hex(): np.frombuffer(record[_KEY:], "<f4") for record in records}
            if not all(np.isfinite(vector).all() for vector in vectors.values()):
                raise _damaged(path, "a vector holds a number that is none")
            catalog.put_vectors(vectors)


def _read_tokens(archive: zipfile.ZipFile, catalog: Catalog, path: Path) -> None:
    batch: dict[str, bytes] = {}
    with archive.open(TOKENS) as stream:
        while head := stream.read(_KEY + _LENGTH.size):
            size = _LENGTH.unpack(head[_KEY:])[0] if len(head) == _KEY + _LENGTH.size else MAX_TOKENS + 1
            signs = stream.read(size) if size <= MAX_TOKENS else b""
            if len(signs) != size:
                raise _damaged(path, "its token vectors are cut off")
            batch[head[:_KEY].hex()] = signs
            if len(batch) == 1000:
                catalog.put_tokens(batch)
                batch = {}
    if batch:
        catalog.put_tokens(batch)


def _read_documents(
    archive: zipfile.ZipFile, catalog: Catalog, store: MilvusStore, into: Collection, index: str,
    manifest: Mapping[str, Any], path: Path, progress: Callable[[Progress], None] | None,
) -> None:  # fmt: skip
    n_done = n_chunks = 0
    batch: list[dict[str, Any]] = []

    def write() -> None:
        _write(batch, catalog, store, into, index)
        batch.clear()
        if progress:
            progress(Progress(n_done=n_done, n_total=manifest["documents"], n_chunks=n_chunks))

    seen: set[str] = set()
    waiting = 0
    with archive.open(DOCUMENTS) as stream:
        while line := stream.readline(MAX_LINE):
            try:
                record = _record(json.loads(line))
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise _damaged(path, f"document {n_done + 1} is not one ({_words(error)})") from error
            if record["document"]["doc_id"] in seen:
                raise _damaged(path, "a document is there twice")
            seen.add(record["document"]["doc_id"])
            batch.append(record)
            n_done += 1
            n_chunks += len(record["chunks"])
            waiting += len(record["chunks"]) + 1
            if waiting >= BATCH:
                write()
                waiting = 0
    write()


def _write(batch: list[dict[str, Any]], catalog: Catalog, store: MilvusStore, into: Collection, index: str) -> None:
    """The rows into the catalog, then, with their vectors from there, into the index."""
    pks = catalog.put_records(into.name, batch)
    for start in range(0, len(pks), BATCH):
        stored = list(catalog.live_chunks(into.name, pks[start : start + BATCH]).values())
        vectors = catalog.vectors([one.vector_key for one in stored])
        there = [one for one in stored if one.vector_key in vectors]  # the rest is found out at the end
        rows = [store_row(one.pk, one.chunk, source=one.source, title=one.title, type=one.type, metadata=one.metadata, acl=one.acl) for one in there]  # fmt: skip
        store.upsert(index, rows, [vectors[one.vector_key] for one in there])


def _record(line: Any) -> dict[str, Any]:
    """A document as the catalog takes it, nothing else in it. Raises: KeyError, TypeError, ValueError."""
    document = {key: _typed(line["document"], key, kind) for key, kind in _DOCUMENT.items()}
    document["acl"] = line["document"].get("acl", f"|{EVERYONE}|")  # a snapshot of an earlier version has none
    if not isinstance(document["acl"], str) or not re.fullmatch(r"\|([^|]{1,100}\|)*", document["acl"]):
        raise ValueError("its access list is none")
    text = _typed(line, "text", (str, type(None)))
    live = document["version"] > 0
    document["edits"] = line["document"].get("edits", "{}")
    if (
        document["state"] not in ("live", "disabled", "failed", "duplicate")
        or live != isinstance(text, str)
        or not document["doc_id"]
    ):
        raise ValueError("its state and its text do not fit")
    shapes = {"meta": dict, "validators": dict, "warnings": list, "edits": dict}
    if not all(isinstance(json.loads(document[key]), shape) for key, shape in shapes.items()):
        raise ValueError("its metadata is none")
    blocks = None if line["blocks"] is None else base64.b64decode(line["blocks"], validate=True)
    chunks = [{key: _typed(chunk, key, kind) for key, kind in _CHUNK.items()} for chunk in line["chunks"]]
    for chunk in chunks:
        if (
            not live
            or not re.fullmatch(r"[0-9a-f]{32}", chunk["pk"])
            or not 0 <= chunk["start"] <= chunk["end"] <= len(text)
        ):
            raise ValueError("a chunk lies outside its text")
    if len({chunk["ordinal"] for chunk in chunks}) != len(chunks):
        raise ValueError("a chunk is there twice")
    return {"document": document, "text": text if live else None, "blocks": blocks, "chunks": chunks}


def _typed(values: Mapping[str, Any], key: str, kind: Any) -> Any:
    value = values[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{key} has the wrong type")
    bits = 63 if key in ("size", "mtime_ns") else 31
    if isinstance(value, int) and not -(2**bits) <= value < 2**bits:
        raise ValueError(f"{key} is too large")
    if isinstance(value, str):
        value.encode("utf-8")  # a lone surrogate could not be stored
    return value


def _damaged(path: Path, reason: str) -> UsageError:
    return UsageError(f"The snapshot {path} is damaged: {reason}. Export it again.")


def _words(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    return (str(error).splitlines() or [type(error).__name__])[0][:150].rstrip(".") or type(error).__name__
