"""Write .env from .env.example with fresh secrets; an .env that is there stays as it is."""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECRETS = ("POSTGRES_PASSWORD", "MILVUS_PASSWORD", "MINIO_PASSWORD", "MODEL_KEY", "API_KEY", "SANDBOX_KEY")


def made(example: str) -> str:
    """The example with a secret for each name that needs one. The API's key has the form of a key."""
    for name in SECRETS:
        value = (
            f"rs_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}" if name == "API_KEY" else secrets.token_urlsafe(24)
        )
        example = re.sub(rf"^{name}=$", f"{name}={value}", example, flags=re.MULTILINE)
    return example


def _keep(path: Path, secret: str) -> None:
    """The API's key as a file, for Prometheus; its container reads it as another user."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(secret, encoding="utf-8")
    path.chmod(0o644)


def main(folder: Path = ROOT) -> int:
    target = folder / ".env"
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{target} is there and stays as it is.", file=sys.stderr)
        return 1
    text = made((ROOT / ".env.example").read_text(encoding="utf-8"))
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
    _keep(folder / "deploy" / "api_key", re.search(r"^API_KEY=(.*)$", text, re.MULTILINE).group(1))  # type: ignore[union-attr]
    print(f"{target}: written, readable by you alone. Start with: docker compose up --detach")
    return 0


if __name__ == "__main__":
    sys.exit(main())
