"""Tasks that choose one label of a text or a pair of texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyqrt.errors import ModelError
from pyqrt.eval.metrics import ACCURACY, F1, MATTHEWS, Metric, Rows
from pyqrt.eval.predict import Predictor
from pyqrt.eval.table import read_table
from pyqrt.runtime import Task

_METRICS = {metric.name: metric for metric in (ACCURACY, F1, MATTHEWS)}


@dataclass(frozen=True)
class LabelledText:
    """A text or pair, and the task's number of its label."""

    text: str
    pair: str | None
    label: int


@dataclass(frozen=True)
class Classification:
    """columns: alternatives for the texts. labels: the task's, in the order of its numbers."""

    columns: tuple[tuple[str, ...], ...]
    labels: tuple[str, ...]
    metric_names: tuple[str, ...]

    def metrics(self, head: Task) -> tuple[Metric, ...]:
        """Of rows (true number, predicted number)."""
        return tuple(_METRICS[name] for name in self.metric_names)

    def read(self, path: Path) -> list[LabelledText]:
        """A table of texts and `label`, a number or a name of the task's labels."""
        rows = read_table(path, [(*names, "label") for names in self.columns])
        return [
            LabelledText(row[0], row[1] if len(row) > 2 else None, self._number(row[-1], where))
            for where, row in rows
        ]

    def _number(self, label: str, where: str) -> int:
        names = {name: number for number, name in enumerate(self.labels)}
        names |= {str(number): number for number in names.values()}
        if _plain(label) not in names:
            raise ModelError(f"{where}: the label {label!r} is none of the task's: {', '.join(names)}")
        return names[_plain(label)]

    def check(self, head: Task, labels: Sequence[str], examples: Sequence[LabelledText]) -> dict[str, int]:
        """The task's number for each label in the model file."""
        if head.kind != "sequence_classification" or head.problem != "single_label_classification":
            problem = f" ({head.problem})" if head.kind == "sequence_classification" else ""
            raise ModelError(
                f"the model is for {head.kind}{problem}; this task needs sequence_classification with one "
                "label per text"
            )
        names = [_plain(label) for label in labels]
        numbered = [re.fullmatch(r"(?:label_)?(\d+)", name) for name in names]
        if all(numbered):
            numbers = [int(match[1]) for match in numbered if match]
        else:
            numbers = [self.labels.index(name) if name in self.labels else -1 for name in names]
        if sorted(numbers) != list(range(len(self.labels))) or len(head.labels) != len(numbers):
            raise ModelError(
                f"the model's labels are {', '.join(labels)}; the task's are {', '.join(self.labels)}. "
                "Say which of these the model's mean, in the model's order: labels=[...], on the command "
                "line --labels a,b,..."
            )
        return dict(zip(head.labels, numbers, strict=True))

    def score(self, predict: Predictor, reading: dict[str, int], examples: Sequence[LabelledText]) -> Rows:
        """(true number, predicted number) of every example."""
        pairs = [example.pair for example in examples if example.pair is not None]
        results = predict([example.text for example in examples], pairs or None)
        return np.array(
            [
                (example.label, reading[result.label])
                for example, result in zip(examples, results, strict=True)
            ],
            np.float64,
        )


def _plain(label: str) -> str:
    return re.sub(r"[- ]", "_", label.strip().lower())
