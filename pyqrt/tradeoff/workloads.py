"""What is timed: sequences of the task's own texts, alone and in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyqrt.errors import ModelError

if TYPE_CHECKING:
    from pyqrt.eval.predict import Outputs
    from pyqrt.eval.tasks import EvaluationTask
    from pyqrt.runtime import Model
    from pyqrt.runtime.tokenization import Ids

READ = 128  # examples whose lengths stand for the task's
REAL_TEXTS = 32  # of the workload of single texts
SORTED_CHUNK = 8  # sequences of a rectangle when a batch is sorted by length
Tokens = tuple[list[int], list[int]]  # token ids, token types

REAL = "real"
SINGLE, PACKED, PADDED, SORTED = "single", "packed", "padded", "sorted"


@dataclass(frozen=True)
class Workload:
    """batches: what is passed to a model in one call each, in order.

    batching: "single" texts; a batch "packed" without padding, "padded" to its longest text, or "sorted"
    by length and padded in chunks.
    """

    name: str
    batching: str
    batches: list[list[Tokens]]

    @property
    def key(self) -> str:
        """What it is called between processes."""
        return f"{self.name}, {self.batching}"


def task_sequences(
    of_task: EvaluationTask, examples: Sequence[Any], reading: Any, model: Model, *, truncate: bool
) -> list[Tokens]:
    """What `model` is given when it is evaluated on examples spread evenly over all, in order of length."""
    from pyqrt.eval.predict import Predictor, integer_run

    seen: list[Tokens] = []
    inner = integer_run(model)

    def run(ids: Sequence[Ids], types: Sequence[Ids]) -> Outputs:
        seen.extend((i.tolist(), t.tolist()) for i, t in zip(ids, types, strict=True))
        return inner(ids, types)

    chosen = np.unique(np.linspace(0, len(examples) - 1, READ).round().astype(int))
    of_task.score(Predictor(model, run, truncate=truncate), reading, [examples[i] for i in chosen])
    if model.limits.type_vocab_size == 1:
        seen = [(ids, [0] * len(ids)) for ids, _ in seen]
    return sorted(seen, key=lambda sequence: len(sequence[0]))


def make_workloads(
    sequences: Sequence[Tokens], lengths: Sequence[int | str], batch: int, model: Model
) -> list[Workload]:
    """The workloads of a model.

    sequences: of the task, in order of length. lengths: tokens of a text, or "real", which is texts one by
    one with the lengths the task has. batch: texts of a batch of real lengths; 0: none.
    Raises ModelError for a length the model does not take.
    """
    workloads = []
    longest = model.limits.max_length
    running = [token for ids, _ in sequences for token in ids]
    for length in lengths:
        if length == REAL:
            texts = spread(sequences, REAL_TEXTS)
            workloads.append(Workload("1 x real", SINGLE, [[text] for text in texts]))
            continue
        assert isinstance(length, int)
        if not 1 <= length <= longest:
            raise ModelError(
                f"a length is {length} tokens; {model.describe()['path']} takes 1 to {longest}: leave it out"
            )
        ids = (running * (-(-length // len(running))))[:length]
        workloads.append(Workload(f"1 x {length}", SINGLE, [[(ids, [0] * length)]]))
    if batch:
        texts = spread(sequences, batch)
        name = f"{batch} x real"
        by_length = sorted(texts, key=lambda text: len(text[0]))
        chunks = [by_length[i : i + SORTED_CHUNK] for i in range(0, batch, SORTED_CHUNK)]
        workloads += [Workload(name, PACKED, [texts]), Workload(name, PADDED, [texts])]
        if len(chunks) > 1:
            workloads.append(Workload(name, SORTED, chunks))
    return workloads


def spread(sequences: Sequence[Tokens], count: int) -> list[Tokens]:
    """`count` sequences at even steps of the order of length, so of about its distribution, shuffled."""
    places = ((np.arange(count) + 0.5) * len(sequences) / count).astype(int)
    return [sequences[i] for i in np.random.default_rng(0).permutation(places)]


def batchings(packs: bool, pads: bool) -> set[str]:
    """How a system is given its batches: one that packs, or can be given padding to compute, or both."""
    return {SINGLE} | ({PACKED} if packs else {SORTED}) | ({PADDED} if pads else set())


def pad(batch: Sequence[Tokens]) -> list[Tokens]:
    """The batch as a rectangle for a system without padding: short sequences are repeated to the longest."""
    longest = max(len(ids) for ids, _ in batch)
    return [
        ((ids * (-(-longest // len(ids))))[:longest], (types * (-(-longest // len(ids))))[:longest])
        for ids, types in batch
    ]
