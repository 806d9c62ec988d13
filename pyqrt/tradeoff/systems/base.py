"""What a system does for the harness, and what those have in common that take rectangles of tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pyqrt.tradeoff.workloads import Tokens

if TYPE_CHECKING:  # its libraries would count as the memory of every candidate
    from pyqrt.eval.predict import Outputs

Rectangle = dict[str, Any]  # input_ids, attention_mask and perhaps token_type_ids, int64 [sequences, tokens]


@dataclass(frozen=True)
class Job:
    """One candidate, as its process is told of it.

    model: the model file that is run; for a peer one of the same checkpoint, whose tokenizer and task it
    shares. checkpoint: directory of a peer's weights. folder: of a peer's files. calibration: text to
    calibrate on; None: the bundled one.
    """

    system: str
    variant: str
    model: str
    device: str = "cpu"
    threads: int = 1
    checkpoint: str | None = None
    folder: str | None = None
    calibration: str | None = None

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @property
    def home(self) -> Path:
        """The folder of a peer's files, which exists after this."""
        assert self.folder is not None
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class System(Protocol):
    """A runtime with one model. Imports its library when first used."""

    def prepare(self) -> None:
        """Converts the checkpoint, once; quick when it was done before. Not timed."""

    def files(self) -> list[Path]:
        """What `load` reads from disk."""

    def load(self) -> None:
        """Opens the model. Timed."""

    def isa(self) -> str | None:
        """Instruction set or GPU of the kernels, where the system tells."""

    def arrange(self, batch: Sequence[Tokens], *, padded: bool = False) -> Any:
        """The batch as `call` takes it, not timed. padded: compute all sequences at the longest's length."""

    def call(self, arranged: Any) -> Any:
        """From token ids to numpy arrays of floats. Timed."""

    def run(self, ids: Sequence[Any], types: Sequence[Any]) -> Outputs:
        """The outputs of every sequence, for accuracy (`pyqrt.eval.predict.Run`)."""


class RectangleSystem:
    """A system whose batches are rectangles with an attention mask."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def isa(self) -> str | None:
        """None: these do not tell."""
        return None

    def arrange(self, batch: Sequence[Tokens], *, padded: bool = False) -> Rectangle:
        """The batch, padded on the right. A rectangle is padded either way."""
        return rectangle(batch)

    def call(self, arranged: Rectangle) -> Any:
        """float [sequences, width] or [sequences, tokens, width]."""
        raise NotImplementedError

    def run(self, ids: Sequence[Any], types: Sequence[Any]) -> Outputs:
        """As `System.run`."""
        batch = [(i.tolist(), t.tolist()) for i, t in zip(ids, types, strict=True)]
        values = np.asarray(self.call(rectangle(batch)), np.float64)
        if values.ndim == 2:
            return values, 1.0
        return [row[: len(i)] for row, (i, _) in zip(values, batch, strict=True)], 1.0


def rectangle(batch: Sequence[Tokens]) -> Rectangle:
    """Sequences padded with token 0 to the longest, and the mask that says which are real."""
    shape = len(batch), max(len(ids) for ids, _ in batch)
    result = {name: np.zeros(shape, np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    for row, (ids, types) in enumerate(batch):
        result["input_ids"][row, : len(ids)] = ids
        result["token_type_ids"][row, : len(ids)] = types
        result["attention_mask"][row, : len(ids)] = 1
    return result
