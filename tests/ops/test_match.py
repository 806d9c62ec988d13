"""match: widths, shifts, empty sequences, extremes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ops.harness import WIDTHS, check, packed_offsets, random_s16, strided
from oracle import match as oracle
from pyqrt import ModelError, ops


def check_rows(
    tokens: NDArray[np.int16], rows: NDArray[np.int16], offsets: NDArray[np.int32], shift: int
) -> None:
    check(
        "match",
        lambda variant: ops.match(tokens, rows, offsets, shift=shift, variant=variant),
        oracle.match(tokens, rows, offsets, shift=shift),
    )


def test_widths() -> None:
    for width in (*WIDTHS, 768):
        rng = np.random.default_rng(width)
        lengths = [1, 2, 0, 17]
        tokens, rows = random_s16(rng, sum(lengths) + 3, width), random_s16(rng, len(lengths), width)
        for shift in (max(1, (width - 1).bit_length()), 16):
            check_rows(tokens, rows, packed_offsets(lengths, begin=1), shift)
            check_rows(strided(tokens), strided(rows), packed_offsets(lengths, begin=2), shift)


@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, -1)])
def test_extremes(signs: tuple[int, int]) -> None:
    for width, shift in ((1, 1), (2, 1), (4, 2), (65536, 16)):
        tokens = np.full((2, width), signs[0] * 32767, np.int16)
        rows = np.full((1, width), signs[1] * 32767, np.int16)
        check_rows(tokens, rows, np.array([0, 2], np.int32), shift)


def test_half_way_is_rounded_up() -> None:
    tokens, rows = np.array([[1], [-1], [3], [-3]], np.int16), np.ones((1, 1), np.int16)
    products = ops.match(tokens, rows, np.array([0, 4], np.int32), shift=1)
    assert products.tolist() == [1, 0, 2, -1]


def test_nothing() -> None:
    check_rows(np.zeros((0, 7), np.int16), np.zeros((0, 7), np.int16), np.array([0], np.int32), 3)
    check_rows(np.ones((3, 7), np.int16), np.ones((1, 7), np.int16), np.array([3, 3], np.int32), 3)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(1, 140), st.integers(0, 2**32 - 1))
def test_any_case(lengths: list[int], width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tokens, rows = random_s16(rng, sum(lengths), width), random_s16(rng, len(lengths), width)
    check_rows(tokens, rows, packed_offsets(lengths), int(rng.integers(width.bit_length(), 17)))


_TOKENS, _ROWS = np.zeros((4, 3), np.int16), np.zeros((1, 3), np.int16)


@pytest.mark.parametrize(
    ("tokens", "rows", "offsets", "shift", "words", "error"),
    [
        (_TOKENS.astype(np.int8), _ROWS, [0, 4], 2, "tokens", TypeError),
        (_TOKENS, _ROWS.astype(np.int8), [0, 4], 2, "rows", TypeError),
        (_TOKENS - np.int16(32767) - np.int16(1), _ROWS, [0, 4], 2, "tokens", ModelError),
        (_TOKENS, _ROWS[:, :2], [0, 4], 2, "rows", ModelError),
        (_TOKENS, _ROWS, [0, 2, 4], 2, "one for each of 2 sequences", ModelError),
        (_TOKENS, _ROWS, [0, 5], 2, "offsets", ModelError),
        (_TOKENS, _ROWS, [0, 4], 0, "shift", ModelError),
        (_TOKENS, _ROWS, [0, 4], 17, "shift", ModelError),
        (_TOKENS, _ROWS, [0, 4], 1, "too little for a width of 3", ModelError),
    ],
)
def test_bad_arguments(
    tokens: Any, rows: Any, offsets: list[int], shift: int, words: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match=words):
        ops.match(tokens, rows, np.array(offsets, np.int32), shift=shift)
