"""rotary: csrc/ops/rotary/rotary.h in exact integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from oracle.budget import Ledger, budget, record, within
from oracle.exact import Exact, Integers, Interval
from oracle.fixed import INT16_VALUES, rshr, sat8

UNIT = 1 << 14


def narrow(left: Integers, right: Integers, shift: int) -> Integers:
    return sat8(rshr(budget("turned", left + right, 32), shift, "rounded", 32))


def rotary(
    input: NDArray[np.int16],
    position: NDArray[np.int32],
    cosine: NDArray[np.int16],
    sine: NDArray[np.int16],
    *,
    head_dim: int,
    shift: int,
) -> NDArray[np.int8]:
    """int8 [rows, heads * head_dim] of int16 inputs of that shape."""
    within("shift", shift, Interval(15, 24))
    for name, table in (("cosine", cosine), ("sine", sine)):
        within(name, Exact(table), Interval.symmetric(UNIT))
    rows, half = len(input), cosine.shape[1]
    heads = input.reshape(rows, -1, head_dim)
    a, b, rest = (Exact(part) for part in np.split(heads, [half, 2 * half], axis=2))
    c, s = (Exact(table[position][:, None, :]) for table in (cosine, sine))
    parts = [narrow(a * c, -(b * s), shift), narrow(b * c, a * s, shift), narrow(rest * UNIT, 0, shift)]
    return np.concatenate([part.to(np.int8) for part in parts], axis=2).reshape(input.shape)


def worst_case(shift: int) -> Ledger:
    """The range of every intermediate."""
    with record() as proven:
        product = INT16_VALUES * Interval.symmetric(UNIT)
        narrow(product, product, shift)
    return proven
