"""softmax: csrc/ops/softmax/softmax.h in exact integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.budget import Ledger, budget, record, within
from oracle.exact import Exact, Integers, Interval, clamp
from oracle.fixed import exp2_neg

MAX_P = 16382  # exp2_neg(0)


def exponent(below: Integers, multiplier: int) -> Integers:
    """u from the distance below the row's maximum."""
    within("score multiplier", multiplier, Interval(1, 2**32 - 1))
    limit = (2**32 - 1) // multiplier
    budget("max - score", below, 32, signed=False)
    scaled = budget("distance * multiplier", clamp(below, 0, limit) * multiplier, 32, signed=False)
    return budget("u", scaled >> 16, 16, signed=False)


def probabilities(score: Exact, multiplier: int, polynomial: str = "minimax") -> tuple[Exact, Exact]:
    """P [rows, n] and its row sums [rows], for n >= 1."""
    within("score", score, Interval.symmetric(2**30 - 1))
    top = Exact(score.values.max(axis=1, keepdims=True))
    p = within("P", exp2_neg(exponent(top - score, multiplier), polynomial), Interval(0, MAX_P))
    return p, budget("sum", p.sum(axis=1), 31, signed=False)


def softmax(
    score: NDArray[np.int32], multiplier: int, *, polynomial: str = "minimax"
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int32]]:
    """The planes high and low [rows, n] and the sums [rows] of [rows, n] scores."""
    rows, n = score.shape
    if n == 0:
        return np.zeros((rows, 0), np.uint8), np.zeros((rows, 0), np.uint8), np.zeros(rows, np.int32)
    p, total = probabilities(Exact(score), multiplier, polynomial)
    high, low = p >> 7, Exact(p.values & 127)
    return high.to(np.uint8), low.to(np.uint8), total.to(np.int32)


def worst_case(n: int, multiplier: int, limit: int = 2**30 - 1, *, polynomial: str = "minimax") -> Ledger:
    """The range of every intermediate for rows of up to `n` scores within +-limit."""
    with record() as proven:
        within("score", Interval.symmetric(limit), Interval.symmetric(2**30 - 1))
        u = exponent(Interval(0, 2 * limit), multiplier)
        p = within("P", exp2_neg(u, polynomial), Interval(0, MAX_P))
        budget("sum", interval_sum(p, n), 31, signed=False)
    return proven


def interval_sum(p: Any, n: int) -> Interval:
    """The row sum of up to `n` probabilities, of which the maximum is always MAX_P."""
    return Interval(MAX_P, MAX_P + (n - 1) * p.high)
