"""linear: csrc/ops/linear/linear.h in exact integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oracle.budget import Ledger, budget, record, within
from oracle.exact import Exact, Integers, Interval, exact
from oracle.fixed import INT8_VALUES, INT16_VALUES, gelu, requantize, rshr, sat8, sat16

Epilogue = Literal["requantize_s8", "requantize_s16", "requantize_s32", "gelu_s8", "gelu_s16", "residual_s16"]

OUTPUT_TYPE: dict[str, Any] = {
    "requantize_s8": np.int8,
    "requantize_s16": np.int16,
    "requantize_s32": np.int32,
    "gelu_s8": np.int8,
    "gelu_s16": np.int16,
    "residual_s16": np.int16,
}


def unpack_weight(packed: NDArray[np.int8], n: int, k: int) -> NDArray[np.int8]:
    """[ceil(n/16), ceil(k/4), 16, 4] blocks back to the [n, k] matrix."""
    blocks, groups = packed.shape[:2]
    weight: NDArray[np.int8] = packed.transpose(0, 2, 1, 3).reshape(blocks * 16, groups * 4)
    return weight[:n, :k]


def accumulate(total: Integers, bias: Integers, wide: bool, pre_shift: int) -> Integers:
    """The accumulator from the sum of products."""
    budget("sum of products", total, 64 if wide else 32)
    if wide:
        total = rshr(total, pre_shift, "sum of products", 64)
    return budget("acc", total + bias, 32)


def finish(
    acc: Integers,
    multiplier: Integers,
    shift: Integers,
    epilogue: str,
    zero_point: int = 0,
    gelu_multiplier: Integers = None,
    gelu_shift: int = 1,
    residual: Integers = None,
    residual_multiplier: int = 0,
    residual_shift: int = 1,
    polynomial: str = "minimax",
) -> Integers:
    """Every epilogue, from the accumulator to the output's integer."""
    r = requantize(acc, multiplier, shift)
    if epilogue == "requantize_s8":
        return sat8(budget("output before saturation", r + zero_point, 32))
    if epilogue == "requantize_s16":
        return sat16(r)
    if epilogue == "requantize_s32":
        return r
    if epilogue == "gelu_s8":
        within("gelu_multiplier", gelu_multiplier, Interval(0, 32767))
        scaled = rshr(gelu(sat16(r), polynomial) * gelu_multiplier, gelu_shift, "g * gelu_multiplier")
        return sat8(budget("output before saturation", scaled + zero_point, 32))
    if epilogue == "gelu_s16":
        return gelu(sat16(r), polynomial)
    if epilogue == "residual_s16":
        within("residual_multiplier", residual_multiplier, Interval(0, 32767))
        scaled = rshr(residual * residual_multiplier, residual_shift, "residual * multiplier")
        return sat16(budget("output before saturation", r + scaled, 32))
    raise ValueError(f"unknown epilogue {epilogue!r}")


def linear(
    input: NDArray[Any],
    weight: NDArray[np.int8],
    bias: ArrayLike,
    multiplier: ArrayLike,
    shift: ArrayLike,
    *,
    pre_shift: int = 0,
    epilogue: str = "requantize_s8",
    zero_point: int = 0,
    gelu_multiplier: ArrayLike | None = None,
    gelu_shift: int = 1,
    residual: NDArray[np.int16] | None = None,
    residual_multiplier: int = 0,
    residual_shift: int = 1,
    polynomial: str = "minimax",
) -> NDArray[Any]:
    """[m, n] outputs of [m, k] inputs (int8 or int16) and the plain [n, k] weight."""
    wide = input.dtype == np.int16
    x, w = Exact(input), Exact(weight)
    within("input", x, INT16_VALUES if wide else INT8_VALUES)
    within("weight", w, INT8_VALUES)
    total = x.matmul(Exact(w.values.T))
    acc = accumulate(total, Exact(bias), wide, pre_shift)
    result: Exact = finish(
        acc,
        Exact(multiplier),
        Exact(shift),
        epilogue,
        zero_point,
        None if gelu_multiplier is None else Exact(gelu_multiplier),
        gelu_shift,
        None if residual is None else Exact(residual),
        residual_multiplier,
        residual_shift,
        polynomial,
    )
    return result.to(OUTPUT_TYPE[epilogue])


def worst_case(
    k: int,
    bias: ArrayLike,
    multiplier: ArrayLike,
    shift: ArrayLike,
    *,
    wide: bool = False,
    pre_shift: int = 0,
    epilogue: str = "requantize_s8",
    zero_point: int = 0,
    gelu_multiplier: ArrayLike | Sequence[int] = 0,
    gelu_shift: int = 1,
    residual_multiplier: int = 0,
    residual_shift: int = 1,
    polynomial: str = "minimax",
) -> Ledger:
    """The range of every intermediate over all inputs and all weights, from parameters alone.

    Raises BudgetError when one of them can leave its type.
    """
    columns = np.broadcast_arrays(*(exact(a).values for a in (bias, multiplier, shift, gelu_multiplier)))
    total = (INT16_VALUES if wide else INT8_VALUES) * INT8_VALUES * k
    with record() as proven:
        for b, m, s, g in sorted({tuple(map(int, row)) for row in zip(*map(np.ravel, columns), strict=True)}):
            acc = accumulate(total, b, wide, pre_shift)
            skip = (INT16_VALUES, residual_multiplier, residual_shift)
            finish(acc, m, s, epilogue, zero_point, g, gelu_shift, *skip, polynomial)
    return proven
