"""pool: every kind, widths, empty sequences, extremes."""

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

KINDS = ("mean", "first", "last", "max", "token")


def check_rows(input: NDArray[np.int16], offsets: NDArray[np.int32], kind: str) -> None:
    ids = np.random.default_rng(len(input)).integers(0, 9, len(input)).astype(np.int32)
    by: dict[str, Any] = {"kind": kind, "ids": ids, "token": 4} if kind == "token" else {"kind": kind}
    check(
        "pool",
        lambda variant: ops.pool(input, offsets, **by, variant=variant),
        oracle.pool(input, offsets, **by),
    )


def test_token_that_is_first_last_twice_or_nowhere() -> None:
    ids = np.array([7, 1, 1, 7, 1, 7, 7, 1, 2, 7], np.int32)  # of the last, none is in a sequence
    offsets = np.array([0, 2, 4, 7, 9], np.int32)
    rows = np.arange(10, dtype=np.int16)[:, None]
    for variant in ops.variants("pool"):
        found = ops.pool(rows, offsets, kind="token", ids=ids, token=7, variant=variant)
        assert found[:, 0].tolist() == [0, 3, 5, 7], variant


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


def test_ids_of_a_token() -> None:
    offsets = np.array([0, 4], np.int32)
    with pytest.raises(ModelError, match="ids is None"):
        ops.pool(_ROWS, offsets, kind="token")
    with pytest.raises(ModelError, match="ids"):
        ops.pool(_ROWS, offsets, kind="token", ids=np.zeros(3, np.int32))
    with pytest.raises(TypeError, match="ids"):
        ops.pool(_ROWS, offsets, kind="token", ids=np.zeros(4, np.int64))
    with pytest.raises(ModelError, match="token"):
        ops.pool(_ROWS, offsets, kind="token", ids=np.zeros(4, np.int32), token=-1)


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
