"""Evaluation: datasets, metrics, runs, comparisons and reports.

`from eval import load_dataset, evaluate, compare`. Names load when first used, so that importing the package is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eval.comparison import compare
    from eval.dataset import load_dataset
    from eval.evaluation import evaluate

__all__ = ["compare", "evaluate", "load_dataset"]

# No module of this package may be called like one of these names: importing it would put the module in their place.
_HOME = {"load_dataset": "eval.dataset", "evaluate": "eval.evaluation", "compare": "eval.comparison"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'eval' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)
