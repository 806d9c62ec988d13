"""Arguments of `pyqrt.ops`: arrays from DLPack without a copy, and the checks of the contracts."""

from __future__ import annotations

import operator
import sys
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pyqrt._masked import refuse_masks
from pyqrt.errors import ModelError

Array: TypeAlias = Any
"""A numpy array, a torch CPU tensor, or any other object with `__dlpack__` on the CPU."""


MAX_S8 = 127  # the most negative values of a type are never used
MAX_S16 = 32767
MAX_S32 = 2**31 - 1
MAX_LENGTH = 65536  # of a row, and tokens of a sequence

POOL_KINDS = ["mean", "first", "last", "max", "token"]


def choice(name: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise ModelError(f"unknown {name} {value!r}; known: {', '.join(known)}")
    return value


def is_torch(array: Array) -> bool:
    """Whether `array` is a torch tensor. Never imports torch: without it there are no tensors."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def like(first: Array, result: NDArray[Any]) -> Array:
    """`result` as the kind of array `first` is: a torch tensor over the same memory, or itself."""
    return sys.modules["torch"].from_numpy(result) if is_torch(first) else result


def dense(array: NDArray[Any]) -> NDArray[Any]:
    """`array`, contiguous and aligned: itself or a copy."""
    return np.require(array, requirements=("C", "A"))


def view(name: str, array: Array, *dtypes: DTypeLike) -> NDArray[Any]:
    """`array` as a plain numpy array over the same memory.

    Raises TypeError unless it is an array of one of `dtypes`; ModelError when it is masked or not on the
    CPU.
    """
    refuse_masks(name, array)
    if isinstance(array, np.ndarray):
        result: NDArray[Any] = np.asarray(array)
    elif not hasattr(array, "__dlpack__"):
        raise TypeError(f"{name} must be a numpy array or a torch CPU tensor, not {type(array).__name__}")
    else:
        try:
            result = np.from_dlpack(array)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise ModelError(f"{name} cannot be read in place ({error}); give a CPU array") from error
    wanted = [np.dtype(dtype) for dtype in dtypes]
    if result.dtype not in wanted:
        names = " or ".join(dtype.name for dtype in wanted)
        raise TypeError(f"{name} must be {names}, not {result.dtype}; convert it first")
    return result


def matrix(
    name: str, array: Array, *dtypes: DTypeLike, rows: int | None = None, width: int | None = None
) -> NDArray[Any]:
    """A two-dimensional view with dense rows, any row stride. `rows` and `width`: if given, required.

    Raises TypeError for another dtype, ModelError for another shape or layout.
    """
    result = view(name, array, *dtypes)
    if result.ndim != 2:
        raise ModelError(f"{name} has shape {result.shape}; it must have two dimensions, [rows, width]")
    for what, have, want in (("rows", result.shape[0], rows), ("columns", result.shape[1], width)):
        if want is not None and have != want:
            raise ModelError(f"{name} has {have} {what}; it must have {want}")
    row_bytes = result.shape[1] * result.itemsize
    dense = result.shape[1] <= 1 or result.strides[1] == result.itemsize
    apart = result.shape[0] <= 1 or result.strides[0] >= row_bytes
    if result.size and not (dense and apart and result.flags.aligned):
        raise ModelError(
            f"{name} has strides {result.strides} bytes; rows must be dense, apart and aligned: "
            "make it contiguous"
        )
    return result


def vector(name: str, array: Array, dtype: DTypeLike, length: int | None = None) -> NDArray[Any]:
    """A dense one-dimensional array. `length`: if given, required.

    Raises TypeError for another dtype, ModelError for another shape.
    """
    result = view(name, array, dtype)
    if result.ndim != 1 or (length is not None and result.shape[0] != length):
        want = "one dimension" if length is None else f"shape ({length},)"
        raise ModelError(f"{name} has shape {result.shape}; it must have {want}")
    return dense(result)


def check_range(
    name: str, array: NDArray[Any], low: int, high: int, remedy: str = "clip or rescale it"
) -> NDArray[Any]:
    """`array` itself. Raises ModelError, naming the first culprit, unless all is in [low, high]."""
    if array.size and (int(array.min()) < low or int(array.max()) > high):
        position = tuple(int(i) for i in np.argwhere((array < low) | (array > high))[0])
        raise ModelError(f"{name}{list(position)} is {array[position]}, outside [{low}, {high}]; {remedy}")
    return array


def integer(name: str, value: int, low: int, high: int) -> int:
    """`value` as an int. Raises TypeError when it is none, ModelError when outside [low, high]."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
    if not low <= number <= high:
        raise ModelError(f"{name} is {number}, outside [{low}, {high}]; choose a value in that range")
    return number


def per_channel(
    name: str, array: Array, dtype: DTypeLike, channels: int, padded: int, fill: int, low: int, high: int
) -> NDArray[Any]:
    """The first `channels` entries, checked to lie in [low, high], then `fill` up to `padded`.

    Raises TypeError for another dtype, ModelError for fewer entries or a value out of range.
    """
    result = vector(name, array, dtype)
    if result.shape[0] < channels:
        raise ModelError(f"{name} has {result.shape[0]} entries; {channels} channels need as many")
    result = check_range(name, result[:channels], low, high)
    return np.pad(result, (0, padded - channels), constant_values=fill)


def sequence_offsets(offsets: Array, tokens: int, longest: int) -> NDArray[Any]:
    """int32 [sequences + 1], ascending within [0, tokens], no sequence longer than `longest`.

    Raises TypeError for another dtype, ModelError otherwise.
    """
    result = vector("offsets", offsets, np.int32)
    if result.shape[0] < 1:
        raise ModelError("offsets is empty; it must hold one more entry than there are sequences")
    check_range("offsets", result, 0, tokens, "they count the rows that there are")
    lengths = np.diff(result.astype(np.int64))
    check_range("length of sequence ", lengths, 0, longest, "offsets ascend; split longer sequences")
    return result


def token_ids(ids: Array | None, tokens: int, reader: str) -> NDArray[Any]:
    """int32 [tokens], for an argument `reader` that looks for a token by its id.

    Raises TypeError for another dtype, ModelError for another shape, or if they are missing.
    """
    if ids is None:
        raise ModelError(f"ids is None; {reader} looks for a token by its id")
    return vector("ids", ids, np.int32, tokens)


def check_budget(what: str, worst: NDArray[np.int64], shift: NDArray[np.int32]) -> None:
    """Raises ModelError unless every `worst` magnitude is one that its requantization shift allows."""
    limit = np.int64(1) << (31 - np.maximum(0, 33 - shift.astype(np.int64)))
    over = np.flatnonzero(worst >= limit)
    if over.size:
        i = int(over[0])
        raise ModelError(
            f"{what} {i} can reach {worst[i]}; shift {shift[i]} allows less than {limit[i]}: "
            "use a larger shift"
        )


def relative_tables(
    index: Array | None,
    bias: Array | None,
    key: Array | None,
    query: Array | None,
    heads: int,
    width: int,
) -> tuple[Any, int, tuple[Any, Any, Any]]:
    """Attention's relative tables, checked, and the number of their rows; 0 without any."""
    given = [table for table in (bias, key, query) if table is not None]
    if index is None:
        if given:
            raise ModelError("relative tables need a relative_index")
        return None, 0, (None, None, None)
    indices = vector("relative_index", index, np.int32)
    if len(indices) % 2 == 0 or not given:
        raise ModelError(
            f"relative_index has {len(indices)} entries and there are {len(given)} tables; needed are an odd "
            "number, of distances -R to R, and a table"
        )
    biases = keys = queries = None
    sizes = set()
    if bias is not None:
        biases = matrix("relative_bias", bias, np.int32, rows=heads)
        check_range("relative_bias", biases, 1 - 2**28, 2**28 - 1)
        biases = np.ascontiguousarray(biases)
        sizes.add(biases.shape[1])
    tables: list[Any] = []
    for name, table in (("relative_key", key), ("relative_query", query)):
        if table is not None:
            checked = matrix(name, table, np.int8, width=width)
            check_range(name, checked, -MAX_S8, MAX_S8)
            sizes.add(checked.shape[0])
            tables.append(np.ascontiguousarray(checked))
        else:
            tables.append(None)
    keys, queries = tables
    if len(sizes) != 1:
        raise ModelError(f"relative tables have {sorted(sizes)} rows; all must have the same number")
    rows = sizes.pop()
    check_range("relative_index", indices, 0, rows - 1)
    return indices, rows, (biases, keys, queries)


def global_tokens(
    until: int | None, after: int | None, ids: Array | None, tokens: int
) -> tuple[Any, int, int]:
    """What tells attention's global tokens, checked: ids, until and after, -1 for what there is not."""
    given = {name: token for name, token in (("until", until), ("after", after)) if token is not None}
    if len(given) > 1:
        raise ModelError("until and after: only one of them can say which tokens are global")
    bounds = {name: integer(name, token, 0, MAX_S32) for name, token in given.items()}
    there = [token_ids(ids, tokens, name) for name in given]
    return there[0] if there else None, bounds.get("until", -1), bounds.get("after", -1)


def attention_blocks(
    block: int | None, beyond: int, bias: Array | None, heads: int, otherwise: bool
) -> tuple[int, int, Any]:
    """Attention's blocks, checked; 0, 0, None without any. otherwise: something else limits what is seen."""
    if block is None:
        if bias is not None or beyond:
            raise ModelError("block_bias and block_beyond need a block")
        return 0, 0, None
    if otherwise:
        raise ModelError("block is for attention without window and global tokens")
    if bias is None:
        raise ModelError("block needs a block_bias, which may be 0")
    biases = vector("block_bias", bias, np.int32, heads)
    check_range("block_bias", biases, 1 - 2**28, 2**28 - 1)
    return integer("block", block, 1, MAX_LENGTH), integer("block_beyond", beyond, 0, MAX_LENGTH), biases


def layernorm_affine(
    suffix: str, gain: Array | None, bias: Array | None, shift: int, n: int
) -> tuple[NDArray[Any], NDArray[Any]] | tuple[None, None]:
    """Gain and bias of layernorm's output of `suffix` bits, checked; None without them. Raises ModelError."""
    if (gain is None) != (bias is None):
        raise ModelError(f"gain{suffix} and bias{suffix} come together; one of them is missing")
    if gain is None or bias is None:
        return None, None
    gains = vector(f"gain{suffix}", gain, np.int16, n)
    biases = vector(f"bias{suffix}", bias, np.int32, n)
    check_range(f"gain{suffix}", gains, -MAX_S16, MAX_S16)
    check_range(f"bias{suffix}", biases, 1 - 2**30, 2**30 - 1)
    half = 1 << (integer(f"shift{suffix}", shift, 1, 30) - 1)
    worst = MAX_S16 * np.abs(gains.astype(np.int64)) + np.abs(biases.astype(np.int64)) + half
    check_range(f"32767 * |gain{suffix}| + |bias{suffix}| + 2^(shift{suffix} - 1)", worst, 0, MAX_S32)
    return gains, biases
