"""embedding: one to four tables, widths, extremes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.harness import WIDTHS, check, random_s8, signs
from oracle import embedding as oracle
from pyqrt import ModelError, ops

Table = tuple[Any, Any, Any]


def table(rng: np.random.Generator, rows: int, entries: int, width: int) -> Table:
    return (
        random_s8(rng, entries, width),
        rng.integers(0, 32768, entries).astype(np.int16),
        rng.integers(0, entries, rows).astype(np.int32),
    )


def check_tables(tables: list[Table], shift: int) -> None:
    check(
        "embedding",
        lambda variant: ops.embedding(tables, shift=shift, variant=variant),
        oracle.embedding(tables, shift=shift),
    )


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_widths(count: int) -> None:
    for width in (*WIDTHS, 384):
        rng = np.random.default_rng([count, width])
        check_tables([table(rng, 9, entries, width) for entries in (50, 9, 2, 1)[:count]], 7)


@pytest.mark.parametrize("shift", range(1, 31))
def test_extremes(shift: int) -> None:
    """Four tables of +-127 times 32767 (the largest sum), and small sums with ties."""
    rng = np.random.default_rng(shift)
    for multiplier in (0, 1, 32767):
        tables = []
        for _ in range(4):
            data = signs(rng, 127, 3, 40).astype(np.int8)
            data[0], data[1] = 127, -127
            tables.append((data, np.full(3, multiplier, np.int16), np.array([0, 1, 2, 2, 1], np.int32)))
        check_tables(tables, shift)


def test_ties() -> None:
    data = np.arange(-127, 128, dtype=np.int8)[None, :]
    for shift in (1, 2, 3, 5):
        for multiplier in (1, 2, 4, 16):
            check_tables([(data, np.array([multiplier], np.int16), np.zeros(2, np.int32))], shift)


def test_no_rows() -> None:
    check_tables([table(np.random.default_rng(0), 0, 5, 20)], 3)


def test_first_and_last_entry() -> None:
    data, multiplier, _ = table(np.random.default_rng(1), 1, 30000, 16)
    check_tables([(data, multiplier, np.array([0, 29999, 29999, 0], np.int32))], 9)


@given(
    st.integers(1, 4), st.integers(0, 20), st.integers(1, 140), st.integers(1, 30), st.integers(0, 2**32 - 1)
)
def test_any_case(count: int, rows: int, width: int, shift: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    check_tables([table(rng, rows, int(rng.integers(1, 9)), width) for _ in range(count)], shift)


_DATA, _SCALE, _INDEX = np.zeros((3, 4), np.int8), np.ones(3, np.int16), np.zeros(2, np.int32)


@pytest.mark.parametrize(
    ("tables", "shift", "words", "error"),
    [
        ([], 1, "table", ModelError),
        ([(_DATA, _SCALE, _INDEX)] * 5, 1, "table", ModelError),
        ([(_DATA, _SCALE, _INDEX)], 0, "shift", ModelError),
        ([(_DATA, _SCALE, _INDEX)], 31, "shift", ModelError),
        ([(_DATA.astype(np.int16), _SCALE, _INDEX)], 1, "data", TypeError),
        ([(np.full((3, 4), -128, np.int8), _SCALE, _INDEX)], 1, "data", ModelError),
        ([(_DATA, np.full(3, -1, np.int16), _INDEX)], 1, "multiplier", ModelError),
        ([(_DATA, np.ones(2, np.int16), _INDEX)], 1, "multiplier", ModelError),
        ([(_DATA, _SCALE, np.array([0, 3], np.int32))], 1, "index", ModelError),
        ([(_DATA, _SCALE, np.array([-1, 0], np.int32))], 1, "index", ModelError),
        ([(_DATA, _SCALE, np.zeros(2, np.int64))], 1, "index", TypeError),
        ([(_DATA, _SCALE, _INDEX), (_DATA, _SCALE, np.zeros(3, np.int32))], 1, "index", ModelError),
        ([(_DATA, _SCALE, _INDEX), (np.zeros((3, 5), np.int8), _SCALE, _INDEX)], 1, "data", ModelError),
    ],
)
def test_bad_arguments(tables: list[Table], shift: int, words: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=words):
        ops.embedding(tables, shift=shift)
