"""Which examples go together: shuffled, but of like length, because attention takes a call per length."""

from __future__ import annotations

import random
from collections.abc import Sequence

WINDOW = 16  # batches within whose examples lengths are sorted


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Numbers of the examples of every batch of an epoch; each example once.

    lengths: tokens of every example. The order depends on seed and epoch alone. Examples are shuffled,
    sorted by length within windows of `WINDOW` batches, cut into batches, and those are shuffled.
    """
    generator = random.Random(f"{seed} {epoch}")
    order = list(range(len(lengths)))
    generator.shuffle(order)
    batches: list[list[int]] = []
    window = WINDOW * batch_size
    for begin in range(0, len(order), window):
        alike = sorted(order[begin : begin + window], key=lambda index: lengths[index])
        batches += [alike[i : i + batch_size] for i in range(0, len(alike), batch_size)]
    generator.shuffle(batches)
    return batches
