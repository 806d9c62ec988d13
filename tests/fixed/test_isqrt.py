"""isqrt: exact around every kind of square below 2^62."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyqrt import ModelError, ops

LIMIT = 1 << 62


def check(values: list[int]) -> None:
    actual = ops.isqrt(np.array(values, np.uint64))
    assert actual.dtype == np.uint64
    assert [int(root) for root in actual] == [math.isqrt(value) for value in values]


def around_squares(roots: list[int]) -> list[int]:
    near = [k * k + d for k in roots for d in (-1, 0, 1)]
    return [value for value in near if 0 <= value < LIMIT]


def test_small() -> None:
    check(list(range(70000)))


def test_around_large_squares() -> None:
    rng = np.random.default_rng(4)
    roots = [int(2 ** rng.uniform(0, 31)) for _ in range(40000)]
    roots += [2**31 - d for d in range(5000)] + [2**b + d for b in range(2, 31) for d in (-2, -1, 0, 1, 2)]
    check(around_squares(roots))


def test_around_powers_of_two() -> None:
    check([v for b in range(63) for v in ((1 << b) - 1, 1 << b, (1 << b) + 1) if v < LIMIT])


def test_slowest_known_start_for_newton() -> None:
    check([1110755521, 54_000_000, LIMIT - 1])


@given(st.integers(0, LIMIT - 1))
def test_any(value: int) -> None:
    check([value])


def test_limits() -> None:
    with pytest.raises(ModelError, match="v"):
        ops.isqrt(np.array([LIMIT], np.uint64))
    with pytest.raises(TypeError, match="v"):
        ops.isqrt(np.array([4], np.int64))
