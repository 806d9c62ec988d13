"""How far an exported ONNX model is from the integers, as ONNX Runtime runs it. Needs `onnxruntime`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyqrt.runtime.model import Model

BATCH = 8


@dataclass(frozen=True)
class Difference:
    """Of the rows of one output, ONNX against integers.

    cosine_mean, cosine_least: over rows. largest: greatest absolute difference; magnitude: greatest
    absolute value of the integers' output, for scale. rows: how many.
    """

    output: str
    rows: int
    cosine_mean: float
    cosine_least: float
    largest: float
    magnitude: float


def compare(
    path: str | Path,
    model: Model,
    ids: Sequence[Sequence[int]],
    types: Sequence[Sequence[int]],
    threads: int = 1,
) -> Difference:
    """Runs the ONNX file at `path` and `model` on the same sequences, at least one and none empty.

    Compares the output of the model's task. The ONNX side runs in padded batches of 8.
    """
    values, scale = model.run(ids, types)
    expected = [np.atleast_2d(row) * scale for row in values]
    name = model.task.output
    actual = run_onnx(path, ids, types, name, threads)
    own, other = np.concatenate(expected), np.concatenate(actual).astype(np.float64)
    lengths = np.linalg.norm(own, axis=1) * np.linalg.norm(other, axis=1)
    cosine = (own * other).sum(axis=1) / np.maximum(lengths, 1e-30)
    return Difference(
        output=name,
        rows=len(own),
        cosine_mean=float(cosine.mean()),
        cosine_least=float(cosine.min()),
        largest=float(np.abs(own - other).max()),
        magnitude=float(np.abs(own).max()),
    )


def run_onnx(
    path: str | Path,
    ids: Sequence[Sequence[int]],
    types: Sequence[Sequence[int]],
    output: str,
    threads: int = 1,
) -> list[NDArray[np.float32]]:
    """`output` of every sequence without its padding: [tokens, width], or [1, width] if pooled."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # On x86 without VNNI, ONNX Runtime's int8 products otherwise saturate sums of two at 16 bits.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    wanted = {value.name for value in session.get_inputs()}
    rows: list[NDArray[np.float32]] = []
    for begin in range(0, len(ids), BATCH):
        feed = {name: array for name, array in _padded(ids, types, begin).items() if name in wanted}
        (values,) = session.run([output], feed)
        lengths = [len(sequence) for sequence in ids[begin : begin + BATCH]]
        pooled = values.ndim == 2
        rows += [v[None] if pooled else v[:n] for v, n in zip(values, lengths, strict=True)]
    return rows


def _padded(
    ids: Sequence[Sequence[int]], types: Sequence[Sequence[int]], begin: int
) -> dict[str, NDArray[Any]]:
    batch = list(zip(ids, types, strict=True))[begin : begin + BATCH]
    width = max(len(sequence) for sequence, _ in batch)
    feed = {
        name: np.zeros((len(batch), width), np.int64)
        for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    for row, (sequence, kinds) in enumerate(batch):
        feed["input_ids"][row, : len(sequence)] = sequence
        feed["token_type_ids"][row, : len(kinds)] = kinds
        feed["attention_mask"][row, : len(sequence)] = 1
    return feed
