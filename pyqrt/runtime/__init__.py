"""Runs model files: reads and checks them, tokenizes, executes, interprets. Needs no torch."""

from pyqrt.runtime.devices import Parallel
from pyqrt.runtime.model import IntegerOutput, Model, load
from pyqrt.runtime.tasks import Answer, Classification, Entity, Task, Word, entities

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
