"""lookup: every input, extreme tables, widths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ops.harness import WIDTHS, check, random_s16, signs, strided
from oracle import lookup as oracle
from pyqrt import ModelError, ops


def check_rows(input: NDArray[np.int16], table: NDArray[np.int16]) -> None:
    check("lookup", lambda variant: ops.lookup(input, table, variant=variant), oracle.lookup(input, table))


def tanh_table() -> NDArray[np.int16]:
    x = np.arange(-32768, 32769, 128) / 2**13
    return np.round(np.tanh(x) * 32767).astype(np.int16)


def test_every_input() -> None:
    rng = np.random.default_rng(0)
    x = np.arange(-32767, 32768, dtype=np.int16)[None, :]
    for table in (
        tanh_table(),
        random_s16(rng, 513),
        signs(rng, 32767, 513).astype(np.int16),
        np.resize(np.array([32767, -32767], np.int16), 513),
        np.full(513, -32767, np.int16),
        np.arange(-256, 257).astype(np.int16),
    ):
        check_rows(x, table)


def test_identity() -> None:
    """A straight line through the table is reproduced, whatever the input."""
    x = np.arange(-32767, 32768, dtype=np.int16)[None, :]
    for variant in ops.variants("lookup"):
        line = (np.arange(-256, 257) * 64).astype(np.int16)
        assert np.array_equal(ops.lookup(x, line, variant=variant), (x.astype(np.int32) + 1) >> 1)


def test_tanh_error() -> None:
    x = np.arange(-32767, 32768, dtype=np.int16)[None, :]
    error = ops.lookup(x, tanh_table()) / 32767 - np.tanh(x / 2**13)
    # Interpolation h^2 / 8 * max|tanh''| (0.770), then half an LSB each for table and result.
    assert np.abs(error).max() < (128 / 2**13) ** 2 / 8 * 0.770 + 1 / 32767


@pytest.mark.parametrize("width", WIDTHS)
def test_widths(width: int) -> None:
    rng = np.random.default_rng(width)
    check_rows(random_s16(rng, 3, width), random_s16(rng, 513))
    check_rows(strided(random_s16(rng, 3, width)), tanh_table())


def test_nothing() -> None:
    check_rows(np.zeros((0, 5), np.int16), tanh_table())
    check_rows(np.zeros((5, 0), np.int16), tanh_table())


@given(st.integers(1, 4), st.integers(1, 100), st.integers(0, 2**32 - 1))
def test_any_case(rows: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    check_rows(random_s16(rng, rows, width), random_s16(rng, 513))


@pytest.mark.parametrize(
    ("input", "table", "words", "error"),
    [
        (np.zeros((2, 3), np.int8), tanh_table(), "input", TypeError),
        (np.full((2, 3), -32768, np.int16), tanh_table(), "input", ModelError),
        (np.zeros((2, 3), np.int16), np.zeros(512, np.int16), "table", ModelError),
        (np.zeros((2, 3), np.int16), np.full(513, -32768, np.int16), "table", ModelError),
        (np.zeros((2, 3), np.int16), np.zeros(513, np.int32), "table", TypeError),
    ],
)
def test_bad_arguments(input: Any, table: Any, words: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=words):
        ops.lookup(input, table)
