"""Functions of every row or element alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyqrt import _ops
from pyqrt._arguments import (
    MAX_LENGTH,
    MAX_S8,
    MAX_S16,
    Array,
    check_range,
    choice,
    integer,
    layernorm_affine,
    like,
    matrix,
    vector,
)
from pyqrt.arithmetic import POLYNOMIALS, Polynomial
from pyqrt.errors import ModelError
from pyqrt.ops.on_gpus import also_on_gpus


def softmax(
    score: Array, multiplier: int, *, polynomial: Polynomial = "minimax", variant: str | None = None
) -> tuple[Array, Array, Array]:
    """Un-normalised probabilities of rows of scores: high uint8, low uint8 [rows, n], sum int32 [rows].

    score: int32 [rows, n] within (-2^30, 2^30), n <= 65536. multiplier: score scale * log2(e) *
    2^28, in [1, 2^32 - 1]. polynomial: of the exponential, "minimax" or "ibert" (i-exp of I-BERT, Kim et
    al. 2021). The probability of a score is (128 * high + low) / sum
    (csrc/ops/softmax/softmax.h).
    """
    rows = matrix("score", score, np.int32)
    check_range("score", rows, 1 - 2**30, 2**30 - 1)
    integer("number of columns of score", rows.shape[1], 0, MAX_LENGTH)
    high, low = np.empty(rows.shape, np.uint8), np.empty(rows.shape, np.uint8)
    total = np.empty(rows.shape[0], np.int32)
    factor = integer("multiplier", multiplier, 1, 2**32 - 1)
    _ops.softmax(rows, factor, choice("polynomial", polynomial, POLYNOMIALS), high, low, total, variant)
    return like(score, high), like(score, low), like(score, total)


def gelu(
    input: Array,
    multiplier: Array,
    *,
    shift: int,
    zero_point: int = 0,
    polynomial: Polynomial = "minimax",
    variant: str | None = None,
) -> Array:
    """GELU of Q5.10 values, requantized per channel: int8 [rows, n] (csrc/ops/gelu/gelu.h).

    input: int16 [rows, n] in units of 2^-10, in [-32767, 32767]. multiplier: int16 [n], not
    negative, with shift in [1, 30]: multiplier * 2^-shift is 2^-10 over the output's scale.
    zero_point in [-127, 127]. polynomial: "minimax" or "ibert" (i-GELU of I-BERT, Kim et al. 2021).
    """
    rows = check_range("input", matrix("input", input, np.int16), -MAX_S16, MAX_S16)
    factors = vector("multiplier", multiplier, np.int16, rows.shape[1])
    check_range("multiplier", factors, 0, MAX_S16)
    output = np.empty(rows.shape, np.int8)
    places = integer("shift", shift, 1, 30)
    zero = integer("zero_point", zero_point, -MAX_S8, MAX_S8)
    _ops.gelu(rows, factors, places, zero, choice("polynomial", polynomial, POLYNOMIALS), output, variant)
    return like(input, output)


@also_on_gpus
def layernorm(
    input: Array,
    *,
    epsilon: int = 0,
    normalize: bool = True,
    exact_mean: bool = False,
    gain8: Array | None = None,
    bias8: Array | None = None,
    shift8: int = 1,
    gain16: Array | None = None,
    bias16: Array | None = None,
    shift16: int = 1,
    variant: str | None = None,
) -> tuple[Array | None, Array | None]:
    """Layer normalization: (int8 or None, int16 or None), each [rows, n] (csrc/ops/layernorm/layernorm.h).

    input: int16 [rows, n] in [-32767, 32767], n in [1, 16384], any scale s. epsilon:
    n^2 * eps / s^2, in [0, 2^56]. An output is made when its gain int16 [n] in [-32767, 32767] and
    bias int32 [n] within (-2^30, 2^30) are given; with Y = 10 fraction bits (9 from n = 1025 on),
    gain is gamma / output scale * 2^(shift - Y) and bias is (beta / output scale + zero point) *
    2^shift. Shifts in [1, 30]. exact_mean: subtract the mean itself, not the nearest
    integer. Without `normalize`, gain * input + bias alone, and Y is 0.
    """
    rows = check_range("input", matrix("input", input, np.int16), -MAX_S16, MAX_S16)
    n = integer("number of columns of input", rows.shape[1], 1, 16384)
    if gain8 is None and gain16 is None:
        raise ModelError("gain8 and gain16 are both missing; give one of them, or both")

    gains8, biases8 = layernorm_affine("8", gain8, bias8, shift8, n)
    gains16, biases16 = layernorm_affine("16", gain16, bias16, shift16, n)
    output8 = None if gains8 is None else np.empty(rows.shape, np.int8)
    output16 = None if gains16 is None else np.empty(rows.shape, np.int16)
    _ops.layernorm(
        input=rows,
        epsilon=integer("epsilon", epsilon, 0, 2**56),
        normalize=bool(normalize),
        exact_mean=bool(exact_mean),
        gain8=gains8,
        bias8=biases8,
        shift8=integer("shift8", shift8, 1, 30),
        output8=output8,
        gain16=gains16,
        bias16=biases16,
        shift16=integer("shift16", shift16, 1, 30),
        output16=output16,
        variant=variant,
    )
    return (
        None if output8 is None else like(input, output8),
        None if output16 is None else like(input, output16),
    )


@also_on_gpus
def normalize(input: Array, *, variant: str | None = None) -> Array:
    """Rows over their Euclidean length, int32 [rows, width], unit 2^-30 (csrc/ops/normalize/normalize.h).

    input: int16 [rows, width] in [-32767, 32767], any scale, width in [1, 65536].
    """
    rows = check_range("input", matrix("input", input, np.int16), -MAX_S16, MAX_S16)
    integer("number of columns of input", rows.shape[1], 1, MAX_LENGTH)
    output = np.empty(rows.shape, np.int32)
    _ops.normalize(rows, output, variant)
    return like(input, output)


@also_on_gpus
def lookup(input: Array, table: Array, *, variant: str | None = None) -> Array:
    """A function of int16 by linear interpolation, int16 [rows, width] (csrc/ops/lookup/lookup.h).

    input: int16 [rows, width]; table: int16 [513], the function at -32768, -32640, ..., 32768, at
    the output's scale; both in [-32767, 32767].
    """
    rows = check_range("input", matrix("input", input, np.int16), -MAX_S16, MAX_S16)
    entries = check_range("table", vector("table", table, np.int16, 513), -MAX_S16, MAX_S16)
    output = np.empty(rows.shape, np.int16)
    _ops.lookup(rows, entries, output, variant)
    return like(input, output)


def rotary(
    input: Array,
    position: Array,
    cosine: Array,
    sine: Array,
    *,
    head_dim: int,
    shift: int,
    variant: str | None = None,
) -> Array:
    """Rotary positions of int16 to int8 [rows, heads * head_dim] (csrc/ops/rotary/rotary.h).

    input: int16 [rows, heads * head_dim]; position: int32 [rows], rows of cosine and sine, which are int16
    [positions, pairs] in units of 2^-14, pairs <= head_dim / 2. shift in [15, 24]: output scale / input
    scale = 2^(shift - 14).
    """
    rows = check_range("input", matrix("input", input, np.int16), -MAX_S16, MAX_S16)
    width = integer("head_dim", head_dim, 2, 1024)
    cosines = check_range("cosine", matrix("cosine", cosine, np.int16), -(2**14), 2**14)
    sines = matrix("sine", sine, np.int16, rows=cosines.shape[0], width=cosines.shape[1])
    check_range("sine", sines, -(2**14), 2**14)
    if rows.shape[1] % width or not 1 <= cosines.shape[1] <= width // 2:
        raise ModelError(
            f"input has {rows.shape[1]} columns, cosine {cosines.shape[1]}, head_dim is {width}: input needs "
            "a multiple of head_dim and cosine 1 to head_dim / 2"
        )
    places = vector("position", position, np.int32, rows.shape[0])
    check_range("position", places, 0, cosines.shape[0] - 1)
    output = np.empty(rows.shape, np.int8)
    tables = np.ascontiguousarray(cosines), np.ascontiguousarray(sines)
    _ops.rotary(rows, places, *tables, width, integer("shift", shift, 15, 24), output, variant)
    return like(input, output)


def multiply(
    a: Array,
    b: Array,
    multiplier: Array,
    shift: Array,
    *,
    zero_point: int | None = None,
    variant: str | None = None,
) -> Array:
    """Requantized product of int16 [rows, n] by element (csrc/ops/multiply/multiply.h).

    multiplier: int32 [n] in [2^30, 2^31); shift: int32 [n] in [32, 62]. int8 [rows, n] with a zero_point in
    [-127, 127], int16 without.
    """
    left = check_range("a", matrix("a", a, np.int16), -MAX_S16, MAX_S16)
    rows, width = left.shape
    right = matrix("b", b, np.int16, rows=rows, width=width)
    check_range("b", right, -MAX_S16, MAX_S16)
    factors = vector("multiplier", multiplier, np.int32, width)
    shifts = vector("shift", shift, np.int32, width)
    check_range("multiplier", factors, 2**30, 2**31 - 1)
    check_range("shift", shifts, 32, 62)
    output: Any = np.empty(left.shape, np.int16 if zero_point is None else np.int8)
    zero = 0 if zero_point is None else integer("zero_point", zero_point, -MAX_S8, MAX_S8)
    wide = zero_point is None
    _ops.multiply(
        left,
        right,
        factors,
        shifts,
        zero,
        None if wide else output,
        output if wide else None,
        variant,
    )
    return like(a, output)
