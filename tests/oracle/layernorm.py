"""layernorm: csrc/ops/layernorm/layernorm.h in exact integers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oracle.budget import Ledger, budget, record, within
from oracle.exact import Exact, Integers, Interval, exact
from oracle.fixed import INT16_VALUES, MAX_S16, bit_length, isqrt, rounded_mean, rshr, sat8, sat16


def fraction_bits(n: int) -> int:
    return 10 if n <= 1024 else 9


def inverse_deviation(spread: int, n: int) -> tuple[int, int, int]:
    """e, i and k of N = spread > 0."""
    e = (bit_length(spread) + 1) // 2
    within("e", e, Interval(1, 30))
    root = within("r", isqrt(spread << 2 * (31 - e)), Interval(1 << 30, (1 << 31) - 1))
    inv = budget("inv", budget("n * 2^46", n << 46, 63, signed=False) // root, 31, signed=False)
    k = bit_length(inv) - 14
    i = rshr(inv, k, "inv", 64)
    if i == 1 << 14:
        i, k = 1 << 13, k + 1
    return e, within("i", i, Interval(1 << 13, (1 << 14) - 1)), k


def normalise(centred: Integers, n: int, e: int, k: int) -> Integers:
    """y from q * i - c."""
    budget("q * i - c", centred, 32)
    shift = within("y shift", 15 - fraction_bits(n) + e - k, Interval(-10, 31))
    return sat16(budget("y before saturation", rshr(centred, shift, "q * i - c"), 32))


def affine(y: Integers, gain: Integers, bias: Integers, shift: int) -> Integers:
    """One output before its saturation."""
    within("gain", gain, INT16_VALUES)
    within("bias", bias, Interval.symmetric((1 << 30) - 1))
    within("shift", shift, Interval(1, 30))
    return rshr(budget("y * gain + bias", y * gain + bias, 32), shift, "y * gain + bias")


def normalised_rows(input: NDArray[np.int16], epsilon: int, exact_mean: bool) -> Exact:
    """y [rows, n]."""
    rows, n = input.shape
    within("n", n, Interval(1, 16384))
    within("epsilon", epsilon, Interval(0, 1 << 56))
    within("input", Exact(input), INT16_VALUES)
    y = np.zeros((rows, n), np.int64)
    for row in range(rows):
        q = Exact(input[row])
        s1 = budget("S1", q.sum(0), 32).extent().low
        s2 = budget("S2", (q * q).sum(0), 64).extent().low
        budget("n * S2", n * s2, 64)
        spread = budget("N", n * s2 - s1 * s1 + epsilon, 63, signed=False)
        if spread:
            e, i, k = inverse_deviation(spread, n)
            center = (
                rounded_mean(budget("S1 * i", s1 * i, 44), n)
                if exact_mean
                else within("mu", rounded_mean(s1, n), INT16_VALUES) * i
            )
            y[row] = normalise(budget("q * i", q * i, 30) - budget("c", center, 30), n, e, k).values
    return Exact(y)


def layernorm(
    input: NDArray[np.int16],
    *,
    epsilon: int = 0,
    normalize: bool = True,
    exact_mean: bool = False,
    gain8: ArrayLike | None = None,
    bias8: ArrayLike | None = None,
    shift8: int = 1,
    gain16: ArrayLike | None = None,
    bias16: ArrayLike | None = None,
    shift16: int = 1,
) -> tuple[NDArray[np.int8] | None, NDArray[np.int16] | None]:
    """The int8 and int16 outputs [rows, n]; None where no gain is given."""
    y = normalised_rows(input, epsilon, exact_mean) if normalize else Exact(input)
    out8 = out16 = None
    if gain8 is not None:
        out8 = sat8(affine(y, exact(gain8), exact(bias8), shift8)).to(np.int8)
    if gain16 is not None:
        out16 = sat16(affine(y, exact(gain16), exact(bias16), shift16)).to(np.int16)
    return out8, out16


def _most_variable(n: int) -> int:
    """The largest n S2 - S1^2, the sum over pairs of (q_a - q_b)^2: half the values at either end."""
    return (n // 2) * ((n + 1) // 2) * (2 * MAX_S16) ** 2


def _buckets(n: int, epsilon: int) -> Iterator[tuple[Interval, int]]:
    """All positive values N takes, cut by e, with the largest N - epsilon of the bucket.

    n S2 - S1^2 is 0, or at least n - 1 (one value off by one).
    """
    if epsilon:
        yield Interval(epsilon, epsilon), 0
    least, most = n - 1, _most_variable(n)
    for e in range(1, 31):
        low, high = max(1 << (2 * e - 2), least + epsilon), min((1 << 2 * e) - 1, most + epsilon)
        if n > 1 and low <= high:
            yield Interval(low, high), high - epsilon


def _worst_normalisation(n: int, epsilon: int, exact_mean: bool) -> None:
    """The ranges up to y.

    |q - mean| <= sqrt((N - epsilon)(n - 1)) / n for every element of a row (Samuelson), so the
    deviations are bounded together with N, one power of four at a time; k falls as N rises, and
    each value it takes inside a bucket is taken with the extremes of i.
    """
    within("n", n, Interval(1, 16384))
    within("epsilon", epsilon, Interval(0, 1 << 56))
    budget("S1", INT16_VALUES * n, 32)
    budget("S2", Interval(0, MAX_S16**2 * n), 64)
    budget("n * S2", Interval(0, MAX_S16**2 * n * n), 64)
    largest_i = (1 << 14) - 1
    budget("c", INT16_VALUES * largest_i, 30)
    budget("q * i", INT16_VALUES * largest_i, 30)
    rounded_mean(budget("S1 * i", INT16_VALUES * n * largest_i, 44) if exact_mean else INT16_VALUES * n, n)
    budget("N", Interval(epsilon, epsilon + _most_variable(n)), 63, signed=False)
    for spread, variable in _buckets(n, epsilon):
        # mu is within 1/2 of the mean, c of mean * i; a constant row has no deviation at all.
        reach = (2 * (math.isqrt(variable * (n - 1)) + 1) + n) // (2 * n) if variable else 0
        deviation = Interval.symmetric(min(2 * MAX_S16, reach))
        (e, i_high, k_high), (_, i_low, k_low) = (
            inverse_deviation(spread.low, n),
            inverse_deviation(spread.high, n),
        )
        for k in range(k_low, k_high + 1):
            i = Interval(i_low if k == k_low else 1 << 13, i_high if k == k_high else (1 << 14) - 1)
            centred = deviation * within("i", i, Interval(1 << 13, (1 << 14) - 1))
            if exact_mean and variable:
                product = math.isqrt(variable * (n - 1) * i.high**2) // n
                centred = Interval.symmetric(min(2 * MAX_S16 * i.high, product) + 1)
            normalise(centred, n, e, k)


def worst_case(
    n: int,
    epsilon: int,
    *,
    normalize: bool = True,
    exact_mean: bool = False,
    gain8: ArrayLike | None = None,
    bias8: ArrayLike | None = None,
    shift8: int = 1,
    gain16: ArrayLike | None = None,
    bias16: ArrayLike | None = None,
    shift16: int = 1,
) -> Ledger:
    """The range of every intermediate over all rows."""
    with record() as proven:
        if normalize:
            _worst_normalisation(n, epsilon, exact_mean)
        for gain, bias, shift in ((gain8, bias8, shift8), (gain16, bias16, shift16)):
            if gain is not None:
                pairs: Any = zip(np.ravel(gain), np.ravel(bias), strict=True)  # type: ignore[arg-type]
                for g, b in sorted({(int(g), int(b)) for g, b in pairs}):
                    affine(INT16_VALUES, g, b, shift)
    return proven
