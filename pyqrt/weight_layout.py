"""The layout of weights in a model file, which the kernels read (csrc/ops/linear/linear.h)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pyqrt._arguments import Array, check_range, like, matrix, view
from pyqrt.errors import ModelError

BLOCK = 16  # output channels of one weight block
GROUP = 4  # inputs of one dot-product group


def round_up(value: int, multiple: int) -> int:
    """The least multiple of `multiple` that is not below `value`."""
    return -(-value // multiple) * multiple


def pack_weight(weight: Array) -> Array:
    """The layout of a model file: int8 [n, k] in [-127, 127] -> int8 [ceil(n/16), ceil(k/4), 16, 4].

    Element [b, g, c, i] is weight[16 b + c, 4 g + i], zero beyond n and k (linear.h).
    """
    source = check_range("weight", matrix("weight", weight, np.int8), -127, 127)
    n, k = source.shape
    padded = np.pad(source, ((0, round_up(n, BLOCK) - n), (0, round_up(k, GROUP) - k)))
    blocks = padded.reshape(padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // GROUP, GROUP)
    return like(weight, np.ascontiguousarray(blocks.transpose(0, 2, 1, 3)))


def unpack_weight(packed: Array, n: int, k: int) -> Array:
    """The inverse of `pack_weight`: int8 [ceil(n/16), ceil(k/4), 16, 4] -> int8 [n, k]."""
    blocks = packed_view("packed", packed, n, k)
    rows = blocks.transpose(0, 2, 1, 3).reshape(round_up(n, BLOCK), round_up(k, GROUP))
    return like(packed, np.ascontiguousarray(rows[:n, :k]))


def packed_view(name: str, packed: Array, n: int, k: int) -> NDArray[np.int8]:
    """A dense view of packed weights. Raises TypeError or ModelError unless [n, k] packs into it."""
    blocks = view(name, packed, np.int8)
    shape = (-(-n // BLOCK), -(-k // GROUP), BLOCK, GROUP)
    if blocks.shape != shape:
        raise ModelError(f"{name} has shape {blocks.shape}; [n, k] = [{n}, {k}] packs into {shape}")
    return np.ascontiguousarray(blocks)
