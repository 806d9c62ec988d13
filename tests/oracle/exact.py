"""Integers without overflow: `Exact` for arrays of values, `Interval` for proofs about ranges.

Both take the operators `+ - * << >>` with Python's meaning (`>>` is the floor), so one formula
computes values from `Exact` operands and proves bounds from `Interval` operands.

An `Exact` holds int64 as long as interval arithmetic over the operands' extremes proves that the
result fits 64 bits, and Python integers otherwise. The choice affects speed only.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Integers = Any  # int, Exact or Interval: what a formula accepts


@dataclass(frozen=True)
class Interval:
    """All integers from `low` to `high`, both included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"empty interval [{self.low}, {self.high}]")

    @staticmethod
    def symmetric(limit: int) -> Interval:
        return Interval(-limit, limit)

    def contains(self, other: Interval) -> bool:
        return self.low <= other.low and other.high <= self.high

    def fits(self, bits: int, signed: bool = True) -> bool:
        low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
        return low <= self.low and self.high <= high

    def magnitude(self) -> int:
        return max(-self.low, self.high, 0)

    # Each operator is monotone in each operand while the other is held, so that the extremes of
    # the result lie at the corners.
    def _corners(self, other: Interval | int, function: Callable[[int, int], int]) -> Interval:
        right = interval(other)
        values = [function(a, b) for a, b in product((self.low, self.high), (right.low, right.high))]
        return Interval(min(values), max(values))

    def __add__(self, other: Interval | int) -> Interval:
        return self._corners(other, operator.add)

    def __sub__(self, other: Interval | int) -> Interval:
        return self._corners(other, operator.sub)

    def __mul__(self, other: Interval | int) -> Interval:
        return self._corners(other, operator.mul)

    def __lshift__(self, other: Interval | int) -> Interval:
        return self._corners(other, operator.lshift)

    def __rshift__(self, other: Interval | int) -> Interval:
        return self._corners(other, operator.rshift)

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: Interval | int) -> Interval:
        return interval(other) - self

    def __neg__(self) -> Interval:
        return Interval(-self.high, -self.low)


def interval(value: Interval | int) -> Interval:
    """An integer as the interval that holds only it."""
    return value if isinstance(value, Interval) else Interval(int(value), int(value))


class Exact:
    """An array of integers of any size, with numpy's broadcasting."""

    __slots__ = ("values",)
    __array_ufunc__ = None  # numpy scalars on the left leave the operation to this class

    def __init__(self, values: ArrayLike | Exact) -> None:
        array = values.values if isinstance(values, Exact) else np.asarray(values)
        if array.dtype.kind not in "iubO":
            raise TypeError(f"integers expected, got {array.dtype}")
        if array.dtype == object or array.dtype == np.uint64:
            array = array.astype(object)
            if array.size == 0 or Interval(int(array.min()), int(array.max())).fits(64):
                array = array.astype(np.int64)
        self.values: NDArray[Any] = array if array.dtype == object else array.astype(np.int64)

    def extent(self) -> Interval:
        """The smallest interval that holds every element; [0, 0] for no elements."""
        if self.values.size == 0:
            return Interval(0, 0)
        return Interval(int(self.values.min()), int(self.values.max()))

    def to(self, dtype: type[np.integer[Any]]) -> NDArray[Any]:
        """A numpy array of `dtype`. Raises OverflowError when an element does not fit."""
        info, extent = np.iinfo(dtype), self.extent()
        if not Interval(int(info.min), int(info.max)).contains(extent):
            raise OverflowError(f"{extent} does not fit {np.dtype(dtype)}")
        return self.values.astype(dtype)

    def _apply(self, other: Integers, function: Callable[[Any, Any], Any], swapped: bool = False) -> Exact:
        left, right = self, exact(other)
        if swapped:
            left, right = right, left
        shifts = function in (operator.lshift, operator.rshift)
        small = left.values.dtype == right.values.dtype == np.int64 and (
            not shifts or right.extent().fits(6, signed=False)
        )
        if small and function(left.extent(), right.extent()).fits(64):
            return Exact(function(left.values, right.values))
        return Exact(np.asarray(function(left.values.astype(object), right.values.astype(object)), object))

    def __add__(self, other: Integers) -> Exact:
        return self._apply(other, operator.add)

    def __sub__(self, other: Integers) -> Exact:
        return self._apply(other, operator.sub)

    def __rsub__(self, other: Integers) -> Exact:
        return self._apply(other, operator.sub, swapped=True)

    def __mul__(self, other: Integers) -> Exact:
        return self._apply(other, operator.mul)

    def __lshift__(self, other: Integers) -> Exact:
        return self._apply(other, operator.lshift)

    def __rlshift__(self, other: Integers) -> Exact:
        return self._apply(other, operator.lshift, swapped=True)

    def __rshift__(self, other: Integers) -> Exact:
        return self._apply(other, operator.rshift)

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Exact:
        return 0 - self

    def __getitem__(self, key: Any) -> Exact:
        return Exact(self.values[key])

    def matmul(self, other: Exact) -> Exact:
        """The matrix product: int64 when terms times the largest product fits 64 bits."""
        terms = self.values.shape[-1]
        bound = terms * self.extent().magnitude() * other.extent().magnitude()
        if Interval.symmetric(bound).fits(64):
            return Exact(self.values.astype(np.int64) @ other.values.astype(np.int64))
        return Exact(self.values.astype(object) @ other.values.astype(object))

    def sum(self, axis: int) -> Exact:
        """Sums along one axis, exact in the same way."""
        if Interval.symmetric(self.values.shape[axis] * self.extent().magnitude()).fits(64):
            return Exact(self.values.sum(axis=axis))
        return Exact(self.values.astype(object).sum(axis=axis))

    def map(self, function: Callable[[int], int]) -> Exact:
        """`function` of every element as a Python integer."""
        flat = [function(int(value)) for value in self.values.ravel()]
        return Exact(np.array(flat, object).reshape(self.values.shape))


def exact(value: Integers) -> Exact:
    """An integer or array as `Exact`."""
    return value if isinstance(value, Exact) else Exact(value)


def clamp(value: Integers, low: int, high: int) -> Integers:
    """`value` limited to [low, high], for an integer, an array or an interval."""
    if isinstance(value, Exact):
        return Exact(np.minimum(np.maximum(value.values, low), high))
    if isinstance(value, Interval):
        return Interval(clamp(value.low, low, high), clamp(value.high, low, high))
    return min(max(value, low), high)
