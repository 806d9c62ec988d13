"""How close the integers stand to the floats, and the gate a model must pass to be written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyqrt.errors import ModelError
from pyqrt.nn import Encoder
from pyqrt.nn.config import Head, Task
from pyqrt.quantize.texts import Encoded, pack_one

if TYPE_CHECKING:
    from pyqrt.runtime.model import Model

FloatRows = NDArray[np.float64]

# Least score that `quantize` accepts unless told otherwise; see Comparison.score.
DEFAULT_GATES: dict[Task, float] = {
    "embedding": 0.98,
    "sequence_classification": 0.95,
    "token_classification": 0.95,
    "question_answering": 0.90,
    "masked_lm": 0.85,  # of a whole vocabulary, at every token
    "multiple_choice": 0.95,
}


@dataclass(frozen=True)
class Comparison:
    """Integer against float outputs on text that calibration has not seen.

    mean_cosine, least_cosine: over output rows. relative_error: Euclidean, over all outputs.
    agreement: fraction of equal decisions (largest logit of a row; sign of each independent label;
    largest start and end of a sequence); None where the task decides nothing. rows: rows compared.
    """

    mean_cosine: float
    least_cosine: float
    relative_error: float
    agreement: float | None
    rows: int

    def score(self, task: Task) -> float:
        """What the gate looks at, 1 being perfect.

        Mean cosine for embeddings, agreement where the task decides, else 1 - relative error.
        """
        if task == "embedding":
            return self.mean_cosine
        return 1 - self.relative_error if self.agreement is None else self.agreement

    def to_dict(self) -> dict[str, Any]:
        """For the file's report."""
        return asdict(self)


def float_outputs(encoder: Encoder, sequences: Sequence[Encoded]) -> list[FloatRows]:
    """The float model's output rows of every sequence, run one by one; [1 or tokens, width] each."""
    outputs = []
    with torch.inference_mode():
        for sequence in sequences:
            batch = pack_one([sequence])
            outputs.append(encoder(batch.ids, batch.offsets, batch.types).double().numpy())
    return outputs


def integer_outputs(model: Model, sequences: Sequence[Encoded]) -> list[FloatRows]:
    """The integer model's output rows of every sequence, times their scale."""
    values, scale = model.run([s.ids for s in sequences], [s.types for s in sequences])
    return [np.atleast_2d(np.asarray(rows, dtype=np.float64)) * scale for rows in values]


def _decisions(head: Head, rows: FloatRows) -> NDArray[np.generic] | None:
    if head.task in ("embedding", "multiple_choice") or head.problem == "regression":
        return None
    if head.problem == "multi_label":
        return np.asarray(rows > 0)
    return np.asarray(rows.argmax(axis=0 if head.task == "question_answering" else 1))


def compare(head: Head, expected: Sequence[FloatRows], actual: Sequence[FloatRows]) -> Comparison:
    """Compares output rows, sequence by sequence."""
    a, b = np.concatenate(expected), np.concatenate(actual)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = (a * b).sum(axis=1) / np.maximum(norms, 1e-30)
    equal = [
        np.ravel(x == y)
        for x, y in (
            (_decisions(head, e), _decisions(head, r)) for e, r in zip(expected, actual, strict=True)
        )
        if x is not None
    ]
    return Comparison(
        mean_cosine=float(cosine.mean()),
        least_cosine=float(cosine.min()),
        relative_error=float(np.linalg.norm(a - b) / max(float(np.linalg.norm(a)), 1e-30)),
        agreement=float(np.concatenate(equal).mean()) if equal else None,
        rows=len(cosine),
    )


def check(task: Task, comparison: Comparison, gate: float) -> None:
    """Raises ModelError when `comparison` is below `gate`."""
    score = comparison.score(task)
    if score < gate:
        raise ModelError(
            f"the integer model scores {score:.4f} against the float model on held-out text ({task}), "
            f"below the gate of {gate}; nothing was written. Calibrate on text like the model's own, "
            "or lower the gate, or force it"
        )
