"""Linear layers: weights to int8, biases to the accumulator's scale, ratios to multipliers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyqrt.arithmetic import Polynomial
from pyqrt.grids import GELU_SCALE, MAX_S8, MAX_S16, Grid, Vector
from pyqrt.lower.builder import ProgramBuilder, Tensor
from pyqrt.lower.fixed_point import (
    LoweringError,
    multiplier_and_shift,
    round_half_up,
    rows_in_s8,
    small_multipliers,
)
from pyqrt.ops import pack_weight
from pyqrt.program import Rows

_BLOCK = 16
_BIAS_LIMIT = 2.0**28  # of a bias in accumulator units
_SUM_BITS = 29  # of the sum of int16 products once shifted


@dataclass(frozen=True)
class IntegerInput:
    """What a linear layer reads: a buffer, and the real numbers its integers stand for.

    grid: of int8 values; a float is the scale of int16 values.
    """

    buffer: int
    grid: Grid | float


@dataclass(frozen=True)
class IntegerLinear:
    """An affine map on integers: ``real[j] = scale[j] * (sum_k w[j,k] q[k] >> pre_shift + bias[j])``."""

    weight: NDArray[np.int8]  # [n, k]
    bias: NDArray[np.int64]  # [n], with the input's zero point folded in
    scale: Vector  # [n]
    pre_shift: int
    worst_sum: int  # magnitude of the shifted sum that no input exceeds


def polynomial_attribute(polynomial: Polynomial) -> dict[str, int | str]:
    """The attribute `polynomial` of a node; the default is left out."""
    return {} if polynomial == "minimax" else {"polynomial": polynomial}


def quantize_linear(weight: Vector, bias: Vector, source: Grid | float) -> IntegerLinear:
    """Rounds ``weight @ x + bias`` (weight [n, k]) to int8 weights with one scale per output channel.

    The input's per-channel scales go into the weights before rounding; its shifts and zero point
    into the bias. A channel's weight scale is at least what keeps its bias below 2^28 units.
    """
    if isinstance(source, Grid):
        folded, offset, pre_shift = weight * source.scale, (weight * source.shift).sum(axis=1), 0
        worst_sum = MAX_S8 * MAX_S8 * weight.shape[1]
    else:
        folded, offset = weight * source, np.zeros(len(weight))
        worst = MAX_S16 * MAX_S8 * weight.shape[1]
        pre_shift = max(0, worst.bit_length() - _SUM_BITS)
        worst_sum = (worst >> pre_shift) + 1
    unit = 2.0**pre_shift
    real_bias = bias + offset
    scale = np.maximum(
        np.abs(folded).max(axis=1) / MAX_S8,
        np.maximum(np.abs(real_bias) / (_BIAS_LIMIT * unit), 1e-30),
    )
    integers = rows_in_s8(folded, scale)
    integer_bias = round_half_up(real_bias / (scale * unit))
    if isinstance(source, Grid):
        integer_bias -= source.zero_point * integers.sum(axis=1, dtype=np.int64)
    return IntegerLinear(integers, integer_bias, scale * unit, pre_shift, worst_sum)


def add_linear(
    builder: ProgramBuilder,
    name: str,
    source: IntegerInput,
    linear: IntegerLinear,
    output_scale: Vector,
    epilogue: str,
    dtype: str,
    *,
    zero_point: int = 0,
    attributes: dict[str, int | str] | None = None,
    tensors: dict[str, Tensor] | None = None,
    residual: tuple[int, ...] = (),
) -> int:
    """Appends a linear node whose accumulators are rescaled to `output_scale` [n]; its output buffer."""
    n, k = linear.weight.shape
    rows: Rows = builder.spec(source.buffer).rows
    multiplier, shift = multiplier_and_shift(linear.scale / output_scale)
    _check_accumulator(name, linear, shift)
    output = builder.buffer(dtype, rows, n)  # type: ignore[arg-type]
    blocks = -n % _BLOCK
    builder.node(
        "linear",
        name,
        (source.buffer, *residual),
        (output,),
        {
            "epilogue": epilogue,
            "in_features": k,
            "out_features": n,
            "pre_shift": linear.pre_shift,
            "zero_point": zero_point,
            **(attributes or {}),
        },
        {
            "weight": pack_weight(linear.weight),
            "weight_sum": np.pad(linear.weight.sum(axis=1, dtype=np.int32), (0, blocks)),
            "bias": np.pad(linear.bias, (0, blocks)).astype(np.int32),
            "multiplier": np.pad(multiplier, (0, blocks), constant_values=2**30),
            "shift": np.pad(shift, (0, blocks), constant_values=33),
            **(tensors or {}),
        },
    )
    return output


def _check_accumulator(name: str, linear: IntegerLinear, shift: NDArray[np.int32]) -> None:
    """The bit budget that the loader checks again (csrc/ops/linear/linear.h)."""
    left = np.maximum(0, 33 - shift.astype(np.int64))
    if ((linear.worst_sum + np.abs(linear.bias)) << left >= 2**31).any():
        raise LoweringError(
            f"{name}: the accumulator of {linear.weight.shape[1]} products does not fit "
            "32 bits at the output's scale: on the calibration texts the output's range is too small for its "
            "input's; calibrate on more texts, like those the model is used on"
        )


def requantize_s8(
    builder: ProgramBuilder,
    name: str,
    source: IntegerInput,
    weight: Vector,
    bias: Vector,
    grid: Grid,
) -> int:
    """``weight @ x + bias`` on `grid`, as int8; the output buffer."""
    linear = quantize_linear(weight, bias - grid.shift, source.grid)
    return add_linear(
        builder, name, source, linear, grid.scale, "requantize_s8", "s8", zero_point=grid.zero_point
    )


def requantize_s16(
    builder: ProgramBuilder,
    name: str,
    source: IntegerInput,
    weight: Vector,
    bias: Vector,
    scale: float | Vector,
) -> int:
    """``weight @ x + bias`` as int16 of `scale`, one or one for each channel; the output buffer."""
    linear = quantize_linear(weight, bias, source.grid)
    scales = np.broadcast_to(scale, len(bias))
    return add_linear(builder, name, source, linear, scales, "requantize_s16", "s16")


def logits_s32(
    builder: ProgramBuilder, name: str, source: IntegerInput, weight: Vector, bias: Vector
) -> tuple[int, float]:
    """``weight @ x + bias`` as int32 of one scale for all channels, which nothing can saturate."""
    linear = quantize_linear(weight, bias, source.grid)
    scale = float(linear.scale.max()) * 8
    output = add_linear(builder, name, source, linear, np.full(len(bias), scale), "requantize_s32", "s32")
    return output, scale


def gelu_s8(
    builder: ProgramBuilder,
    name: str,
    source: IntegerInput,
    weight: Vector,
    bias: Vector,
    grid: Grid,
    polynomial: Polynomial,
) -> int:
    """GELU of ``weight @ x + bias`` on `grid` (whose shift must be 0), as int8; the output buffer."""
    linear = quantize_linear(weight, bias, source.grid)
    multiplier, shift = small_multipliers(GELU_SCALE / grid.scale)
    return add_linear(
        builder,
        name,
        source,
        linear,
        np.full(len(bias), GELU_SCALE),
        "gelu_s8",
        "s8",
        zero_point=grid.zero_point,
        attributes={"gelu_shift": shift, **polynomial_attribute(polynomial)},
        tensors={"gelu_multiplier": np.pad(multiplier, (0, -len(multiplier) % 32))},
    )


def gelu_s16(
    builder: ProgramBuilder,
    name: str,
    source: IntegerInput,
    weight: Vector,
    bias: Vector,
    polynomial: Polynomial,
) -> int:
    """GELU of ``weight @ x + bias`` as int16 of GELU_SCALE; the output buffer."""
    linear = quantize_linear(weight, bias, source.grid)
    return add_linear(
        builder,
        name,
        source,
        linear,
        np.full(len(bias), GELU_SCALE),
        "gelu_s16",
        "s16",
        attributes=polynomial_attribute(polynomial),
    )


def residual_s16(
    builder: ProgramBuilder,
    name: str,
    source: IntegerInput,
    weight: Vector,
    bias: Vector,
    residual: tuple[int, float],
    scale: float,
) -> int:
    """``weight @ x + bias + residual`` as int16 of `scale`; residual: (buffer, its scale)."""
    linear = quantize_linear(weight, bias, source.grid)
    buffer, residual_scale = residual
    multiplier, shift = small_multipliers(np.array([residual_scale / scale]))
    return add_linear(
        builder,
        name,
        source,
        linear,
        np.full(len(bias), scale),
        "residual_s16",
        "s16",
        attributes={"residual_multiplier": int(multiplier[0]), "residual_shift": shift},
        residual=(buffer,),
    )
