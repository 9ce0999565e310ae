"""The embedding model: texts to unit vectors on the CPU. Home of sentence-transformers, OpenVINO and tokenizers.

sentence-transformers loads any model and is the reference. Where its stack is a plain one, the model is exported once
to OpenVINO, beside the other models on disk; later starts need only OpenVINO and tokenizers and import no torch.
Which back end computes is measured once per machine and remembered.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import os
import queue
import tempfile
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rag.crossing import PAIRS
from rag.errors import ModelError
from rag.late_interaction import Matrix, Meaningful, centred, signs
from rag.models import building, hint, models_dir, resolve
from rag.settings import EmbeddingSettings, ModelsSettings

Vectors = NDArray[np.float32]
Notify = Callable[[str], None]

MIN_COSINE = 0.999  # of a back end's vectors to the float32 ones, else it is not chosen
TOKENS_PER_CALL = 1024  # padding included; larger batches are no faster and let a query wait behind them

_EXPORT_VERSION = 2  # of what lies in an export's folder; raised, models are exported again
_BLOCK = 4096  # texts tokenized and sorted together
_QUESTIONS = 64  # whose tokens are remembered from the call that made their vectors
_PIECE = 8192  # characters of a long text tokenized together
_log = logging.getLogger(__name__)


def open_embedder(
    settings: EmbeddingSettings, models: ModelsSettings, *, notify: Notify | None = None
) -> LocalEmbedder:
    """The embedding model that the settings name, ready to use.

    The first start with a model exports it and measures the back ends (some 20 s); the outcome is kept in the models
    folder. notify: told in one sentence each what takes long and what was chosen.

    Raises: ModelError when the model's files are absent, cannot be fetched or do not load.
    """
    say = notify or _log.info
    root = models_dir(models.dir)
    folder = _model_folder(settings.model, root)
    files_hash = _hash_files(folder)
    threads = settings.threads or _cores()
    prepared = _prepare(settings.model, folder, files_hash, root, say)
    backend = _open_backend(settings.backend, prepared, threads, say)
    card = prepared.card
    return LocalEmbedder(
        name=settings.model,
        backend=backend,
        tokens=prepared.tokens,
        card=card,
        files_hash=files_hash,
        batch_size=settings.batch_size,
        query_prefix=card.query_prefix if settings.query_prefix is None else settings.query_prefix,
        passage_prefix=card.passage_prefix if settings.passage_prefix is None else settings.passage_prefix,
        keep_tokens=settings.tokens,
        export=prepared.export,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a model says about itself. plain: its modules can be exported as one graph of ids and mask."""

    dim: int
    max_tokens: int
    pad_id: int
    query_prefix: str
    passage_prefix: str
    plain: bool


@dataclass(frozen=True, slots=True)
class _Batch:
    """Texts for one model call. ids are those of prefix + text; a back end uses one or the other. at: their places."""

    texts: Sequence[str]
    ids: Sequence[Sequence[int]]
    prefix: str
    at: Sequence[int] = ()


_TokensToo = Callable[[_Batch], tuple[Vectors, Matrix]]


class _Backend(Protocol):
    """Computes one vector per text, float32, not yet normalised. `run` may be called from several threads."""

    name: str
    parallel: int  # calls of `run` worth making at once
    # The vectors, and those of the tokens, of shape (texts, most tokens, width of the model); None: it does not tell them.
    run_tokens: _TokensToo | None

    def run(self, batch: _Batch) -> Vectors: ...


class LocalEmbedder:
    """An embedding model in this process; see `rag.types.Embedder`.

    backend: the name of the back end that computes. n_truncated: queries cut to the model's limit so far.
    keeps_tokens: whether it tells token vectors, too; see `rag.late_interaction.TokenEmbedder`.
    Vectors are float32 of unit length. Threads may share it; they compute at once where the back end can.
    """

    def __init__(
        self,
        *,
        name: str,
        backend: _Backend,
        tokens: _Tokens,
        card: Card,
        files_hash: str,
        batch_size: int,
        query_prefix: str,
        passage_prefix: str,
        keep_tokens: bool,
        export: Path,
    ) -> None:
        self.name = name
        self.backend = backend.name
        self.dim = card.dim
        self.max_tokens = card.max_tokens
        self.query_prefix = query_prefix
        self.passage_prefix = passage_prefix
        self.n_truncated = 0
        identity = [files_hash, card.dim, card.max_tokens, query_prefix, passage_prefix]
        self.fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
        self._run = backend
        self._tokens = tokens
        self._batch_size = batch_size
        self._overhead = tokens.n_special + (len(tokens.plain(passage_prefix)) if passage_prefix else 0)
        self.keeps_tokens = keep_tokens and backend.run_tokens is not None
        self._export = export
        self._mean: Matrix | None = None
        self._lock = threading.Lock()
        self._asked: OrderedDict[str, Matrix] = OrderedDict()

    @property
    def runs_in(self) -> str:
        """The back end with the versions of what it computes with: another one may give the same model other vectors."""
        return " ".join([self.backend, *map(_version, ("openvino", "torch", "transformers"))])

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts to be found, float32 of shape (n, dim).

        Raises: ModelError for a text over `max_tokens`: nothing is ever left out of a vector silently.
        """
        return self._embed(texts, self.passage_prefix, self._check_length)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors to search with, float32 of shape (n, dim). A query over `max_tokens` is cut, logged and counted."""
        if self.keeps_tokens and len(texts) == 1 and not isinstance(texts, str):
            return self._embed_question(texts[0])[0]  # one question is a search, which asks for its tokens next
        return self._embed(texts, self.query_prefix, self._cut)

    def embed_with_tokens(self, texts: Sequence[str]) -> tuple[Vectors, list[bytes]]:
        """As embed_passages, and the signs of each text's tokens. Raises: ModelError."""
        mean, (before, _) = self._token_mean(), self._tokens.frame(self.passage_prefix)
        packed = [b""] * len(texts)

        def run(batch: _Batch) -> Vectors:
            vectors, tokens = self._with_tokens(batch)
            for at, ids, row in zip(batch.at, batch.ids, tokens, strict=True):
                packed[at] = signs(row[self._tokens.meaningful.among(ids, skip=before)], mean)
            return vectors

        return self._embed(texts, self.passage_prefix, self._check_length, run), packed

    def query_tokens(self, text: str) -> Matrix:
        """Unit vectors of a question's tokens, float32 of shape (n, dim), less the mean of all tokens. Raises: ModelError."""
        with self._lock:
            known = self._asked.get(text)
        return self._embed_question(text)[1] if known is None else known

    def _embed_question(self, text: str) -> tuple[Vectors, Matrix]:
        """A question's vector, of shape (1, dim), and its tokens, which the same call tells and which are remembered."""
        mean, (before, behind) = self._token_mean(), self._tokens.frame(self.query_prefix)
        found: list[Matrix] = []

        def run(batch: _Batch) -> Vectors:
            vectors, tokens = self._with_tokens(batch)
            found.append(centred(tokens[0][before : len(batch.ids[0]) - behind], mean))
            return vectors

        vector = self._embed([text], self.query_prefix, self._cut, run)
        with self._lock:
            self._asked[text] = found[0]
            while len(self._asked) > _QUESTIONS:
                self._asked.popitem(last=False)
        return vector, found[0]

    def _with_tokens(self, batch: _Batch) -> tuple[Vectors, Matrix]:
        assert self._run.run_tokens is not None  # keeps_tokens says so
        return self._run.run_tokens(batch)

    def _token_mean(self) -> Matrix:
        """The mean of token vectors of sentences of our own, of shape (dim,); computed once for a model and kept beside it."""
        with self._lock:
            if self._mean is None:
                file = self._export / "token-mean.npy"
                try:
                    self._mean = _read_array(file)
                except (OSError, ValueError, EOFError):
                    self._mean = self._measured_mean()
                    _keep_array(file, self._mean)
            return self._mean

    def _measured_mean(self) -> Matrix:
        texts = [*_sample(24, longest=min(120, self.max_tokens)), *(one for pair in PAIRS for one in pair)]
        before, behind = self._tokens.frame(self.passage_prefix)
        rows = []
        for ids in self._tokens.ids([self.passage_prefix + text for text in texts]):
            ids = ids[: self.max_tokens]
            tokens = self._with_tokens(_Batch([""], [ids], ""))[1][0]
            rows.append(tokens[before : len(ids) - behind])
        mean: Matrix = np.concatenate(rows).mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean

    def token_offsets(self, text: str) -> NDArray[np.int64]:
        """Character spans of the text's tokens, without special tokens: shape (n, 2), in order.

        Linear in the length of the text. Leading white space is not part of a span, and some characters belong to no
        token; a character that stands for several tokens gives each of them its span.
        """
        return self._tokens.offsets(_encodable(text))

    def passage_overhead(self) -> int:
        """Most tokens that the model adds to a passage: special tokens and the passage prefix."""
        return self._overhead

    def warmup(self) -> None:
        """Make the first real query as fast as the later ones."""
        self.embed_queries(["warm up"])

    def _embed(
        self,
        texts: Sequence[str],
        prefix: str,
        limit: Callable[[str, Sequence[int]], Sequence[int]],
        run: Callable[[_Batch], Vectors] | None = None,
    ) -> Vectors:
        if isinstance(texts, str):
            raise TypeError("a sequence of texts was wanted, one str came")
        out = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), _BLOCK):
            block = [_encodable(text) for text in texts[start : start + _BLOCK]]
            full = [prefix + text for text in block]
            ids = [limit(text, found) for text, found in zip(full, self._tokens.ids(full), strict=True)]
            batches = _batches([len(found) for found in ids], self._batch_size, self._run.parallel)
            jobs = [
                _Batch([block[i] for i in batch], [ids[i] for i in batch], prefix, [start + i for i in batch])
                for batch in batches
            ]
            for batch, vectors in zip(batches, _run_all(run or self._run.run, jobs, self._run.parallel), strict=True):
                out[np.asarray(batch) + start] = _unit(vectors, len(batch), self.dim, self._run.name)
        return out

    def _check_length(self, text: str, ids: Sequence[int]) -> Sequence[int]:
        if len(ids) > self.max_tokens:
            raise ModelError(
                f"A passage of {len(ids)} tokens is over the limit of {self.max_tokens} of {self.name}: "
                f"{text[:60]!r}… Cut it smaller (chunk.size)."
            )
        return ids

    def _cut(self, text: str, ids: Sequence[int]) -> Sequence[int]:
        if len(ids) <= self.max_tokens:
            return ids
        self.n_truncated += 1
        _log.warning("A query of %d tokens was cut to %d, the limit of %s.", len(ids), self.max_tokens, self.name)
        return self._tokens.cut(text, self.max_tokens)


def _batches(lengths: Sequence[int], batch_size: int, parallel: int) -> list[list[int]]:
    """Indexes in batches of similar length, longest first: little padding, and the slow calls do not come last.

    Few texts are spread over all the calls that can run at once.
    """
    budget = min(TOKENS_PER_CALL, max(256, sum(lengths) // parallel))
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        last = batches[-1] if batches else []
        if not last or len(last) == batch_size or (len(last) + 1) * lengths[last[0]] > budget:
            batches.append([i])
        else:
            last.append(i)
    return batches


def _run_all(run: Callable[[_Batch], Vectors], jobs: Sequence[_Batch], parallel: int) -> list[Vectors]:
    n = min(parallel, len(jobs))
    if n <= 1:
        return [run(job) for job in jobs]
    with ThreadPoolExecutor(n, thread_name_prefix="embed") as pool:
        return list(pool.map(run, jobs))


def _unit(vectors: Vectors, n: int, dim: int, backend: str) -> Vectors:
    """Rows scaled to length 1. Raises: ModelError for anything that is no usable vector."""
    if vectors.shape != (n, dim):
        raise ModelError(f"The embedding back end {backend} gave shape {vectors.shape} for {n} texts of {dim}.")
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and norms.min() > 1e-9):
        raise ModelError(
            f"The embedding back end {backend} gave a vector that is zero or not a number. "
            "Choose another with embedding.backend, for example openvino-fp32 or torch-fp32."
        )
    unit: Vectors = (vectors / norms).astype(np.float32)
    return unit


def _encodable(text: str) -> str:
    """The text with lone surrogates replaced one for one: tokenizers takes only what UTF-8 can say."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


# ---------------------------------------------------------------- tokens


class _Tokens:
    """A fast tokenizer without padding and truncation, so that threads may share it."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        # Set before its thread pool starts: unset, a later fork prints warnings into the user's terminal.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.n_special = self._tokenizer.num_special_tokens_to_add(False)
        ends = self._tokenizer.encode("a").special_tokens_mask
        self._n_first = ends.index(0) if 0 in ends else 0  # special tokens before a text; the others stand behind it

    @cached_property
    def meaningful(self) -> Meaningful:
        special = [found for found, one in self._tokenizer.get_added_tokens_decoder().items() if one.special]
        return Meaningful.of(self._tokenizer.get_vocab(True), special)

    def frame(self, prefix: str) -> tuple[int, int]:
        """How many tokens stand before a text, of which the last are its prefix's, and how many behind it."""
        # The prefix's own last blank becomes part of the text's first token.
        return self._n_first + len(self.plain(prefix.rstrip())), self.n_special - self._n_first

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids with special tokens."""
        if len(texts) == 1:
            return [self._tokenizer.encode(texts[0]).ids]
        return [found.ids for found in self._tokenizer.encode_batch_fast(list(texts))]

    def plain(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def cut(self, text: str, max_tokens: int) -> list[int]:
        """The first tokens of a text, special tokens included."""
        found = self._tokenizer.encode(text, add_special_tokens=False)
        found.truncate(max_tokens - self.n_special)
        return list(self._tokenizer.post_process(found).ids)

    def offsets(self, text: str) -> NDArray[np.int64]:
        pieces = list(_pieces(text))
        encoded = self._tokenizer.encode_batch([text[a:b] for a, b in pieces], add_special_tokens=False)
        spans = [
            np.array(found.offsets, np.int64).reshape(-1, 2) + start
            for (start, _), found in zip(pieces, encoded, strict=True)
        ]
        return _trim(np.concatenate(spans), text) if spans else np.empty((0, 2), np.int64)


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Spans of at most _PIECE characters that cover the text, cut before white space or after a full stop.

    Tokenizers are not linear in the length of one text; cut before white space, its tokens stay the same.
    """
    start = 0
    while len(text) - start > _PIECE:
        low, high = start + _PIECE // 2, start + _PIECE
        end = max(text.rfind(mark, low, high) for mark in (" ", "\n"))
        if end < 0:
            end = max(text.rfind(mark, low, high) for mark in "。！？；，") + 1
        end = end or high
        yield start, end
        start = end
    if start < len(text):
        yield start, len(text)


_SPACE = np.zeros(0x3002, bool)  # by code point; the last entry stands for all that lie above
_SPACE[[ord(char) for char in " \t\n\r\u00a0\u3000"]] = True


def _trim(spans: NDArray[np.int64], text: str) -> NDArray[np.int64]:
    """SentencePiece counts the space before a word as part of it; a span should start at the word."""
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    starts, ends = spans[:, 0], spans[:, 1]
    for _ in range(2):
        wide = ends - starts > 1
        wide[wide] = _SPACE[np.minimum(points[starts[wide]], len(_SPACE) - 1)]
        starts += wide
    return spans


# ---------------------------------------------------------------- back ends


class _OpenVino:
    """The exported graph. One stream with one thread per core: a query takes one core, an import all of them."""

    def __init__(self, graph: Path, precision: str, threads: int, pad_id: int) -> None:
        import openvino

        self.name = f"openvino-{precision}"
        self.parallel = threads
        self._pad_id = pad_id
        # The binding looks NumPy up at its first array; two threads that make one at once wait for each other forever.
        openvino.Tensor(np.zeros((1, 1), np.int64)).get_element_type().to_dtype()
        core = openvino.Core()
        try:
            model = core.read_model(graph)
            if precision == "int8":
                _quantise(model)
            compiled = core.compile_model(model, "CPU", _openvino_config(precision, threads))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ModelError(f"OpenVINO cannot load {graph} ({reason}). Delete the folder to export again.") from error
        self.run_tokens: _TokensToo | None = self._both if len(compiled.outputs) == 2 else None
        # An infer request is used by one thread at a time; as many as streams keep every core busy.
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(threads):
            self._requests.put(compiled.create_infer_request())

    def run(self, batch: _Batch) -> Vectors:
        return self._infer(batch, 1)[0]

    def _both(self, batch: _Batch) -> tuple[Vectors, Matrix]:
        vectors, tokens = self._infer(batch, 2)
        return vectors, tokens

    def _infer(self, batch: _Batch, n_outputs: int) -> list[Matrix]:
        width = max(1, *(len(ids) for ids in batch.ids))
        tokens = np.full((len(batch.ids), width), self._pad_id, np.int64)
        mask = np.zeros((len(batch.ids), width), np.int64)
        for row, ids in enumerate(batch.ids):
            tokens[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        request = self._requests.get()
        try:
            request.infer([tokens, mask], share_inputs=True)
            return [np.array(request.get_output_tensor(at).data, np.float32) for at in range(n_outputs)]
        finally:
            self._requests.put(request)


def _openvino_config(precision: str, threads: int) -> dict[str, Any]:
    config: dict[str, Any] = {
        "NUM_STREAMS": str(threads),
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        # Pinned streams of several processes end up on the same cores.
        "ENABLE_CPU_PINNING": False,
        # 0 keeps float activations; a group size quantises them on the fly next to 8-bit weights.
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 32 if precision == "int8" else 0,
    }
    return config


def _quantise(model: Any) -> None:
    """Replace the weights of matrix products by 8-bit ones, symmetric, one scale per output."""
    from openvino import Type, opset13

    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul" or not node.get_attributes()["transpose_b"]:
            continue
        source = node.input_value(1).get_node()
        if source.get_type_name() == "Convert":
            source = source.input_value(0).get_node()
        if source.get_type_name() != "Constant":
            continue
        weights = np.array(source.data, np.float32)
        scale = np.maximum(np.abs(weights).max(axis=-1, keepdims=True), 1e-12) / 127
        whole = opset13.constant(np.rint(weights / scale).astype(np.int8), Type.i8)
        scaled = opset13.multiply(opset13.convert(whole, "f32"), opset13.constant(scale.astype(np.float32)))
        node.input(1).replace_source_output(scaled.output(0))


class _Torch:
    """sentence-transformers itself. One call at a time: torch's thread count is the process's, not the caller's."""

    def __init__(self, model: Any, precision: str, threads: int) -> None:
        import torch

        self.name = f"torch-{precision}"
        self.parallel = 1
        self.run_tokens: _TokensToo | None = (
            None  # a slow way that some models need; their passages are reranked by words alone
        )
        self._model = copy.deepcopy(model).to(torch.bfloat16) if precision == "bf16" else model
        self._threads = threads
        self._lock = threading.Lock()

    def run(self, batch: _Batch) -> Vectors:
        import torch

        with self._lock:
            torch.set_num_threads(1 if len(batch.texts) <= 2 else self._threads)
            vectors = self._model.encode(
                list(batch.texts), prompt=batch.prefix, batch_size=len(batch.texts), show_progress_bar=False
            )
        return np.asarray(vectors, np.float32)


# ---------------------------------------------------------------- finding and preparing a model


def _model_folder(name: str, root: Path) -> Path:
    where = resolve(name, "embedding", root)
    if isinstance(where, str):
        return _hub_snapshot(where)
    if not (where / "config.json").is_file() and not (where / "modules.json").is_file():
        raise ModelError(f"{where} is no sentence-transformers model: it holds neither modules.json nor config.json.")
    return where


def _hub_snapshot(name: str) -> Path:
    """The local folder of a hub model; downloaded when it is not there."""
    from rag.hub import snapshot

    found = snapshot(name, "The embedding model", hint(name, "embedding"))
    if _weights(found):
        return found
    raise ModelError(f"The hub model {name!r} has no safetensors weights; other formats can run code and are not read.")


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors")) + sorted(folder.glob("[0-9]*_*/*.safetensors"))


def _hash_files(folder: Path) -> str:
    """A name-free hash of what decides the vectors, in milliseconds: of large files size, head and tail."""
    names = ["config.json", "modules.json", "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json"]
    names += ["vocab.txt", "sentencepiece.bpe.model", "tokenizer.model", "special_tokens_map.json"]
    files = [folder / name for name in names] + sorted(folder.glob("[0-9]*_*/config.json")) + _weights(folder)
    digest = hashlib.sha256()
    for file in files:
        if not file.is_file():
            continue
        size = file.stat().st_size
        digest.update(f"\0{file.relative_to(folder).as_posix()}\0{size}\0".encode())
        with file.open("rb") as data:
            digest.update(data.read(1 << 18))
            if size > 1 << 18:
                data.seek(max(size - (1 << 18), 1 << 18))
                digest.update(data.read())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A model's export on disk. original: the sentence-transformers model, when this process has loaded it."""

    name: str
    folder: Path
    export: Path
    card: Card
    tokens: _Tokens
    original: Any | None

    @property
    def graph(self) -> Path:
        return self.export / "model.xml"


def _prepare(name: str, folder: Path, files_hash: str, root: Path, say: Notify) -> _Prepared:
    key = f"{files_hash[:16]}-v{_EXPORT_VERSION}"
    export = _writable([root, models_dir()], key) / key
    original = None
    with building(export) as scratch:
        if scratch is not None:
            say(f"Preparing the embedding model {name} for this machine, once; this takes some seconds.")
            original = _load_torch(folder)
            _export(original, scratch, say)
    try:
        card = Card(**json.loads((export / "card.json").read_text(encoding="utf-8")))
        tokens = _Tokens(export / "tokenizer.json")
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"The prepared model in {export} is damaged ({error}). Delete the folder and try again."
        ) from error
    return _Prepared(name, folder, export, card, tokens, original)


def _writable(roots: Sequence[Path], name: str) -> Path:
    """The folder for exports: where this one already lies, else the first that can be written."""
    places = [root / ".compiled" for root in roots]
    for place in places:
        if (place / name).is_dir():
            return place
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(place, os.W_OK):
            return place
    _log.warning(
        "None of %s can be written: the prepared model is kept for this run only.", ", ".join(map(str, places))
    )
    return Path(tempfile.mkdtemp(prefix="ragstone-models-"))


def _load_torch(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    with _quiet():
        try:
            model = SentenceTransformer(
                str(folder),
                device="cpu",
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True, "dtype": "float32"},
            )
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"sentence-transformers cannot load the model in {folder}: {reason}.") from error
    model.default_prompt_name = None  # prefixes are ours to add
    return model.eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Loading reports and progress bars of transformers stay out of the user's terminal."""
    from transformers.utils import logging

    transformers_logging: Any = logging  # untyped functions
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _export(model: Any, folder: Path, say: Notify) -> None:
    """Write tokenizer.json, card.json and, for a plain stack, the OpenVINO graph."""
    tokenizer = model.tokenizer
    fast = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(fast, "encode_batch_fast"):
        raise ModelError("The embedding model has no fast tokenizer, so its chunks cannot be measured; choose another.")
    fast.save(str(folder / "tokenizer.json"), pretty=False)
    prompts: Mapping[str, str] = getattr(model, "prompts", None) or {}
    card = Card(
        dim=int(model.encode(["a"], show_progress_bar=False).shape[1]),
        max_tokens=_max_tokens(model),
        pad_id=int(getattr(tokenizer, "pad_token_id", 0) or 0),
        query_prefix=prompts.get("query") or "",
        passage_prefix=prompts.get("document") or prompts.get("passage") or "",
        plain=_export_graph(model, folder, say),
    )
    (folder / "card.json").write_text(json.dumps(asdict(card), ensure_ascii=False), encoding="utf-8")


def _max_tokens(model: Any) -> int:
    limits = [getattr(model, "max_seq_length", None), getattr(model.tokenizer, "model_max_length", None)]
    known = [int(limit) for limit in limits if limit is not None and math.isfinite(limit) and 0 < limit < 1e6]
    return min(known, default=8192)  # such a model reads texts of any length; chunks still need a bound


def _export_graph(model: Any, folder: Path, say: Notify) -> bool:
    """Export transformer, pooling and dense layers; the vectors' length is set in float32 outside. True if it holds."""
    plain = {"Transformer", "Pooling", "Dense", "Normalize"}
    kinds = [type(module).__name__ for module in model]
    pooling = [module for module in model if type(module).__name__ == "Pooling"]
    if kinds[0] != "Transformer" or not plain.issuperset(kinds) or not find_spec("openvino"):
        return False
    if not all(getattr(module, "include_prompt", True) for module in pooling):
        return False
    try:
        graph = _trace([module for module, kind in zip(model, kinds, strict=True) if kind != "Normalize"])
    except _conversion_failures() + (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
        say(f"The model cannot be exported to OpenVINO ({type(error).__name__}); it runs in torch, slower.")
        return False
    import openvino

    openvino.save_model(graph, folder / "model.xml", compress_to_fp16=True)
    cosine = _export_cosine(model, folder / "model.xml")
    if cosine < 0.9999:
        (folder / "model.xml").unlink()
        (folder / "model.bin").unlink()
        say(f"The model's OpenVINO export differs from the original (cosine {cosine:.4f}); it runs in torch, slower.")
    return cosine >= 0.9999


def _conversion_failures() -> tuple[type[Exception], ...]:
    """What OpenVINO's front end raises for a graph it cannot read; its classes share no base but Exception."""
    from openvino import frontend

    failures: tuple[type[Exception], ...] = (
        frontend.GeneralFailure,
        frontend.NotImplementedFailure,
        frontend.OpConversionFailure,
        frontend.OpValidationFailure,
    )
    return failures


def _trace(modules: Sequence[Any]) -> Any:
    """The modules as one OpenVINO graph: (input_ids, attention_mask) to embedding and token vectors, all dimensions dynamic.

    Goes to the front end directly, because `openvino.convert_model` reports its use to a server on the internet.
    """
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    class Stack(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stack = torch.nn.ModuleList(modules)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            features = {"input_ids": input_ids, "attention_mask": attention_mask}
            for module in self.stack:
                features = module(features)
            return features["sentence_embedding"], features["token_embeddings"]

    ids, mask = torch.arange(5, 37).reshape(2, 16), torch.ones(2, 16, dtype=torch.int64)
    example = {"input_ids": ids, "attention_mask": mask}
    front_end = FrontEndManager().load_by_framework("pytorch")
    with _quiet(), torch.no_grad():
        decoder = TorchScriptPythonDecoder(Stack().eval(), example_input=example)
        graph = front_end.convert(front_end.load(decoder))
    graph.validate_nodes_and_infer_types()
    return graph


def _export_cosine(model: Any, graph: Path) -> float:
    """The smallest cosine between the export's and the original's vectors, on padded texts of several lengths."""
    texts = _sample(8, longest=min(1200, _max_tokens(model)))
    encoded = model.tokenizer(texts, padding=True, truncation=True, max_length=_max_tokens(model), return_tensors="np")
    rows = [row[mask > 0].tolist() for row, mask in zip(encoded["input_ids"], encoded["attention_mask"], strict=True)]
    pad_id = int(getattr(model.tokenizer, "pad_token_id", 0) or 0)
    ours = _OpenVino(graph, "fp32", 1, pad_id).run(_Batch(texts, rows, ""))
    return _min_cosine(ours, model.encode(texts, prompt="", show_progress_bar=False))


def _min_cosine(a: Vectors, b: Vectors) -> float:
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return -1.0
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / np.maximum(lengths, 1e-12)).min())


# ---------------------------------------------------------------- choosing a back end


def _open_backend(wanted: str, prepared: _Prepared, threads: int, say: Notify) -> _Backend:
    if wanted == "auto":
        wanted = _remembered(prepared, threads) or _calibrate(prepared, threads, say)
    if wanted.startswith("torch-"):
        return _Torch(prepared.original or _load_torch(prepared.folder), wanted.removeprefix("torch-"), threads)
    if not prepared.card.plain:
        raise ModelError(
            f"The embedding model {prepared.name} has no OpenVINO export, so embedding.backend cannot be {wanted}. "
            "Set it to auto, torch-bf16 or torch-fp32."
        )
    return _OpenVino(prepared.graph, wanted.removeprefix("openvino-"), threads, prepared.card.pad_id)


def _remembered(prepared: _Prepared, threads: int) -> str | None:
    try:
        kept = json.loads((prepared.export / "calibration.json").read_text(encoding="utf-8"))
        backend = kept[_machine(threads)]["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return backend if isinstance(backend, str) else None


def _calibrate(prepared: _Prepared, threads: int, say: Notify) -> str:
    """Measure the back ends on this machine and keep the fastest whose vectors are right."""
    say(f"Measuring which back end is fastest for {prepared.name} on this machine, once.")
    texts = [prepared.card.passage_prefix + text for text in _sample(24, longest=min(300, prepared.card.max_tokens))]
    limit = prepared.card.max_tokens
    found = zip(texts, prepared.tokens.ids(texts), strict=True)
    ids = [row if len(row) <= limit else prepared.tokens.cut(text, limit) for text, row in found]
    batches = _batches([len(row) for row in ids], 32, threads)
    jobs = [_Batch([texts[i] for i in batch], [ids[i] for i in batch], "") for batch in batches]
    speeds: dict[str, float] = {}
    cosines: dict[str, float] = {}
    reference: Vectors | None = None
    for backend in _candidates(prepared, threads):
        vectors, seconds = _measure(backend, jobs, threads)
        reference = vectors if reference is None else reference
        speeds[backend.name] = round(len(texts) / seconds, 1)
        cosines[backend.name] = round(_min_cosine(vectors, reference), 6)
    fit = [name for name in speeds if cosines[name] >= MIN_COSINE]
    # A start with torch takes seconds longer, so torch must be well ahead to be worth it.
    best = max(fit, key=lambda name: speeds[name] * (0.75 if name.startswith("torch") else 1.0))
    _remember(prepared.export, _machine(threads), {"backend": best, "texts_per_s": speeds, "min_cosine": cosines})
    others = ", ".join(f"{name} {speed:.0f}" for name, speed in speeds.items() if name != best)
    say(f"{prepared.name} runs on {best} here: about {speeds[best]:.0f} texts/s ({others}).")
    return best


def _candidates(prepared: _Prepared, threads: int) -> Iterator[_Backend]:
    """Back ends one after the other, a float32 one first. torch is tried only where it is loaded anyway."""
    plain, original = prepared.card.plain, prepared.original
    if not plain and original is None:
        original = _load_torch(prepared.folder)
    if original is not None:
        yield _Torch(original, "fp32", threads)
    if plain:
        precisions = ["fp32", "int8", "bf16"] if "BF16" in _cpu()[1] else ["fp32", "int8"]
        for precision in precisions:
            yield _OpenVino(prepared.graph, precision, threads, prepared.card.pad_id)
    if original is not None:
        yield _Torch(original, "bf16", threads)


def _measure(backend: _Backend, jobs: Sequence[_Batch], threads: int, budget_s: float = 1.5) -> tuple[Vectors, float]:
    """The vectors in the order of the jobs, and the seconds all of them take on an otherwise idle machine.

    Counts CPU seconds: what else runs on the machine now must not decide which back end is used from now on.
    """
    vectors = np.concatenate([backend.run(job) for job in jobs])  # the first run compiles kernels
    best, begin = math.inf, time.perf_counter()
    while True:
        start = time.process_time()
        _run_all(backend.run, jobs, backend.parallel)
        best = min(best, (time.process_time() - start) / threads)
        if time.perf_counter() - begin > budget_s:
            return vectors, best


def _read_array(file: Path) -> Matrix:
    """Raises: OSError; ValueError, EOFError for a damaged one."""
    found: Matrix = np.load(file)  # takes no pickles
    if found.ndim != 1 or found.dtype != np.float32 or not np.isfinite(found).all():
        raise ValueError(f"{file} is damaged")
    return found


def _keep_array(file: Path, array: NDArray[Any]) -> None:
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".tmp", delete=False) as scratch:
            np.save(scratch, array)
        os.replace(scratch.name, file)
    except OSError as error:
        _log.warning("%s cannot be kept (%s); the next start computes it again.", file, error.strerror)


def _remember(export: Path, machine: str, outcome: Mapping[str, Any]) -> None:
    file = export / "calibration.json"
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        kept = {}
    kept[machine] = outcome
    try:
        scratch = file.with_suffix(f".{os.getpid()}.tmp")
        scratch.write_text(json.dumps(kept, indent=1), encoding="utf-8")
        os.replace(scratch, file)
    except OSError as error:
        _log.warning("The calibration cannot be kept (%s); the next start measures again.", error.strerror)


def _machine(threads: int) -> str:
    """What the outcome of a calibration depends on."""
    return " | ".join([*_cpu(), f"{threads} of {_cores()} cores", *map(_version, ("openvino", "torch"))])


def _cpu() -> tuple[str, str]:
    """The CPU's name and what OpenVINO can compute with on it."""
    if not find_spec("openvino"):
        import platform

        return platform.processor() or platform.machine(), ""
    import openvino

    core = openvino.Core()
    return core.get_property("CPU", "FULL_DEVICE_NAME"), " ".join(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


_ENGLISH = (
    "The station was rebuilt after the war, with two platforms and a covered bridge between them. ",
    "Retrieval quality depends on how documents are cut, because a vector sees only what fits into its model. ",
    "In 1987 she moved to Lisbon, where she taught physics until her retirement twenty years later. ",
    "Patients who received the higher dose recovered faster, although the difference was not significant. ",
    "The river rises in the northern hills and joins the sea near a small fishing village. ",
    "Its second album sold 1.2 million copies and stayed in the charts for 31 weeks. ",
)
_CHINESE = (
    "这座车站在战后重建，设有两个站台和一座连接它们的有顶天桥。",
    "检索质量取决于文档如何切分，因为向量只能看到模型能够读入的内容。",
    "一九八七年她搬到里斯本，在那里教授物理，直到二十年后退休。",
    "接受较高剂量的患者恢复得更快，但差异并不显著。",
    "这条河发源于北部山区，在一个小渔村附近入海。",
    "他们的第二张专辑售出一百二十万张，在排行榜上停留了三十一周。",
)


def _sample(n: int, *, longest: int) -> list[str]:
    """Texts to measure with: English and Chinese in turn, from a sentence up to somewhat under `longest` tokens."""
    texts = []
    for i in range(n):
        sentences, most_tokens = (_ENGLISH, 30) if i % 2 == 0 else (_CHINESE, 45)
        count = max(1, longest * (i + 1) // (n * most_tokens))
        texts.append("".join(sentences[(i + k) % len(sentences)] for k in range(count)))
    return texts
