"""Retrieval by chunking strategy and by enrichment that needs no model, on passages put together to long documents.

    python -m bench.chunking ../shared/data/sets/SET      prints JSON

A passage counts as found at the rank of the first hit of its document that overlaps it by half of the shorter of both.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from itertools import batched
from math import log2
from pathlib import Path
from typing import Any

from eval.dataset import load_dataset
from rag.knowledge_base import KnowledgeBase
from rag.settings import Settings
from rag.types import Document, Hit

PER_DOCUMENT = 25  # passages, in the order of the set: those of one article follow one another
RUNS: Mapping[str, Mapping[str, Any]] = {
    "recursive": {}, "fixed": {"chunk__strategy": "fixed"}, "heading": {"chunk__strategy": "heading"},
    "sentence-window": {"chunk__strategy": "sentence-window"}, "parent-child": {"chunk__strategy": "parent-child"},
    "semantic": {"chunk__strategy": "semantic"}, "recursive, 128 tokens": {"chunk__size": 128, "chunk__overlap": 16},
    "recursive + keywords": {"enrich__keywords": 8}, "recursive + tree": {"enrich__summaries": "tree"},
    "recursive, no context": {"chunk__context_tokens": 0},
}  # fmt: skip

Place = tuple[str, int, int]
