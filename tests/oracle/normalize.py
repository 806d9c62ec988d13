"""normalize: csrc/ops/normalize/normalize.h in exact integers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from oracle.budget import Ledger, budget, record, within
from oracle.exact import Exact, Integers, Interval, clamp
from oracle.fixed import INT16_VALUES, MAX_S16, bit_length, isqrt, rshr

ONE = 1 << 30


def inverse_length(square: int) -> tuple[int, int]:
    """e and inv of N = square > 0."""
    e = (bit_length(square) + 1) // 2
    root = within("r", isqrt(square << 2 * (31 - e)), Interval(1 << 30, (1 << 31) - 1))
    return e, within("inv", (1 << 61) // root, Interval(1 << 30, 1 << 31))


def scale(x: Integers, inv: Integers, e: int) -> Integers:
    product = budget("x * inv", x * inv, 47)
    return clamp(budget("output before clamp", rshr(product, e, "x * inv", 64), 32), -ONE, ONE)


def normalize(input: NDArray[np.int16]) -> NDArray[np.int32]:
    """[rows, width] unit vectors in Q1.30; zero rows stay zero."""
    rows, n = input.shape
    within("n", n, Interval(1, 65536))
    within("input", Exact(input), INT16_VALUES)
    output = np.zeros((rows, n), np.int32)
    for row in range(rows):
        x = Exact(input[row])
        square = budget("N", (x * x).sum(0), 46, signed=False).extent().low
        if square:
            e, inv = inverse_length(square)
            output[row] = scale(x, inv, e).to(np.int32)
    return output


def worst_case(n: int) -> Ledger:
    """The range of every intermediate over all rows; |x| <= sqrt(N) ties the last product to N."""
    with record() as proven:
        within("n", n, Interval(1, 65536))
        most = MAX_S16**2 * n
        for e in range(1, (bit_length(most) + 1) // 2 + 1):
            square = budget("N", Interval(1 << (2 * e - 2), min((1 << 2 * e) - 1, most)), 46, signed=False)
            (_, highest), (_, lowest) = inverse_length(square.low), inverse_length(square.high)
            x = Interval.symmetric(min(MAX_S16, math.isqrt(square.high)))
            scale(x, Interval(lowest, highest), e)
    return proven
