"""requantize: random, extreme and tied accumulators over every legal multiplier and shift."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from oracle import fixed as oracle
from oracle.exact import Exact
from pyqrt import ModelError, ops

Int32 = NDArray[np.int32]


def largest(shift: Any) -> Any:
    """The largest |acc| that `shift` allows."""
    return (np.int64(1) << (31 - np.maximum(0, 33 - np.asarray(shift, np.int64)))) - 1


def check(acc: Any, multiplier: Any, shift: Any) -> Int32:
    arrays = [np.asarray(a).astype(np.int32) for a in (acc, multiplier, shift)]
    actual: Int32 = ops.requantize(*arrays)
    expected = oracle.requantize(*map(Exact, arrays)).to(np.int32)
    assert actual.dtype == np.int32
    assert np.array_equal(actual, expected)
    return actual


def test_random() -> None:
    rng = np.random.default_rng(1)
    count = 300_000
    shift = rng.integers(26, 63, count)
    acc = rng.integers(-largest(shift), largest(shift) + 1)
    check(acc, rng.integers(2**30, 2**31, count), shift)
    # Small accumulators, whose rounding decides everything.
    check(rng.integers(-(2**20), 2**20, count), rng.integers(2**30, 2**31, count), shift)


@pytest.mark.parametrize("shift", range(26, 63))
def test_extremes(shift: int) -> None:
    top = int(largest(shift))
    acc = np.array([-top, -top + 1, -1, 0, 1, top - 1, top])
    for multiplier in (2**30, 2**30 + 1, 2**31 - 2, 2**31 - 1):
        result = check(acc, np.full(7, multiplier), np.full(7, shift))
        assert np.abs(result.astype(np.int64)).max() <= 2**29


@pytest.mark.parametrize("shift", range(31, 63))
def test_ties_round_up(shift: int) -> None:
    """acc * 2^30 = (q + 1/2) 2^shift for small q, then one unit of acc to either side."""
    q = np.arange(-40, 41)
    acc = (2 * q + 1) << (shift - 31)
    fits = np.abs(acc) < largest(shift)
    q, acc = q[fits], acc[fits]
    multiplier, shifts = np.full(len(acc), 2**30), np.full(len(acc), shift)
    if len(acc):
        assert np.array_equal(check(acc, multiplier, shifts), q + 1)
        below = check(acc - 1, multiplier, shifts)
        assert np.array_equal(below, q)


@given(st.integers(26, 62), st.integers(2**30, 2**31 - 1), st.integers(-(2**31) + 1, 2**31 - 1))
def test_any(shift: int, multiplier: int, acc: int) -> None:
    top = int(largest(shift))
    check([min(max(acc, -top), top)], [multiplier], [shift])


def test_broadcast() -> None:
    acc = np.arange(-6, 6, dtype=np.int32).reshape(3, 4) * 100_000_001
    multiplier, shift = np.full(4, 2**30 + 12345, np.int32), np.array([[33], [34], [40]], np.int32)
    actual = ops.requantize(acc, multiplier, shift)
    check(acc, np.broadcast_to(multiplier, acc.shape), np.broadcast_to(shift, acc.shape))
    assert actual.shape == acc.shape


@pytest.mark.parametrize(
    ("acc", "multiplier", "shift", "words"),
    [
        (-(2**31), 2**30, 33, "acc"),
        (-(2**31), 2**30, 62, "acc"),
        (2**24, 2**30, 26, "acc"),
        (-(2**24), 2**30, 26, "acc"),
        (2**30, 2**30, 32, "acc"),
        (0, 2**30 - 1, 33, "multiplier"),
        (0, 2**30, 25, "shift"),
        (0, 2**30, 63, "shift"),
    ],
)
def test_limits(acc: int, multiplier: int, shift: int, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        ops.requantize(*(np.array([value], np.int32) for value in (acc, multiplier, shift)))


def test_wrong_dtypes_and_shapes() -> None:
    good = np.full(3, 2**30, np.int32)
    with pytest.raises(TypeError, match="acc"):
        ops.requantize(good.astype(np.int64), good, np.full(3, 33, np.int32))
    with pytest.raises(ModelError, match="multiplier"):
        ops.requantize(good, np.full(2, 2**30, np.int32), np.full(3, 33, np.int32))
