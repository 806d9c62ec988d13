"""The functions of `pyqrt.ops` for CUDA tensors, which calls them there.

Rows (inputs, residuals, outputs) and weights are read and written in place, in torch's current stream of
their device. Arrays with an entry for each channel or head are copied, padded as the kernels want them.
Checking ranges reads all of an input on the device and waits for the stream; nothing else does.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyqrt._arguments import (
    MAX_LENGTH,
    MAX_S8,
    MAX_S16,
    MAX_S32,
    POOL_KINDS,
    attention_blocks,
    check_budget,
    check_range,
    choice,
    global_tokens,
    integer,
    is_torch,
    layernorm_affine,
    per_channel,
    relative_tables,
    sequence_offsets,
    token_ids,
    vector,
)
from pyqrt.arithmetic import POLYNOMIALS, Polynomial
from pyqrt.errors import ModelError
from pyqrt.weight_layout import BLOCK, round_up

Tensor: TypeAlias = Any


def on_gpu(array: object) -> bool:
    """Whether `array` is a CUDA tensor of torch."""
    return is_torch(array) and bool(array.is_cuda)  # type: ignore[attr-defined]


def linear(
    input: Tensor,
    weight: Tensor,
    weight_sum: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    shift: Tensor,
    *,
    out_features: int,
    epilogue: str = "requantize_s8",
    zero_point: int = 0,
    pre_shift: int = 0,
    polynomial: Polynomial = "minimax",
    gelu_multiplier: Tensor | None = None,
    gelu_shift: int = 1,
    residual: Tensor | None = None,
    residual_multiplier: int = 0,
    residual_shift: int = 1,
    variant: str | None = None,
) -> Tensor:
    """As `pyqrt.ops.linear`; weight_sum is for CPUs and not read."""
    kernels = _kernels(variant)
    torch = sys.modules["torch"]
    _matrix("input", input, input, torch.int8, torch.int16)
    wide = input.dtype == torch.int16
    _within("input", input, MAX_S16 if wide else MAX_S8)
    m, k = input.shape
    integer("number of columns of input", k, 1, MAX_LENGTH)
    n = integer("out_features", out_features, 1, MAX_S32)
    epilogues = {
        "requantize_s8": torch.int8,
        "requantize_s16": torch.int16,
        "requantize_s32": torch.int32,
        "gelu_s8": torch.int8,
        "gelu_s16": torch.int16,
        "residual_s16": torch.int16,
    }
    dtype = epilogues[choice("epilogue", epilogue, list(epilogues))]
    entries = round_up(n, BLOCK) * round_up(k, 4)
    _placed("weight", weight, input, torch.int8)
    if weight.numel() != entries or not weight.is_contiguous():
        raise ModelError(
            f"weight has {weight.numel()} entries; pack_weight of [{n}, {k}] has {entries}, contiguous"
        )
    _within("weight", weight, MAX_S8)
    padded = round_up(n, BLOCK)
    biases = per_channel("bias", _host(bias), np.int32, n, padded, 0, -MAX_S32, MAX_S32)
    factors = per_channel("multiplier", _host(multiplier), np.int32, n, padded, 2**30, 2**30, MAX_S32)
    shifts = per_channel("shift", _host(shift), np.int32, n, padded, 33, 26, 62)
    pre_shift = integer("pre_shift", pre_shift, 0, 16 if wide else 0)
    product = ((MAX_S16 * MAX_S8 * k) >> pre_shift) + 1 if wide else MAX_S8 * MAX_S8 * k
    check_budget("the accumulator of channel", np.abs(biases.astype(np.int64)) + product, shifts)
    gelu = None
    if epilogue == "gelu_s8":
        if gelu_multiplier is None:
            raise ModelError("gelu_multiplier is missing; epilogue gelu_s8 needs it")
        wider = round_up(n, 2 * BLOCK)
        gelu = per_channel("gelu_multiplier", _host(gelu_multiplier), np.int16, n, wider, 0, 0, MAX_S16)
    if epilogue == "residual_s16":
        if residual is None:
            raise ModelError("residual is missing; epilogue residual_s16 needs it")
        _matrix("residual", residual, input, torch.int16, rows=m, width=n)
        _within("residual", residual, MAX_S16)
    output = input.new_empty((m, n), dtype=dtype)
    kernels.linear(
        input,
        weight.reshape(-1),
        *(_device(array, input) for array in (biases, factors, shifts)),
        pre_shift,
        kernels.LinearEpilogue[epilogue],
        integer("zero_point", zero_point, -MAX_S8, MAX_S8),
        None if gelu is None else _device(gelu, input),
        integer("gelu_shift", gelu_shift, 1, 30),
        residual if epilogue == "residual_s16" else None,
        integer("residual_multiplier", residual_multiplier, 0, MAX_S16),
        integer("residual_shift", residual_shift, 1, 30),
        output,
        kernels.TileSize.any,
        _stream(input),
        choice("polynomial", polynomial, POLYNOMIALS),
    )
    return output


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    offsets: Tensor,
    score_multiplier: Tensor,
    output_multiplier: Tensor,
    output_exponent: Tensor,
    *,
    zero_point: int = 0,
    polynomial: Polynomial = "minimax",
    window: int | None = None,
    global_key: bool = False,
    global_query: bool = False,
    until: int | None = None,
    after: int | None = None,
    ids: Tensor | None = None,
    block: int | None = None,
    block_beyond: int = 0,
    block_bias: Tensor | None = None,
    relative_index: Tensor | None = None,
    relative_bias: Tensor | None = None,
    relative_key: Tensor | None = None,
    relative_query: Tensor | None = None,
    variant: str | None = None,
) -> Tensor:
    """As `pyqrt.ops.attention`; relative tables are copied."""
    kernels = _kernels(variant)
    torch = sys.modules["torch"]
    one_query = global_query and until is None and after is None
    name, rows = ("key", key) if one_query else ("query", query)
    tokens, width = _matrix(name, rows, query, torch.int8).shape
    _matrix("key", key, query, torch.int8, rows=tokens, width=width)
    _matrix("value", value, query, torch.int8, rows=tokens, width=width)
    ends = sequence_offsets(_host(offsets), tokens, MAX_LENGTH)
    if one_query:
        _matrix("query", query, query, torch.int8, rows=len(ends) - 1, width=width)
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        _within(name, tensor, MAX_S8)
    scores = _host(score_multiplier)
    scores = check_range("score_multiplier", vector("score_multiplier", scores, scores.dtype), 1, 2**32 - 1)
    heads = len(scores)
    if heads == 0 or width == 0 or width % heads or width // heads > 1024:
        raise ModelError(
            f"query has {width} columns and score_multiplier {heads} heads; every head must get "
            "the same number of columns, 1 to 1024"
        )
    factors = vector("output_multiplier", _host(output_multiplier), np.int32, heads)
    check_range("output_multiplier", factors, 2**13, 2**14 - 1)
    exponents = vector("output_exponent", _host(output_exponent), np.int32, heads)
    check_range("output_exponent", exponents, -8, 16)
    relative = (relative_index, relative_bias, relative_key, relative_query)
    host: list[Any] = [None if table is None else _host(table) for table in relative]
    index, _, tables = relative_tables(host[0], host[1], host[2], host[3], heads, width)
    place, *bounds = global_tokens(until, after, None if ids is None else _host(ids), tokens)
    size, beyond, biases = attention_blocks(
        block,
        block_beyond,
        None if block_bias is None else _host(block_bias),
        heads,
        window is not None or global_key or global_query,
    )
    output = query.new_zeros((tokens, width))
    kernels.attention(
        query,
        key,
        value,
        _device(ends, query),
        int(np.diff(ends).max(initial=0)),
        _device(scores.astype(np.uint32), query),
        _device(factors, query),
        _device(exponents, query),
        integer("zero_point", zero_point, -MAX_S8, MAX_S8),
        output,
        _stream(query),
        choice("polynomial", polynomial, POLYNOMIALS),
        -1 if window is None else integer("window", window, 0, MAX_LENGTH),
        *(None if table is None else _device(table, query) for table in (index, *tables)),
        global_key,
        global_query,
        None if place is None else _device(place, query),
        *bounds,
        size,
        beyond,
        None if biases is None else _device(biases, query),
    )
    return output


def _ids(ids: Tensor | None, like: Tensor, tokens: int, reader: str) -> Tensor:
    return _device(token_ids(None if ids is None else _host(ids), tokens, reader), like)


def layernorm(
    input: Tensor,
    *,
    epsilon: int = 0,
    gain8: Tensor | None = None,
    bias8: Tensor | None = None,
    shift8: int = 1,
    gain16: Tensor | None = None,
    bias16: Tensor | None = None,
    shift16: int = 1,
    normalize: bool = True,
    exact_mean: bool = False,
    variant: str | None = None,
) -> tuple[Tensor | None, Tensor | None]:
    """As `pyqrt.ops.layernorm`."""
    kernels = _kernels(variant)
    torch = sys.modules["torch"]
    rows = _within("input", _matrix("input", input, input, torch.int16), MAX_S16)
    n = integer("number of columns of input", rows.shape[1], 1, 16384)
    if gain8 is None and gain16 is None:
        raise ModelError("gain8 and gain16 are both missing; give one of them, or both")
    arguments: list[Any] = []
    outputs = []
    for suffix, gain, bias, shift, dtype in (
        ("8", gain8, bias8, shift8, torch.int8),
        ("16", gain16, bias16, shift16, torch.int16),
    ):
        gains, biases = layernorm_affine(
            suffix, None if gain is None else _host(gain), None if bias is None else _host(bias), shift, n
        )
        output = None if gains is None else input.new_empty(rows.shape, dtype=dtype)
        arguments += [None if x is None else _device(x, input) for x in (gains, biases)]
        arguments += [integer(f"shift{suffix}", shift, 1, 30), output]
        outputs.append(output)
    kernels.layernorm(
        rows,
        integer("epsilon", epsilon, 0, 2**56),
        *arguments,
        _stream(input),
        bool(normalize),
        bool(exact_mean),
    )
    return outputs[0], outputs[1]


def embedding(
    tables: Sequence[tuple[Tensor, Tensor, Tensor]], *, shift: int, variant: str | None = None
) -> Tensor:
    """As `pyqrt.ops.embedding`."""
    kernels = _kernels(variant)
    torch = sys.modules["torch"]
    integer("number of tables", len(tables), 1, 4)
    first = tables[0][0]
    width = _matrix("data of table 0", first, first, torch.int8).shape[1]
    rows = None
    for t, (data, multiplier, index) in enumerate(tables):
        _within(
            f"data of table {t}", _matrix(f"data of table {t}", data, first, torch.int8, width=width), MAX_S8
        )
        _vector(f"multiplier of table {t}", multiplier, first, torch.int16, data.shape[0])
        _within(f"multiplier of table {t}", multiplier, MAX_S16, low=0)
        _vector(f"index of table {t}", index, first, torch.int32, rows)
        _within(f"index of table {t}", index, data.shape[0] - 1, low=0)
        rows = index.shape[0]
        if not data.is_contiguous():
            raise ModelError(f"data of table {t} must be contiguous")
    output = first.new_empty((rows, width), dtype=torch.int16)
    kernels.embedding(
        *(list(column) for column in zip(*tables, strict=True)),
        integer("shift", shift, 1, 30),
        output,
        _stream(first),
    )
    return output


def pool(
    input: Tensor,
    offsets: Tensor,
    *,
    kind: str = "mean",
    ids: Tensor | None = None,
    token: int = 0,
    variant: str | None = None,
) -> Tensor:
    """As `pyqrt.ops.pool`."""
    kernels = _kernels(variant)
    torch = sys.modules["torch"]
    rows = _within("input", _matrix("input", input, input, torch.int16), MAX_S16)
    ends = sequence_offsets(_host(offsets), rows.shape[0], MAX_LENGTH)
    output = input.new_empty((len(ends) - 1, rows.shape[1]))
    chosen = kernels.PoolKind[choice("kind", kind, POOL_KINDS)]
    there = _ids(ids, input, rows.shape[0], "kind 'token'") if kind == "token" else None
    integer("token", token, 0, MAX_S32)
    kernels.pool(chosen, rows, _device(ends, input), there, token, output, _stream(input))
    return output


def normalize(input: Tensor, *, variant: str | None = None) -> Tensor:
    """As `pyqrt.ops.normalize`."""
    kernels = _kernels(variant)
    torch = sys.modules["torch"]
    rows = _within("input", _matrix("input", input, input, torch.int16), MAX_S16)
    integer("number of columns of input", rows.shape[1], 1, MAX_LENGTH)
    output = input.new_empty(rows.shape, dtype=torch.int32)
    kernels.normalize(rows, output, _stream(input))
    return output


def lookup(input: Tensor, table: Tensor, *, variant: str | None = None) -> Tensor:
    """As `pyqrt.ops.lookup`."""
    kernels = _kernels(variant)
    torch = sys.modules["torch"]
    rows = _within("input", _matrix("input", input, input, torch.int16), MAX_S16)
    _within("table", _vector("table", table, input, torch.int16, 513), MAX_S16)
    output = input.new_empty(rows.shape)
    kernels.lookup(rows, table, output, _stream(input))
    return output


def _kernels(variant: str | None) -> ModuleType:
    if variant is not None:
        raise ModelError(f"variant {variant!r} is for arrays on the CPU; leave it out for CUDA tensors")
    try:
        return importlib.import_module("pyqrt._cuda_ops")
    except ModuleNotFoundError:
        raise ModelError(
            "this build of pyqrt has no CUDA kernels: build it where nvcc is found "
            "(pip install -C cmake.define.PYQRT_CUDA=ON .), or give CPU arrays"
        ) from None


def _placed(name: str, tensor: Tensor, beside: Tensor, *dtypes: Any) -> Tensor:
    """`tensor` itself, a tensor on the GPU of `beside`. Raises TypeError or ModelError."""
    if not is_torch(tensor):
        raise TypeError(f"{name} must be a CUDA tensor like the first argument, not {type(tensor).__name__}")
    if tensor.device != beside.device:
        raise ModelError(
            f"{name} is on {tensor.device}, the first argument on {beside.device}; move it there"
        )
    if tensor.dtype not in dtypes:
        names = " or ".join(str(dtype) for dtype in dtypes)
        raise TypeError(f"{name} must be {names}, not {tensor.dtype}; convert it first")
    return tensor


def _matrix(
    name: str, tensor: Tensor, beside: Tensor, *dtypes: Any, rows: int | None = None, width: int | None = None
) -> Tensor:
    """`tensor` itself, of two dimensions with dense rows."""
    _placed(name, tensor, beside, *dtypes)
    if tensor.ndim != 2:
        raise ModelError(
            f"{name} has shape {tuple(tensor.shape)}; it must have two dimensions, [rows, width]"
        )
    for what, have, want in (("rows", tensor.shape[0], rows), ("columns", tensor.shape[1], width)):
        if want is not None and have != want:
            raise ModelError(f"{name} has {have} {what}; it must have {want}")
    dense = tensor.shape[1] <= 1 or tensor.stride(1) == 1
    apart = tensor.shape[0] <= 1 or tensor.stride(0) >= tensor.shape[1]
    if tensor.numel() and not (dense and apart):
        raise ModelError(
            f"{name} has strides {tensor.stride()}; rows must be dense and apart: make it contiguous"
        )
    return tensor


def _vector(name: str, tensor: Tensor, beside: Tensor, dtype: Any, length: int | None = None) -> Tensor:
    _placed(name, tensor, beside, dtype)
    if tensor.ndim != 1 or not tensor.is_contiguous() or (length is not None and tensor.shape[0] != length):
        want = "one dense dimension" if length is None else f"shape ({length},), contiguous"
        raise ModelError(f"{name} has shape {tuple(tensor.shape)}; it must have {want}")
    return tensor


def _within(name: str, tensor: Tensor, high: int, *, low: int | None = None) -> Tensor:
    """`tensor` itself. Raises ModelError unless all is in [low, high]; low: by default -high."""
    low = -high if low is None else low
    if tensor.numel():
        least, most = (int(x) for x in tensor.aminmax())
        if least < low or most > high:
            culprit = least if least < low else most
            raise ModelError(f"{name} holds {culprit}, outside [{low}, {high}]; clip or rescale it")
    return tensor


def _host(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.cpu().numpy() if is_torch(tensor) else np.asarray(tensor)
    return array


def _device(array: NDArray[Any], beside: Tensor) -> Tensor:
    return sys.modules["torch"].from_numpy(np.ascontiguousarray(array)).to(beside.device)


def _stream(tensor: Tensor) -> int:
    return int(sys.modules["torch"].cuda.current_stream(tensor.device).cuda_stream)
