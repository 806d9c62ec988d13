"""What every test of an op shares: one call for all variants, byte comparison, awkward memory."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPS = (
    "linear",
    "attention",
    "softmax",
    "gelu",
    "layernorm",
    "embedding",
    "pool",
    "normalize",
    "lookup",
    "rotary",
    "multiply",
    "neighbours",
    "match",
)

Array = NDArray[Any]

# Variants that `check` ran, per op. conftest.py fails a run that left out one the CPU supports.
covered: dict[str, set[str]] = defaultdict(set)

# Widths just below, at and above one and two vectors or tiles of every instruction set.
WIDTHS = (1, 2, 3, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 95, 97, 127, 128, 129, 200)


def variants(op: str) -> list[str]:
    import pyqrt.ops

    return pyqrt.ops.variants(op)


def check(op: str, call: Callable[[str], Any], expected: Any) -> None:
    """Asserts that `call(variant)` equals `expected` byte for byte, for every variant of `op`.

    `expected` comes from the oracle, so that the reference is compared with the oracle and every
    other variant with both.
    """
    failures = []
    for variant in variants(op):
        problem = difference(call(variant), expected)
        covered[op].add(variant)
        if problem:
            failures.append(f"{op} {variant}: {problem}")
    assert not failures, "\n".join(failures)


def difference(actual: Any, expected: Any) -> str:
    """What differs between two arrays, or tuples of arrays or None; empty when nothing does."""
    if isinstance(expected, tuple):
        if not isinstance(actual, tuple) or len(actual) != len(expected):
            return f"{type(actual).__name__} instead of {len(expected)} results"
        parts = [difference(a, e) for a, e in zip(actual, expected, strict=True)]
        return "; ".join(f"result {i}: {part}" for i, part in enumerate(parts) if part)
    if expected is None or actual is None:
        return "" if actual is expected else f"{actual} instead of {expected}"
    if (actual.dtype, actual.shape) != (expected.dtype, expected.shape):
        return f"{actual.dtype}{actual.shape} instead of {expected.dtype}{expected.shape}"
    wrong = np.argwhere(actual != expected)
    if not len(wrong):
        return ""
    first = tuple(int(i) for i in wrong[0])
    return (
        f"{len(wrong)} of {expected.size} differ; first at {first}: {actual[first]} instead of "
        f"{expected[first]}"
    )


def strided(array: Array, margin: int = 3) -> Array:
    """A view equal to `array` inside a larger array, `margin` elements off any alignment.

    What surrounds it are the extremes of its type, so that a read outside the view changes results.
    """
    rows, width = array.shape
    info = np.iinfo(array.dtype)
    around = np.full((rows + 2, width + 2 * margin + 1), info.max, array.dtype)
    around[:, ::2] = info.min
    inside = around[1 : rows + 1, margin : margin + width]
    inside[:] = array
    return inside


def random_s8(rng: np.random.Generator, *shape: int) -> NDArray[np.int8]:
    return rng.integers(-127, 128, shape).astype(np.int8)


def random_s16(rng: np.random.Generator, *shape: int, limit: int = 32767) -> NDArray[np.int16]:
    return rng.integers(-limit, limit + 1, shape).astype(np.int16)


def signs(rng: np.random.Generator, limit: int, *shape: int) -> NDArray[np.int64]:
    """+-limit at random."""
    return rng.choice(np.array([-limit, limit]), shape)


def log2_ratio(numerator: float, denominator: float) -> int:
    """The whole shift that brings `numerator` to about `denominator`."""
    return round(math.log2(max(numerator, 1e-9) / denominator))


def packed_offsets(lengths: list[int], begin: int = 0) -> NDArray[np.int32]:
    return np.cumsum([begin, *lengths]).astype(np.int32)
