"""gelu: csrc/ops/gelu/gelu.h in exact integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oracle import fixed
from oracle.budget import Ledger, budget, record, within
from oracle.exact import Exact, Integers, Interval
from oracle.fixed import INT16_VALUES, rshr, sat8


def formula(
    x: Integers, multiplier: Integers, shift: int, zero_point: int, polynomial: str = "minimax"
) -> Integers:
    within("multiplier", multiplier, Interval(0, 32767))
    product = budget("g * multiplier", fixed.gelu(x, polynomial) * multiplier, 31)
    scaled = rshr(product, shift, "g * multiplier")
    return sat8(budget("output before saturation", scaled + zero_point, 32))


def gelu(
    input: NDArray[np.int16],
    multiplier: ArrayLike,
    *,
    shift: int,
    zero_point: int = 0,
    polynomial: str = "minimax",
) -> NDArray[np.int8]:
    """[rows, n] outputs of [rows, n] inputs in Q5.10."""
    result: Exact = formula(Exact(input), Exact(multiplier), shift, zero_point, polynomial)
    return result.to(np.int8)


def worst_case(multiplier: ArrayLike, shift: int, zero_point: int = 0, polynomial: str = "minimax") -> Ledger:
    """The range of every intermediate over all inputs."""
    with record() as proven:
        for m in sorted({int(m) for m in np.ravel(multiplier)}):
            formula(INT16_VALUES, m, shift, zero_point, polynomial)
    return proven
