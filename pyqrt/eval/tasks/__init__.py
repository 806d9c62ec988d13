"""What each task's data look like, which head it needs and how it is scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from pyqrt.errors import ModelError
from pyqrt.eval.metrics import Metric, Rows
from pyqrt.eval.predict import Predictor
from pyqrt.eval.tasks.answers import Answers
from pyqrt.eval.tasks.classification import Classification
from pyqrt.eval.tasks.entities import Entities
from pyqrt.eval.tasks.masked import MaskedTokens
from pyqrt.eval.tasks.similarity import Similarity
from pyqrt.runtime import Task


class EvaluationTask(Protocol):
    """One task. Examples are the task's own; `evaluate` only counts and cuts them."""

    def metrics(self, head: Task) -> tuple[Metric, ...]:
        """Those of a model of this head, the first being the one that ranks models."""

    def read(self, path: Path) -> Sequence[Any]:
        """The examples of a file; ModelError for wrong columns, bad cells and empty data."""

    def check(self, head: Task, labels: Sequence[str], examples: Sequence[Any]) -> Any:
        """How the model's labels are to be read, for `score`; ModelError for a wrong head or wrong labels.

        labels: the names of the model's labels, which may be others than in its file (`label_names`).
        """

    def score(self, predict: Predictor, reading: Any, examples: Sequence[Any]) -> Rows:
        """The examples' rows, for the metrics."""


_SINGLE = (("sentence",),)
_PAIR = (("sentence1", "sentence2"),)
_INFERENCE = ("entailment", "not_entailment")

_TASKS: dict[str, EvaluationTask] = {
    "sst2": Classification(_SINGLE, ("negative", "positive"), ("accuracy",)),
    "cola": Classification(_SINGLE, ("unacceptable", "acceptable"), ("Matthews",)),
    "mrpc": Classification(_PAIR, ("not_equivalent", "equivalent"), ("accuracy", "F1")),
    "rte": Classification(_PAIR, _INFERENCE, ("accuracy",)),
    "qnli": Classification((("question", "sentence"),), _INFERENCE, ("accuracy",)),
    "mnli": Classification(
        (("premise", "hypothesis"), *_PAIR), ("entailment", "neutral", "contradiction"), ("accuracy",)
    ),
    "qqp": Classification((("question1", "question2"),), ("not_duplicate", "duplicate"), ("accuracy", "F1")),
    "stsb": Similarity(),
    "conll2003": Entities(),
    "squad": Answers(),
    "masked_lm": MaskedTokens(),
}


def tasks() -> tuple[str, ...]:
    """The tasks there are."""
    return tuple(_TASKS)


def label_names(given: Sequence[str] | None, head: Task) -> list[str]:
    """What the labels of a model are called, for `EvaluationTask.check`: as given, else as in its file.

    Raises ModelError where the given ones are no strings, or not one for each label.
    """
    if given is None:
        return list(head.labels)
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise ModelError(f"labels is {given!r}; give a list of names, one for each label of the model")
    names = [str(name) for name in given]
    if len(names) != len(head.labels):
        raise ModelError(
            f"labels is {names}; give one name for each of the model's {len(head.labels)} labels, in their "
            f"order: {', '.join(head.labels)}"
        )
    return names


def task(name: str) -> EvaluationTask:
    """The task of a name. Raises ModelError, listing all, if there is none."""
    if name not in _TASKS:
        raise ModelError(f"task is {name!r}; known: {', '.join(_TASKS)}")
    return _TASKS[name]
