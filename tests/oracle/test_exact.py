"""The oracle's own integers: exact whatever the size, and intervals that hold every result."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.budget import BudgetError, budget, record, within
from oracle.exact import Exact, Interval, clamp, exact
from oracle.fixed import mulr, requantize, rounded_mean, rshr

OPERATORS = (operator.add, operator.sub, operator.mul, operator.lshift, operator.rshift)

sizes = st.one_of(st.integers(-(2**70), 2**70), st.integers(-(2**32), 2**32), st.integers(-9, 9))


@given(st.lists(st.tuples(sizes, sizes), min_size=1, max_size=6))
def test_arrays_equal_python_integers(pairs: list[tuple[int, int]]) -> None:
    left, right = zip(*pairs, strict=True)
    for function in OPERATORS:
        b = [abs(v) % 80 for v in right] if function in OPERATORS[3:] else list(right)
        actual = function(exact(np.array(left, object)), exact(np.array(b, object)))
        assert actual.values.tolist() == [function(x, y) for x, y in zip(left, b, strict=True)]


@given(st.tuples(sizes, sizes), st.tuples(sizes, sizes), st.data())
def test_intervals_hold_every_result(x: tuple[int, int], y: tuple[int, int], data: Any) -> None:
    a, b = Interval(min(x), max(x)), Interval(min(y), max(y))
    shifts = Interval(min(v % 80 for v in y), max(v % 80 for v in y))
    left = data.draw(st.integers(a.low, a.high))
    for function in OPERATORS:
        other = shifts if function in OPERATORS[3:] else b
        right = data.draw(st.integers(other.low, other.high))
        value = function(left, right)
        assert function(a, other).contains(Interval(value, value))


def test_matmul_and_sum_beyond_int64() -> None:
    big = np.array([[2**62, 2**62, 2**62]], object)
    assert Exact(big).matmul(Exact(big.T)).values.tolist() == [[3 * 2**124]]
    assert Exact(big).sum(1).values.tolist() == [3 * 2**62]


def test_conversions() -> None:
    assert Exact([1, -128]).to(np.int8).tolist() == [1, -128]
    with pytest.raises(OverflowError):
        Exact([128]).to(np.int8)
    with pytest.raises(TypeError):
        Exact([0.5])
    assert (np.int64(2**62) * Exact([4])).values.tolist() == [2**64]
    assert clamp(Interval(-5, 900), -127, 127) == Interval(-5, 127)


def test_budgets() -> None:
    assert budget("fits", 2**31 - 1, 32) == 2**31 - 1
    with pytest.raises(BudgetError, match="sum reaches"):
        budget("sum", Exact([0, 2**31]), 32)
    with pytest.raises(BudgetError, match="square"):
        budget("square", -1, 32, signed=False)
    with pytest.raises(BudgetError, match="e reaches"):
        within("e", Interval(0, 5), Interval(1, 5))
    with record() as seen:
        budget("a", Exact([3, -4]), 8)
        budget("a", 7, 8)
    budget("a", 100, 8)
    assert seen == {"a": Interval(-4, 7)}


def test_rounding() -> None:
    assert [rshr(v, 1, "v") for v in (-3, -2, -1, 0, 1, 2, 3)] == [-1, -1, 0, 0, 1, 1, 2]
    assert rshr(5, 0, "v") == 5
    assert rshr(5, -3, "v") == 40
    assert [rounded_mean(s, 2) for s in (-3, -1, 1, 3)] == [-1, 0, 1, 2]
    assert [mulr(a, 2**14) for a in (-3, -1, 1, 3)] == [-1, 0, 1, 2]
    with pytest.raises(BudgetError, match="half"):
        rshr(2**31 - 1, 1, "v")


def test_requantize_refuses_what_the_contract_excludes() -> None:
    assert requantize(2**24 - 1, 2**31 - 1, 26) < 2**29
    with pytest.raises(BudgetError, match="acc"):
        requantize(2**24, 2**30, 26)
    for multiplier, shift in ((2**30 - 1, 33), (2**31, 33), (2**30, 25), (2**30, 63)):
        with pytest.raises(BudgetError):
            requantize(1, multiplier, shift)
