"""lookup: csrc/ops/lookup/lookup.h in exact integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from oracle.budget import Ledger, budget, record, within
from oracle.exact import Exact, Integers, Interval
from oracle.fixed import INT16_VALUES


def interpolate(left: Integers, right: Integers, f: Integers) -> Integers:
    weighted = budget("weighted", left * (128 - f) + right * f + 64, 32)
    return weighted >> 7


def lookup(input: NDArray[np.int16], table: NDArray[np.int16]) -> NDArray[np.int16]:
    """[rows, width] interpolated table values of [rows, width] inputs."""
    within("table entries", len(table), Interval(513, 513))
    within("table", Exact(table), INT16_VALUES)
    within("input", Exact(input), INT16_VALUES)
    u = input.astype(np.int64) + 32768
    i, f = u >> 7, u & 127
    result: Exact = interpolate(Exact(table[i]), Exact(table[i + 1]), Exact(f))
    return result.to(np.int16)


def worst_case() -> Ledger:
    """The range of every intermediate: a convex combination of two entries for each fraction."""
    with record() as proven:
        for f in range(128):
            within("output", interpolate(INT16_VALUES, INT16_VALUES, f), INT16_VALUES)
    return proven
