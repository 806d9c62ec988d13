"""softmax: rows around every vector width, extreme scores and multipliers, ties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from ops.harness import WIDTHS, check, strided
from oracle import softmax as oracle
from pyqrt import ModelError, ops
from pyqrt.arithmetic import POLYNOMIALS, Polynomial

TOP = 2**30 - 1
MULTIPLIERS = (1, 2, 65535, 65536, 65537, 123457, 2**20 + 1, 2**28, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)


def check_rows(score: NDArray[np.int32], multiplier: int, **options: Any) -> None:
    expected = oracle.softmax(score, multiplier, **options)
    check("softmax", lambda variant: ops.softmax(score, multiplier, variant=variant, **options), expected)


def scores(rng: np.random.Generator, rows: int, n: int, spread: int) -> NDArray[np.int32]:
    return rng.integers(-spread, spread + 1, (rows, n)).astype(np.int32)


@pytest.mark.parametrize("n", [*WIDTHS, 255, 256, 257, 512, 1033])
def test_widths(n: int) -> None:
    for multiplier in (2**15 + 3, 2**20, 2**26 + 5):
        # Scores that reach a little beyond the 16 powers of two a probability spans.
        check_rows(scores(np.random.default_rng(n), 5, n, (2**33 // multiplier)), multiplier)


@pytest.mark.parametrize("multiplier", MULTIPLIERS)
def test_multipliers(multiplier: int) -> None:
    rng = np.random.default_rng(multiplier)
    for spread in (0, 1, 3, 2**32 // multiplier // 2, 2**32 // multiplier, TOP):
        check_rows(scores(rng, 6, 70, min(spread, TOP)), multiplier)


@pytest.mark.parametrize("polynomial", POLYNOMIALS)
def test_every_exponent(polynomial: Polynomial) -> None:
    """u = 0..65535 all occur: distances 0..65535 with a multiplier of 2^16."""
    distances = np.arange(65536, dtype=np.int32)
    check_rows(-distances[None, :], 65536, polynomial=polynomial)
    check_rows(-distances[None, :70], 65536, polynomial=polynomial)  # a part of a step
    check_rows(-np.concatenate([[0], distances[:-1] * 7 + 3]).astype(np.int32)[None, :], 65536)


@pytest.mark.parametrize("n", [1, 2, 16, 33, 64, 100])
def test_extreme_scores(n: int) -> None:
    rng = np.random.default_rng(n)
    rows = [np.full(n, TOP), np.full(n, -TOP), np.zeros(n), rng.choice([-TOP, TOP], n)]
    for hot in (0, n // 2, n - 1):  # one high score, one low score
        rows += [np.where(np.arange(n) == hot, TOP, -TOP), np.where(np.arange(n) == hot, -TOP, TOP)]
    for multiplier in MULTIPLIERS:
        check_rows(np.array(rows, np.int32), multiplier)


def test_around_the_limit() -> None:
    """Distances just below, at and above (2^32 - 1) / multiplier, where the product would wrap."""
    for multiplier in MULTIPLIERS:
        limit = (2**32 - 1) // multiplier
        near = [d for d in range(limit - 3, limit + 4) if 0 <= d <= 2 * TOP]
        check_rows(np.array([[TOP, *(TOP - d for d in near)]], np.int64).astype(np.int32), multiplier)


def test_longest_row() -> None:
    score = scores(np.random.default_rng(3), 2, 65536, 500)
    score[1] = 7
    check_rows(score, 2**21)
    assert oracle.softmax(score, 2**21)[2][1] == 65536 * oracle.MAX_P


def test_nothing() -> None:
    check_rows(np.zeros((0, 9), np.int32), 5)
    check_rows(np.zeros((4, 0), np.int32), 5)


@pytest.mark.parametrize("n", [3, 16, 17, 64, 65])
def test_strided_rows(n: int) -> None:
    # The margin holds +-2^31, which would be the maximum if it were read.
    check_rows(strided(scores(np.random.default_rng(n), 4, n, 4000)), 2**20)


@given(arrays(np.int32, st.tuples(st.integers(1, 4), st.integers(1, 140)), elements=st.integers(-TOP, TOP)),
       st.one_of(st.integers(1, 2**32 - 1), st.integers(0, 31).map(lambda bit: 1 << bit)))  # fmt: skip
def test_any_scores(score: NDArray[np.int32], multiplier: int) -> None:
    check_rows(score, multiplier)
    check_rows((score % 4096).astype(np.int32), multiplier)


@given(st.lists(st.integers(-20000, 20000), min_size=1, max_size=100), st.integers(2**14, 2**20))
def test_properties(row: list[int], multiplier: int) -> None:
    """Order is kept, the maximum gets the largest probability, a shift of the row changes nothing."""
    score = np.array([row], np.int32)
    high, low, total = ops.softmax(score, multiplier)
    p = high.astype(int) * 128 + low
    order = np.argsort(score[0], kind="stable")
    assert np.all(np.diff(p[0][order]) >= 0)
    assert p[0][np.argmax(score[0])] == oracle.MAX_P
    assert total[0] == p.sum()
    moved = ops.softmax(score + np.int32(12345), multiplier)
    assert np.array_equal(moved[0], high)
    assert np.array_equal(moved[1], low)


@pytest.mark.parametrize(
    ("score", "multiplier", "words", "error"),
    [
        (np.zeros((2, 3), np.int64), 1, "score", TypeError),
        (np.zeros(3, np.int32), 1, "score", ModelError),
        (np.full((2, 3), 2**30, np.int32), 1, "score", ModelError),
        (np.full((2, 3), -(2**30), np.int32), 1, "score", ModelError),
        (np.zeros((1, 65537), np.int32), 1, "65536", ModelError),
        (np.zeros((2, 3), np.int32), 0, "multiplier", ModelError),
        (np.zeros((2, 3), np.int32), 2**32, "multiplier", ModelError),
        (np.zeros((2, 3), np.int32), 1.5, "multiplier", TypeError),
        (np.zeros((2, 6), np.int32)[:, ::2], 1, "score", ModelError),
    ],
)
def test_bad_arguments(score: Any, multiplier: Any, words: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=words):
        ops.softmax(score, multiplier)
