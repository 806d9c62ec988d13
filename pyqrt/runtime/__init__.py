"""Runs model files: reads and checks them, tokenizes, executes, interprets. Needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyqrt.runtime.devices import Parallel
from pyqrt.runtime.model import IntegerOutput, Model, load
from pyqrt.runtime.tasks import Task

if TYPE_CHECKING:
    from pyqrt.runtime.results import Answer, Classification, Entity, Word, entities

__all__ = [
    "Answer",
    "Classification",
    "Entity",
    "IntegerOutput",
    "Model",
    "Parallel",
    "Task",
    "Word",
    "entities",
    "load",
]


def __getattr__(name: str) -> Any:
    """What results are made of, imported when first used: a model may run token ids alone."""
    if name in __all__:
        from pyqrt.runtime import results

        return getattr(results, name)
    raise AttributeError(f"module 'pyqrt.runtime' has no attribute {name!r}")
