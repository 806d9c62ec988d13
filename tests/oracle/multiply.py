"""multiply: csrc/ops/multiply/multiply.h in exact integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oracle.budget import Ledger, budget, record, within
from oracle.exact import Exact, Interval
from oracle.fixed import INT16_VALUES, requantize, sat8, sat16


def multiply(
    a: NDArray[np.int16],
    b: NDArray[np.int16],
    multiplier: ArrayLike,
    shift: ArrayLike,
    *,
    zero_point: int | None = None,
) -> NDArray[np.int8] | NDArray[np.int16]:
    """[rows, n] products: int8 with a zero point, else int16."""
    within("shift", Exact(np.asarray(shift)), Interval(32, 62))
    product = budget("product", Exact(a) * Exact(b), 31)
    r = requantize(product, Exact(np.asarray(multiplier)), Exact(np.asarray(shift)))
    if zero_point is None:
        wide: Exact = sat16(r)
        return wide.to(np.int16)
    narrow: Exact = sat8(r + zero_point)
    return narrow.to(np.int8)


def worst_case() -> Ledger:
    """The range of every intermediate: of all multipliers and shifts, the largest and the least."""
    with record() as proven:
        product = budget("product", INT16_VALUES * INT16_VALUES, 31)
        requantize(product, 2**31 - 1, 32)
    return proven
