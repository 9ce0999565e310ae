"""What the global options of the command line say."""

from __future__ import annotations

import argparse

from rag.errors import UsageError
from rag.settings import Settings


def as_json(options: argparse.Namespace) -> bool:
    return bool(getattr(options, "json", False))


def home(options: argparse.Namespace) -> str | None:
    return getattr(options, "home", None)


def collection(options: argparse.Namespace) -> str:
    return str(getattr(options, "collection", "default"))


def overrides(options: argparse.Namespace) -> dict[str, str]:
    """The pairs of --set. Raises: UsageError for one without a value."""
    pairs = {}
    for text in getattr(options, "set", None) or ():
        key, separator, value = text.partition("=")
        if not separator:
            raise UsageError(f"--set wants KEY=VALUE, such as search.top_k=5, not {text!r}.")
        pairs[key.strip()] = value.strip()
    return pairs


def settings(options: argparse.Namespace) -> Settings:
    return Settings.load(getattr(options, "config", None), overrides=overrides(options))
