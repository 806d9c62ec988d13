"""pool: mean, first, last and max, widths, empty sequences, extremes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ops.harness import WIDTHS, check, packed_offsets, random_s16, strided
from oracle import pool as oracle
from pyqrt import ModelError, ops

KINDS = ("mean", "first", "last", "max")


def check_rows(input: NDArray[np.int16], offsets: NDArray[np.int32], kind: str) -> None:
    check(
        "pool",
        lambda variant: ops.pool(input, offsets, kind=kind, variant=variant),
        oracle.pool(input, offsets, kind=kind),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_widths(kind: str) -> None:
    for width in WIDTHS:
        rng = np.random.default_rng(width)
        lengths = [1, 2, 3, 0, 17, 64, 65]
        rows = random_s16(rng, sum(lengths) + 2, width)
        check_rows(rows, packed_offsets(lengths, begin=1), kind)
        check_rows(strided(rows), packed_offsets(lengths, begin=2), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_longest_sequence(kind: str) -> None:
    """65536 tokens of +-32767: the largest sums."""
    rows = np.full((65536, 5), 32767, np.int16)
    rows[:, 1] = -32767
    rows[::2, 2] = -32767
    rows[:32767, 3] = -1
    check_rows(rows, np.array([0, 65536], np.int32), kind)


def test_ties() -> None:
    """Every small sum over every small length: halves round up, for either sign."""
    for length in range(1, 9):
        sums = np.arange(-20, 21, dtype=np.int16)
        rows = np.zeros((length, len(sums)), np.int16)
        rows[0] = sums
        check_rows(rows, np.array([0, length], np.int32), "mean")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing(kind: str) -> None:
    check_rows(np.zeros((0, 7), np.int16), np.array([0], np.int32), kind)
    check_rows(np.zeros((0, 7), np.int16), np.array([0, 0], np.int32), kind)
    check_rows(np.ones((3, 7), np.int16), np.array([3, 3, 3], np.int32), kind)


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=5),
    st.integers(1, 140),
    st.sampled_from(KINDS),
    st.integers(0, 2**32 - 1),
)
def test_any_case(lengths: list[int], width: int, kind: str, seed: int) -> None:
    check_rows(random_s16(np.random.default_rng(seed), sum(lengths), width), packed_offsets(lengths), kind)


_ROWS = np.zeros((4, 3), np.int16)


@pytest.mark.parametrize(
    ("input", "offsets", "kind", "words", "error"),
    [
        (_ROWS.astype(np.int8), [0, 4], "mean", "input", TypeError),
        (np.full((4, 3), -32768, np.int16), [0, 4], "mean", "input", ModelError),
        (_ROWS, [0, 5], "mean", "offsets", ModelError),
        (_ROWS, [2, 1], "mean", "offsets|length", ModelError),
        (_ROWS, [], "mean", "offsets", ModelError),
        (_ROWS, [0, 4], "median", "kind", ModelError),
        (np.zeros((65537, 1), np.int16), [0, 65537], "mean", "65536", ModelError),
    ],
)
def test_bad_arguments(input: Any, offsets: list[int], kind: str, words: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=words):
        ops.pool(input, np.array(offsets, np.int32), kind=kind)
