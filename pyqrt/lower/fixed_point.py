"""Real numbers as integers: multipliers, shifts, gains, packed weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pyqrt.errors import ModelError
from pyqrt.grids import MAX_S8, MAX_S16, Vector

MIN_SHIFT, MAX_SHIFT = 26, 62  # csrc/fixed/fixed.h
MAX_BIAS = 2**30 - 1
_BLOCK_ROWS = 256  # what is worked on at once stays in the cache


class LoweringError(ModelError):
    """The model cannot be represented in the integer program's ranges."""


def round_half_up(values: NDArray[np.floating] | float) -> NDArray[np.int64]:
    """Nearest integers, ties towards +infinity, as everywhere in the integer program."""
    return np.floor(np.asarray(values, dtype=np.float64) + 0.5).astype(np.int64)


def rows_in_s8(values: NDArray[np.floating], scale: Vector) -> NDArray[np.int8]:
    """`values` [n, k] over the scale [n] of their row, rounded half up and saturated at +-127."""
    integers = np.empty(values.shape, np.int8)
    for begin in range(0, len(values), _BLOCK_ROWS):
        rows = slice(begin, begin + _BLOCK_ROWS)
        block = values[rows] / scale[rows, None]
        np.floor(block + 0.5, out=block)
        integers[rows] = np.clip(block, -MAX_S8, MAX_S8, out=block)
    return integers


def multiplier_and_shift(ratio: Vector) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`ratio` [n] > 0 as ``multiplier * 2^-shift``, multiplier in [2^30, 2^31), shift in [26, 62].

    A ratio below 2^-32 becomes 2^-32, which rounds every int32 accumulator below 2^31 to 0 or +-1.
    Raises LoweringError for a ratio of 32 or more.
    """
    mantissa, exponent = np.frexp(np.maximum(ratio, 2.0**-32))
    multiplier = round_half_up(mantissa * 2.0**31)
    exponent = exponent + (multiplier == 2**31)
    multiplier = np.where(multiplier == 2**31, 2**30, multiplier)
    shift = 31 - exponent
    if (shift < MIN_SHIFT).any():
        raise LoweringError(
            f"a rescaling factor of {float(ratio.max()):.3g} is not below 32: the output's scale is far "
            "finer than the accumulator's"
        )
    return multiplier.astype(np.int32), shift.astype(np.int32)


def small_multipliers(ratio: Vector) -> tuple[NDArray[np.int16], int]:
    """`ratio` [n] >= 0 as ``multiplier[c] * 2^-shift`` with int16 multipliers and one shift in [1, 30]."""
    for shift in range(30, 0, -1):
        if round_half_up(ratio.max() * 2.0**shift) <= MAX_S16:
            return round_half_up(ratio * 2.0**shift).astype(np.int16), shift
    raise LoweringError(f"a factor of {float(ratio.max()):.3g} exceeds what int16 multipliers hold, 16383")


def gain_and_bias(gain: Vector, bias: Vector) -> tuple[NDArray[np.int16], NDArray[np.int32], int]:
    """``y * gain + bias`` [n] as ``rshr(y * G + B, shift)``: the largest shift that the ranges allow.

    G is int16, |B| < 2^30, and the sum fits int32 for every int16 y.
    """
    extremes = np.array([[x.min(), x.max()] for x in (gain, bias)])
    for shift in range(30, 0, -1):
        largest_gain, largest_bias = np.abs(round_half_up(extremes * 2.0**shift)).max(axis=1).tolist()
        worst = MAX_S16 * largest_gain + largest_bias + 2 ** (shift - 1)
        if largest_gain <= MAX_S16 and largest_bias <= MAX_BIAS and worst < 2**31:
            integer_gain, integer_bias = (round_half_up(x * 2.0**shift) for x in (gain, bias))
            return integer_gain.astype(np.int16), integer_bias.astype(np.int32), shift
    raise LoweringError(
        f"a layer norm's gain {float(np.abs(gain).max()):.3g} or offset {float(np.abs(bias).max()):.3g} "
        "exceeds what int16 and int32 hold; check the weights"
    )
