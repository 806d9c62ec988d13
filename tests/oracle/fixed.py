"""The arithmetic of `csrc/fixed` in exact integers.

Every function takes an int, an `Exact` array or an `Interval` unless it says otherwise. Names in
the budget ledger are the caller's `name` followed by the step.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.budget import budget, within
from oracle.exact import Exact, Integers, Interval, clamp

MAX_S8 = 127
MAX_S16 = 32767
INT8_VALUES = Interval.symmetric(MAX_S8)
INT16_VALUES = Interval.symmetric(MAX_S16)


def sat8(value: Integers) -> Integers:
    return clamp(value, -MAX_S8, MAX_S8)


def sat16(value: Integers) -> Integers:
    return clamp(value, -MAX_S16, MAX_S16)


def rshr(value: Integers, shift: Integers, name: str, bits: int = 32) -> Integers:
    """(value + 2^(shift-1)) >> shift, ties towards +infinity; a shift <= 0 (int only) goes left.

    The sum before the shift, or the value shifted left, must fit `bits`.
    """
    if isinstance(shift, int) and shift <= 0:
        return budget(f"{name} shifted left", value << -shift, bits)
    half = 1 << (shift - 1)
    return budget(f"{name} + half", value + half, bits) >> shift


def requantize(acc: Integers, multiplier: Integers, shift: Integers) -> Integers:
    """REQ: acc * multiplier * 2^-shift with one rounding; parameters are ints or arrays."""
    within("multiplier", multiplier, Interval(1 << 30, (1 << 31) - 1))
    within("shift", shift, Interval(26, 62))
    room = 33 - shift
    left = Exact(np.maximum(room.values, 0)) if isinstance(room, Exact) else max(0, room)
    budget("acc << left", acc << left, 32)
    rounded = rshr(acc * multiplier, shift, "acc * multiplier", 64)
    return within("requantized", rounded, Interval.symmetric(1 << 29))


def mulr(a: Integers, b: Integers) -> Integers:
    """(a * b + 2^14) >> 15 on int16 operands."""
    budget("mulr operand", a, 16)
    budget("mulr operand", b, 16)
    return (a * b + (1 << 14)) >> 15


def _ibert_exponential() -> tuple[int, ...]:
    """i-exp of the paper, a (x + b)^2 + c on x in (-ln 2, 0], in powers of f = -x / ln 2.

    Its value at 0, 1.0003, is more than the int16 unit has room for: 32764, as in the other polynomial.
    """
    a, b, c = 0.3585, 1.353, 0.344
    square, line, constant = a * math.log(2) ** 2, -2 * a * b * math.log(2), a * b * b + c
    return 0, round(square * 2**15), round(line * 2**15), min(round(constant * 2**15), 32764)


def _ibert_gelu() -> tuple[int, ...]:
    """i-GELU of the paper: erf(x) = sgn(x) (a (min(|x|, -b) + b)^2 + 1), as max(x, 0) minus a bump.

    The bump is -a / 4 |x| (|x| - end)^2 with end = -b sqrt(2); coefficients of t = |x| / 4 in units of
    2^-11, and the end in units of 2^-10.
    """
    a, b = -0.2888, -1.769
    end, height = -b * math.sqrt(2), -a / 4
    cube, square, line = height * 4**3, -2 * end * height * 4**2, end * end * height * 4
    return 0, *(round(c * 2**11) for c in (cube, square, line)), round(end * 2**10)


EXPONENTIALS = {"minimax": (-1300, 7572, -22655, 32764), "ibert": _ibert_exponential()}
GELUS = {"minimax": (-10649, 23499, -17397, 4338, 3328), "ibert": _ibert_gelu()}


def _exp2_neg(u: Exact, polynomial: str) -> Exact:
    within("exponent", u, Interval(0, 65535))
    z, f = u >> 12, Exact((u.values & 4095) << 3)
    leading, *rest = EXPONENTIALS[polynomial]
    y: Integers = Exact(np.full_like(f.values, leading))
    for term in rest:
        y = budget("polynomial", mulr(f, y) + term, 16)
    power = 1 << Exact(14 - np.minimum(z.values, 14))
    return Exact(np.where(z.values <= 14, mulr(y, power).values, 0))


def _gelu(z: Exact, polynomial: str) -> Exact:
    within("gelu input", z, INT16_VALUES)
    size = abs(z.values)
    leading, *rest, end = GELUS[polynomial]
    v = Exact(np.minimum(size, end) << 3)
    y: Integers = Exact(np.full_like(size, leading))
    for term in (*rest, 0):
        y = within("gelu polynomial", mulr(v, y) + term, Interval(-23500, 23500))
    delta = np.where(size >= end, 0, ((y + 1) >> 1).values)
    return Exact(np.maximum(z.values, 0) - delta)


@cache
def exp2_neg_table(polynomial: str = "minimax") -> NDArray[Any]:
    """E16 of every u in [0, 65535]."""
    return _exp2_neg(Exact(np.arange(65536)), polynomial).values


@cache
def gelu_table(polynomial: str = "minimax") -> NDArray[Any]:
    """GELU-K4 of every z in [-32767, 32767]; entry z + 32767."""
    return _gelu(Exact(np.arange(-MAX_S16, MAX_S16 + 1)), polynomial).values


def _tabulated(table: NDArray[Any], first: int, value: Integers) -> Integers:
    if isinstance(value, Exact):
        return Exact(table[value.values - first])
    if isinstance(value, Interval):
        part = table[value.low - first : value.high - first + 1]
        return Interval(int(part.min()), int(part.max()))
    return int(table[value - first])


def exp2_neg(u: Integers, polynomial: str = "minimax") -> Integers:
    """E16: 2^-u in units of 2^-14, u in Q4.12."""
    return _tabulated(exp2_neg_table(polynomial), 0, within("exponent", u, Interval(0, 65535)))


def gelu(z: Integers, polynomial: str = "minimax") -> Integers:
    """GELU-K4 on Q5.10."""
    return _tabulated(gelu_table(polynomial), -MAX_S16, within("gelu input", z, INT16_VALUES))


def bit_length(value: int) -> int:
    return value.bit_length()


def isqrt(value: int) -> int:
    """floor(sqrt(value)) of an int below 2^62."""
    budget("square root of", value, 62, signed=False)
    return math.isqrt(value)


def rounded_mean(total: Integers, count: int) -> Integers:
    """floor((2 total + count) / (2 count)): the mean, ties towards +infinity."""
    doubled = budget("2 sum + count", 2 * total + count, 64)
    if isinstance(doubled, Exact):
        return Exact(doubled.values // (2 * count))
    if isinstance(doubled, Interval):
        return Interval(doubled.low // (2 * count), doubled.high // (2 * count))
    return doubled // (2 * count)
