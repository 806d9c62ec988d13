"""The arithmetic itself, element by element: the scalar reference of csrc/fixed/fixed.h.

Arguments and errors as in `pyqrt.ops`, which re-exports these functions.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from pyqrt import _ops
from pyqrt._arguments import Array, check_budget, check_range, choice, dense, like, view
from pyqrt.errors import ModelError

Polynomial = Literal["minimax", "ibert"]
POLYNOMIALS: tuple[Polynomial, ...] = ("minimax", "ibert")


def requantize(acc: Array, multiplier: Array, shift: Array) -> Array:
    """acc * multiplier * 2^-shift, one rounding, ties up: int32 of acc's shape (csrc/fixed/fixed.h).

    All int32; multiplier in [2^30, 2^31) and shift in [26, 62] broadcast to acc;
    |acc| < 2^(31 - max(0, 33 - shift)).
    """
    values = view("acc", acc, np.int32)
    factors = check_range("multiplier", view("multiplier", multiplier, np.int32), 2**30, 2**31 - 1)
    shifts = check_range("shift", view("shift", shift, np.int32), 26, 62)
    try:
        value, factor, places = (
            dense(np.broadcast_to(a, values.shape)).reshape(-1) for a in (values, factors, shifts)
        )
    except ValueError as error:
        raise ModelError(
            f"multiplier {factors.shape} and shift {shifts.shape} do not broadcast to acc {values.shape}"
        ) from error
    check_budget("acc at position", np.abs(value.astype(np.int64)), places)
    output = np.empty(value.shape, np.int32)
    _ops.requantize(value, factor, places, output)
    return like(acc, output.reshape(values.shape))


def exp2_neg(u: Array, polynomial: Polynomial = "minimax") -> Array:
    """2^-u in units of 2^-14, int16 of u's shape; u uint16 in units of 2^-12 (csrc/fixed/fixed.h).

    polynomial: "minimax", or "ibert": i-exp (Kim et al., I-BERT, 2021).
    """
    choice("polynomial", polynomial, POLYNOMIALS)
    values = view("u", u, np.uint16)
    output = np.empty(values.shape, np.int16)
    _ops.exp2_neg(dense(values).reshape(-1), polynomial, output.reshape(-1))
    return like(u, output)


def gelu_q10(z: Array, polynomial: Polynomial = "minimax") -> Array:
    """GELU in units of 2^-10, int16 of z's shape; z int16 in [-32767, 32767] (csrc/fixed/fixed.h).

    polynomial: "minimax", or "ibert": i-GELU (Kim et al., I-BERT, 2021).
    """
    choice("polynomial", polynomial, POLYNOMIALS)
    values = check_range("z", view("z", z, np.int16), -32767, 32767)
    output = np.empty(values.shape, np.int16)
    _ops.gelu_q10(dense(values).reshape(-1), polynomial, output.reshape(-1))
    return like(z, output)


def isqrt(v: Array) -> Array:
    """floor(sqrt(v)), uint64 of v's shape; v uint64 below 2^62 (csrc/fixed/fixed.h)."""
    values = check_range("v", view("v", v, np.uint64), 0, 2**62 - 1)
    output = np.empty(values.shape, np.uint64)
    _ops.isqrt(dense(values).reshape(-1), output.reshape(-1))
    return like(v, output)
