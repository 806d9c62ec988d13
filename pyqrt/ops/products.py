"""Products with weights, and of queries with keys and of probabilities with values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyqrt import _ops
from pyqrt._arguments import (
    MAX_LENGTH,
    MAX_S8,
    MAX_S16,
    MAX_S32,
    Array,
    attention_blocks,
    check_budget,
    check_range,
    choice,
    global_tokens,
    integer,
    like,
    matrix,
    per_channel,
    relative_tables,
    sequence_offsets,
    vector,
    view,
)
from pyqrt.arithmetic import POLYNOMIALS, Polynomial
from pyqrt.errors import ModelError
from pyqrt.ops.on_gpus import also_on_gpus
from pyqrt.weight_layout import BLOCK, packed_view, round_up

_EPILOGUE_DTYPE: dict[str, type[np.signedinteger[Any]]] = {
    "requantize_s8": np.int8,
    "requantize_s16": np.int16,
    "requantize_s32": np.int32,
    "gelu_s8": np.int8,
    "gelu_s16": np.int16,
    "residual_s16": np.int16,
}


@also_on_gpus
def linear(
    input: Array,
    weight: Array,
    weight_sum: Array,
    bias: Array,
    multiplier: Array,
    shift: Array,
    *,
    out_features: int,
    epilogue: str = "requantize_s8",
    zero_point: int = 0,
    pre_shift: int = 0,
    polynomial: Polynomial = "minimax",
    gelu_multiplier: Array | None = None,
    gelu_shift: int = 1,
    residual: Array | None = None,
    residual_multiplier: int = 0,
    residual_shift: int = 1,
    variant: str | None = None,
) -> Array:
    """input W^T + bias, then the epilogue; [m, n] of the epilogue's dtype (csrc/ops/linear/linear.h).

    input: int8 [m, k] in [-127, 127] or int16 [m, k] in [-32767, 32767]. weight: `pack_weight` of
    [n, k], n = out_features. Per channel, n entries or more: weight_sum int32 (the sum of the
    channel's weights), bias int32 in units of input scale * weight scale (* 2^pre_shift), and
    multiplier int32 in [2^30, 2^31) with shift int32 in [26, 62]: multiplier * 2^-shift is that
    unit over the output's. pre_shift in [0, 16], for int16 input only.
    epilogue: requantize_s8, requantize_s16, requantize_s32, gelu_s8 (input of the GELU in units of
    2^-10; with gelu_multiplier int16 and gelu_shift in [1, 30]), gelu_s16 (input and output in units
    of 2^-10) or residual_s16 (with residual int16 [m, n], residual_multiplier in [0, 32767] and
    residual_shift in [1, 30]). polynomial: of the GELU, as in `gelu`. zero_point in [-127, 127], of
    int8 outputs.
    Raises ModelError also when k and the bias could leave the accumulator's range for the shift.
    """
    rows = matrix("input", input, np.int8, np.int16)
    wide = rows.dtype == np.int16
    check_range("input", rows, *((-MAX_S16, MAX_S16) if wide else (-MAX_S8, MAX_S8)))
    m, k = rows.shape
    integer("number of columns of input", k, 1, MAX_LENGTH)
    n = integer("out_features", out_features, 1, MAX_S32)
    dtype = _EPILOGUE_DTYPE[choice("epilogue", epilogue, list(_EPILOGUE_DTYPE))]
    blocks = packed_view("weight", weight, n, k)
    check_range("weight", blocks, -MAX_S8, MAX_S8)

    padded = round_up(n, BLOCK)
    sums = per_channel("weight_sum", weight_sum, np.int32, n, padded, 0, -MAX_S32, MAX_S32)
    biases = per_channel("bias", bias, np.int32, n, padded, 0, -MAX_S32, MAX_S32)
    factors = per_channel("multiplier", multiplier, np.int32, n, padded, 2**30, 2**30, MAX_S32)
    shifts = per_channel("shift", shift, np.int32, n, padded, 33, 26, 62)
    pre_shift = integer("pre_shift", pre_shift, 0, 16 if wide else 0)
    _check_weight_sum(blocks, sums)
    _check_accumulator(k, pre_shift, wide, biases, shifts)

    gelu_factors = None
    if epilogue == "gelu_s8":
        if gelu_multiplier is None:
            raise ModelError("gelu_multiplier is missing; epilogue gelu_s8 needs it")
        wider = round_up(n, 2 * BLOCK)
        gelu_factors = per_channel("gelu_multiplier", gelu_multiplier, np.int16, n, wider, 0, 0, MAX_S16)
    skip = None
    if epilogue == "residual_s16":
        if residual is None:
            raise ModelError("residual is missing; epilogue residual_s16 needs it")
        skip = matrix("residual", residual, np.int16, rows=m, width=n)
        check_range("residual", skip, -MAX_S16, MAX_S16)

    output = np.empty((m, n), dtype)
    _ops.linear(
        input=rows,
        weight=blocks,
        weight_sum=sums,
        bias=biases,
        multiplier=factors,
        shift=shifts,
        pre_shift=pre_shift,
        epilogue=_ops.LinearEpilogue[epilogue],
        zero_point=integer("zero_point", zero_point, -MAX_S8, MAX_S8),
        polynomial=choice("polynomial", polynomial, POLYNOMIALS),
        gelu_multiplier=gelu_factors,
        gelu_shift=integer("gelu_shift", gelu_shift, 1, 30),
        residual=skip,
        residual_multiplier=integer("residual_multiplier", residual_multiplier, 0, MAX_S16),
        residual_shift=integer("residual_shift", residual_shift, 1, 30),
        output=output,
        variant=variant,
    )
    return like(input, output)


def _check_weight_sum(blocks: NDArray[np.int8], sums: NDArray[np.int32]) -> None:
    actual = blocks.sum(axis=(1, 3), dtype=np.int32).reshape(-1)
    if not np.array_equal(actual, sums):
        channel = int(np.flatnonzero(actual != sums)[0])
        raise ModelError(
            f"weight_sum[{channel}] is {sums[channel]}, but the weights of that channel add up to "
            f"{actual[channel]}; recompute it"
        )


def _check_accumulator(
    k: int, pre_shift: int, wide: bool, bias: NDArray[np.int32], shift: NDArray[np.int32]
) -> None:
    product = ((MAX_S16 * MAX_S8 * k) >> pre_shift) + 1 if wide else MAX_S8 * MAX_S8 * k
    check_budget("the accumulator of channel", np.abs(bias.astype(np.int64)) + product, shift)


@also_on_gpus
def attention(
    query: Array,
    key: Array,
    value: Array,
    offsets: Array,
    score_multiplier: Array,
    output_multiplier: Array,
    output_exponent: Array,
    *,
    zero_point: int = 0,
    polynomial: Polynomial = "minimax",
    window: int | None = None,
    global_key: bool = False,
    global_query: bool = False,
    until: int | None = None,
    after: int | None = None,
    ids: Array | None = None,
    block: int | None = None,
    block_beyond: int = 0,
    block_bias: Array | None = None,
    relative_index: Array | None = None,
    relative_bias: Array | None = None,
    relative_key: Array | None = None,
    relative_query: Array | None = None,
    variant: str | None = None,
) -> Array:
    """Fused attention over packed sequences, int8 [tokens, heads * d] (csrc/ops/attention/attention.h).

    query, key, value: int8 [tokens, heads * d] in [-127, 127], d <= 1024; column ranges of one array
    will do. offsets: int32 [sequences + 1], sequence s being tokens [offsets[s], offsets[s + 1]).
    Per head: score_multiplier int32 (> 0) or uint32, as softmax's; output_multiplier int32 in
    [2^13, 2^14) and output_exponent int32 in [-8, 16], where value scale / output scale =
    output_multiplier * 2^(output_exponent - 14). zero_point in [-127, 127]. polynomial: as softmax's.
    Tokens of no sequence get 0.

    window: a token sees those at most so far away; None: all. global_key: and the global tokens of its
    sequence, which is its first one; with until, all before the first of that id, of `ids` int32 [tokens],
    all if there is none; with after, all from the second behind the first of that id on. global_query: only
    they have queries, query being [sequences, heads * d] without until and after, [tokens, heads * d] with
    one; all other tokens get 0. block: tokens of sequences longer
    than block_beyond see blocks of so many: the first, their own and its neighbours, the last; of the first
    and the last block all. block_bias: int32 [heads], below 2^28, added to the others' scores with keys of
    the first. block is for attention without window and global tokens. relative_index: int32
    [2 R + 1], the row of the following tables for the distance i - j, clamped to [-R, R]; relative_bias:
    int32 [heads, rows], below 2^28; relative_key, relative_query: int8 [rows, heads * d].
    """
    one_query = global_query and until is None and after is None
    name, rows_of_all = ("key", key) if one_query else ("query", query)
    tokens, width = matrix(name, rows_of_all, np.int8).shape
    keys = matrix("key", key, np.int8, rows=tokens, width=width)
    values = matrix("value", value, np.int8, rows=tokens, width=width)
    ends = sequence_offsets(offsets, tokens, MAX_LENGTH)
    queries = matrix("query", query, np.int8, rows=len(ends) - 1 if one_query else tokens, width=width)
    for name, array in (("query", queries), ("key", keys), ("value", values)):
        check_range(name, array, -MAX_S8, MAX_S8)

    scores = view("score_multiplier", score_multiplier, np.int32, np.uint32)
    scores = vector("score_multiplier", scores, scores.dtype)
    check_range("score_multiplier", scores, 1, 2**32 - 1)
    heads = scores.shape[0]
    if heads == 0 or width == 0 or width % heads or width // heads > 1024:
        raise ModelError(
            f"query has {width} columns and score_multiplier {heads} heads; every head must get "
            "the same number of columns, 1 to 1024"
        )
    factors = check_range(
        "output_multiplier", vector("output_multiplier", output_multiplier, np.int32, heads), 2**13, 2**14 - 1
    )
    exponents = check_range(
        "output_exponent", vector("output_exponent", output_exponent, np.int32, heads), -8, 16
    )
    index, rows, tables = relative_tables(
        relative_index, relative_bias, relative_key, relative_query, heads, width
    )
    blocks = attention_blocks(
        block, block_beyond, block_bias, heads, window is not None or global_key or global_query
    )
    output = np.zeros((tokens, width), np.int8)
    zero = integer("zero_point", zero_point, -MAX_S8, MAX_S8)
    _ops.attention(
        queries,
        keys,
        values,
        ends,
        scores.view(np.uint32),
        factors,
        exponents,
        zero,
        choice("polynomial", polynomial, POLYNOMIALS),
        -1 if window is None else integer("window", window, 0, MAX_LENGTH),
        global_key,
        global_query,
        *global_tokens(until, after, ids, tokens),
        *blocks,
        index,
        *tables,
        rows,
        output,
        variant,
    )
    return like(query, output)
