"""Declared widths of intermediates: checked on values, proven on intervals, recorded for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from oracle.exact import Exact, Integers, Interval, interval

Ledger = dict[str, Interval]  # the range seen (values) or proven (intervals) under every name

_ledgers: list[Ledger] = []


class BudgetError(ArithmeticError):
    """An intermediate does not fit the type its definition declares."""


def extent(value: Integers) -> Interval:
    return value.extent() if isinstance(value, Exact) else interval(value)


def budget(name: str, value: Integers, bits: int, signed: bool = True) -> Integers:
    """Returns `value` after checking that every element fits `bits` bits.

    Raises BudgetError naming the intermediate, its range and the declared type.
    """
    if isinstance(value, Exact) and value.values.size == 0:
        return value
    half = 1 << (bits - 1)
    return within(name, value, Interval(-half, half - 1) if signed else Interval(0, 2 * half - 1))


def within(name: str, value: Integers, allowed: Interval) -> Integers:
    """Returns `value` after checking that every element lies in `allowed`."""
    if isinstance(value, Exact) and value.values.size == 0:
        return value
    seen = extent(value)
    if not allowed.contains(seen):
        raise BudgetError(
            f"{name} reaches [{seen.low}, {seen.high}]; it may be [{allowed.low}, {allowed.high}]"
        )
    for ledger in _ledgers:
        known = ledger.get(name, seen)
        ledger[name] = Interval(min(known.low, seen.low), max(known.high, seen.high))
    return value


@contextmanager
def record() -> Iterator[Ledger]:
    """Collects the range of every budgeted intermediate inside the `with` block."""
    ledger: Ledger = {}
    _ledgers.append(ledger)
    try:
        yield ledger
    finally:
        _ledgers.remove(ledger)
