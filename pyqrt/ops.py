"""Single integer kernels over DLPack: what the runtime executes, one op at a time.

For tests, and for quantization-aware training, whose forward pass calls these very kernels. Every
function reads numpy arrays or torch CPU tensors in place (exact dtype, dense rows, any row stride)
and returns the kind of array its first argument is. linear, attention, layernorm, embedding, pool,
normalize and lookup take CUDA tensors too, and run where these are (`pyqrt.gpu_ops`). The arithmetic is
written down in the headers named below; csrc/fixed/README.md derives it. Every variant returns the same
bytes.

`variant` names an instruction set, such as "reference" or "avx2" (`variants`). None takes the best that
this CPU runs, or at most the one that the environment variable PYQRT_FORCE_ISA names.

All functions raise ModelError for a shape, value or variant outside the contract and TypeError
for a wrong dtype; the message names the argument and the limit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from pyqrt import _ops, _runtime, gpu_ops
from pyqrt._arguments import (
    MAX_S8,
    MAX_S16,
    MAX_S32,
    POOL_KINDS,
    Array,
    attention_blocks,
    check_budget,
    check_range,
    choice,
    global_tokens,
    integer,
    layernorm_affine,
    like,
    matrix,
    per_channel,
    relative_tables,
    sequence_offsets,
    token_ids,
    vector,
    view,
)
from pyqrt.arithmetic import POLYNOMIALS, Polynomial, exp2_neg, gelu_q10, isqrt, requantize
from pyqrt.errors import ModelError
from pyqrt.weight_layout import BLOCK, pack_weight, packed_view, round_up, unpack_weight

__all__ = [
    "attention",
    "embedding",
    "exp2_neg",
    "gelu",
    "gelu_q10",
    "isqrt",
    "layernorm",
    "linear",
    "lookup",
    "match",
    "neighbours",
    "normalize",
    "pack_weight",
    "pool",
    "requantize",
    "softmax",
    "unpack_weight",
    "variants",
]

_MAX_LENGTH = 65536

_EPILOGUE_DTYPE: dict[str, type[np.signedinteger[Any]]] = {
    "requantize_s8": np.int8,
    "requantize_s16": np.int16,
    "requantize_s32": np.int32,
    "gelu_s8": np.int8,
    "gelu_s16": np.int16,
    "residual_s16": np.int16,
}


_Op = TypeVar("_Op", bound=Callable[..., Any])


def _also_on_gpus(function: _Op) -> _Op:
    """Calls the function of that name in `gpu_ops` where the first array is a CUDA tensor."""

    @functools.wraps(function)
    def chosen(*arguments: Any, **named: Any) -> Any:
        first = next(iter((*arguments, *named.values())), None)
        array = first[0][0] if isinstance(first, Sequence) and first else first
        where = getattr(gpu_ops, function.__name__) if gpu_ops.on_gpu(array) else function
        return where(*arguments, **named)

    return cast(_Op, chosen)


def variants(op: str) -> list[str]:
    """Names of the variants of `op` that this CPU runs, best first; "reference" is always last.

    `op` is one of linear, attention, softmax, gelu, layernorm, embedding, pool, normalize,
        lookup, rotary, multiply, neighbours, match.
    """
    kernels = _ops.kernels()
    supported = {isa["name"] for isa in _runtime.isas() if isa["supported"]}
    return [name for name in kernels[choice("op", op, list(kernels))] if name in supported]


@_also_on_gpus
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
    integer("number of columns of input", k, 1, _MAX_LENGTH)
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
    integer("number of columns of score", rows.shape[1], 0, _MAX_LENGTH)
    high, low = np.empty(rows.shape, np.uint8), np.empty(rows.shape, np.uint8)
    total = np.empty(rows.shape[0], np.int32)
    factor = integer("multiplier", multiplier, 1, 2**32 - 1)
    _ops.softmax(rows, factor, choice("polynomial", polynomial, POLYNOMIALS), high, low, total, variant)
    return like(score, high), like(score, low), like(score, total)


@_also_on_gpus
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
    ends = sequence_offsets(offsets, tokens, _MAX_LENGTH)
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
        -1 if window is None else integer("window", window, 0, _MAX_LENGTH),
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


@_also_on_gpus
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


@_also_on_gpus
def embedding(
    tables: Sequence[tuple[Array, Array, Array]], *, shift: int, variant: str | None = None
) -> Array:
    """The sum of rows of 1 to 4 tables, int16 [rows, width] (csrc/ops/embedding/embedding.h).

    A table is (data int8 [entries, width] in [-127, 127], multiplier int16 [entries], not negative,
    index int32 [rows] in [0, entries)). multiplier * 2^-shift, shift in [1, 30], is the scale of a
    table's row over the output's.
    """
    integer("number of tables", len(tables), 1, 4)
    data: list[NDArray[Any]] = []
    multipliers: list[NDArray[Any]] = []
    indices: list[NDArray[Any]] = []
    for t, (table, multiplier, index) in enumerate(tables):
        width = data[0].shape[1] if data else None
        rows = np.ascontiguousarray(matrix(f"data of table {t}", table, np.int8, width=width))
        data.append(check_range(f"data of table {t}", rows, -MAX_S8, MAX_S8))
        factors = vector(f"multiplier of table {t}", multiplier, np.int16, rows.shape[0])
        multipliers.append(check_range(f"multiplier of table {t}", factors, 0, MAX_S16))
        count = indices[0].shape[0] if indices else None
        numbers = vector(f"index of table {t}", index, np.int32, count)
        indices.append(check_range(f"index of table {t}", numbers, 0, rows.shape[0] - 1))
    output = np.empty((indices[0].shape[0], data[0].shape[1]), np.int16)
    _ops.embedding(data, multipliers, indices, integer("shift", shift, 1, 30), output, variant)
    return like(tables[0][0], output)


@_also_on_gpus
def pool(
    input: Array,
    offsets: Array,
    *,
    kind: str = "mean",
    ids: Array | None = None,
    token: int = 0,
    variant: str | None = None,
) -> Array:
    """One row per sequence at the same scale, int16 [sequences, width] (csrc/ops/pool/pool.h).

    input: int16 [tokens, width] in [-32767, 32767]. offsets: int32 [sequences + 1]. kind: "mean" of
    the tokens, rounded, the "first" or "last" token, the "max" of every column, or the first "token" whose
    id, of `ids` int32 [tokens], is `token`, the first of all if none is. An empty sequence gives zeros.
    """
    rows = check_range("input", matrix("input", input, np.int16), -MAX_S16, MAX_S16)
    ends = sequence_offsets(offsets, rows.shape[0], _MAX_LENGTH)
    output = np.empty((ends.shape[0] - 1, rows.shape[1]), np.int16)
    chosen = _ops.PoolKind[choice("kind", kind, POOL_KINDS)]
    numbers = token_ids(ids, rows.shape[0], "kind 'token'") if kind == "token" else None
    _ops.pool(rows, ends, chosen, numbers, integer("token", token, 0, MAX_S32), output, variant)
    return like(input, output)


def neighbours(input: Array, offsets: Array, *, reach: int = 1, variant: str | None = None) -> Array:
    """Every row beside those around it in its sequence (csrc/ops/neighbours/neighbours.h).

    input: int16 [tokens, width]. offsets: int32 [sequences + 1]. reach: in [1, 16]. int16 [tokens,
    (2 reach + 1) width]: the rows `reach` after to `reach` before a token, zeros beyond its sequence. Rows of
    no sequence are zero.
    """
    rows = matrix("input", input, np.int16)
    ends = sequence_offsets(offsets, rows.shape[0], _MAX_LENGTH)
    blocks = 2 * integer("reach", reach, 1, 16) + 1
    output = np.zeros((rows.shape[0], blocks * rows.shape[1]), np.int16)
    _ops.neighbours(rows, ends, reach, output, variant)
    return like(input, output)


def match(tokens: Array, rows: Array, offsets: Array, *, shift: int, variant: str | None = None) -> Array:
    """The product of every token's row with its sequence's, int32 [tokens] (csrc/ops/match/match.h).

    tokens: int16 [tokens, width], rows: int16 [sequences, width], in [-32767, 32767]. offsets: int32
    [sequences + 1]. shift: in [1, 16], width at most 2^shift; sums lose so many bits, rounded. Tokens of no
    sequence give 0.
    """
    of_tokens = check_range("tokens", matrix("tokens", tokens, np.int16), -MAX_S16, MAX_S16)
    width = of_tokens.shape[1]
    of_sequences = check_range("rows", matrix("rows", rows, np.int16, width=width), -MAX_S16, MAX_S16)
    ends = sequence_offsets(offsets, of_tokens.shape[0], _MAX_LENGTH)
    if of_sequences.shape[0] != ends.shape[0] - 1:
        raise ModelError(
            f"rows has {of_sequences.shape[0]} rows; needed is one for each of {ends.shape[0] - 1} sequences"
        )
    if width > 1 << integer("shift", shift, 1, 16):
        raise ModelError(f"shift is {shift}, too little for a width of {width}: 2^shift must reach it")
    output = np.zeros((of_tokens.shape[0], 1), np.int32)
    _ops.match(of_tokens, of_sequences, ends, shift, output, variant)
    return like(tokens, output[:, 0])


@_also_on_gpus
def normalize(input: Array, *, variant: str | None = None) -> Array:
    """Rows over their Euclidean length, int32 [rows, width], unit 2^-30 (csrc/ops/normalize/normalize.h).

    input: int16 [rows, width] in [-32767, 32767], any scale, width in [1, 65536].
    """
    rows = check_range("input", matrix("input", input, np.int16), -MAX_S16, MAX_S16)
    integer("number of columns of input", rows.shape[1], 1, _MAX_LENGTH)
    output = np.empty(rows.shape, np.int32)
    _ops.normalize(rows, output, variant)
    return like(input, output)


@_also_on_gpus
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
