"""A model file in pyqrt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pyqrt
from pyqrt.tradeoff.systems.base import Job, System
from pyqrt.tradeoff.workloads import Tokens, pad

if TYPE_CHECKING:
    from pyqrt.eval.predict import Outputs


class PyqrtModel:
    """pyqrt, on the CPU or a GPU."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def prepare(self) -> None:
        """Nothing: the file is there."""

    def files(self) -> list[Path]:
        """The model file."""
        return [Path(self.job.model)]

    def load(self) -> None:
        """Maps the file; weights are checked beside the first call."""
        threads = self.job.threads if self.job.device == "cpu" else None
        self._model = pyqrt.load(self.job.model, device=self.job.device, threads=threads)
        self._typed = self._model.limits.type_vocab_size > 1

    def isa(self) -> str | None:
        """Of the kernels."""
        return str(self._model.describe()["isa"])

    def arrange(self, batch: Sequence[Tokens], *, padded: bool = False) -> Any:
        """Arrays of token ids and types, each of its own length."""
        rows = pad(batch) if padded else batch
        ids = [np.array(row, np.int32) for row, _ in rows]
        return ids, [np.array(row, np.int32) for _, row in rows] if self._typed else None

    def call(self, arranged: Any) -> Any:
        """float64 [sequences, width], or a list of [tokens, width]."""
        values, scale = self._model.run(*arranged)
        if isinstance(values, list):
            return [row * scale for row in values]
        return values * scale

    def run(self, ids: Sequence[Any], types: Sequence[Any]) -> Outputs:
        """As `System.run`."""
        from pyqrt.eval.predict import integer_run

        return integer_run(self._model)(ids, types)


def system(job: Job) -> System:
    """The system of a job."""
    return PyqrtModel(job)
