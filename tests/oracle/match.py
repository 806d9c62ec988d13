"""match: csrc/ops/match/match.h in exact integers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oracle.budget import Ledger, budget, record, within
from oracle.exact import Exact, Integers, Interval
from oracle.fixed import INT16_VALUES, rshr


def product(total: Integers, shift: int) -> Integers:
    within("shift", shift, Interval(1, 16))
    return budget("output", rshr(budget("sum", total, 47), shift, "rounded sum", 64), 32)


def match(
    tokens: NDArray[np.int16], rows: NDArray[np.int16], offsets: ArrayLike, *, shift: int
) -> NDArray[np.int32]:
    """int32 [tokens] of [tokens, width] and [sequences, width]; 0 for tokens of no sequence."""
    within("tokens", Exact(tokens), INT16_VALUES)
    within("rows", Exact(rows), INT16_VALUES)
    output = np.zeros(len(tokens), np.int32)
    for row, (begin, end) in zip(rows, pairwise(int(edge) for edge in np.ravel(offsets)), strict=True):
        if end > begin:
            total = (Exact(tokens[begin:end]) * Exact(row)).sum(1)
            output[begin:end] = product(total, shift).to(np.int32)
    return output


def worst_case(width: int, shift: int) -> Ledger:
    """The range of every intermediate over all inputs."""
    with record() as proven:
        within("width", width, Interval(1, 1 << shift))
        product(INT16_VALUES * INT16_VALUES * width, shift)
    return proven
