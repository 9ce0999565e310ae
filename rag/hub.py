"""Models of the hub: their files, fetched once. Code and pickles never are."""

from __future__ import annotations

from pathlib import Path

from rag.errors import ModelError

WANTED = ("*.json", "*.txt", "*.model", "*.safetensors", "*.jinja")
LEFT = ("onnx/*", "openvino/*", "*.onnx")


def snapshot(name: str, what: str, otherwise: str) -> Path:
    """The local folder of a hub model; downloaded when it is not there.

    what: the model's role at the start of a sentence. otherwise: what to do without the hub. Raises: ModelError.
    """
    from huggingface_hub import snapshot_download

    for local in (True, False):
        try:
            found = Path(
                snapshot_download(name, allow_patterns=list(WANTED), ignore_patterns=list(LEFT), local_files_only=local)
            )
            if not local or any(found.rglob("*.safetensors")):
                return found
        except (OSError, ValueError) as error:
            if not local:
                raise ModelError(
                    f"{what} {name!r} is no alias and no folder, and it cannot be fetched from the hub "
                    f"({type(error).__name__}). {otherwise} Otherwise check the name and the network."
                ) from error
    raise AssertionError("the second try returns or raises")
