"""normalize: widths, zero rows, extremes, unit length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from ops.harness import WIDTHS, check, random_s16, strided
from oracle import normalize as oracle
from pyqrt import ModelError, ops


def check_rows(input: NDArray[np.int16]) -> None:
    check("normalize", lambda variant: ops.normalize(input, variant=variant), oracle.normalize(input))


@pytest.mark.parametrize("n", [*WIDTHS, 384, 768, 1024])
def test_widths(n: int) -> None:
    rng = np.random.default_rng(n)
    for limit in (1, 100, 32767):
        check_rows(random_s16(rng, 4, n, limit=limit))
        check_rows(strided(random_s16(rng, 3, n, limit=limit)))


@pytest.mark.parametrize("n", [1, 2, 17, 65536])
def test_special_rows(n: int) -> None:
    hot = np.zeros(n, np.int16)
    hot[n // 2] = -32767
    rows = [np.full(n, value, np.int16) for value in (0, 1, -1, 32767, -32767)]
    check_rows(np.array([*rows, hot, hot // 32767]))


def test_every_single_value() -> None:
    """A row of one element is +-1, or 0; with a zero beside it likewise."""
    x = np.arange(-32767, 32768, dtype=np.int16)[:, None]
    check_rows(np.concatenate([x[::7], np.zeros_like(x[::7])], axis=1))
    for variant in ops.variants("normalize"):
        expected = np.sign(x.astype(np.int32)) << 30
        assert np.abs(ops.normalize(x, variant=variant) - expected).max() <= 2


def test_no_rows() -> None:
    check_rows(np.zeros((0, 5), np.int16))


SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 140))


@given(arrays(np.int16, SHAPES, elements=st.integers(-32767, 32767)))
def test_any_rows(input: NDArray[np.int16]) -> None:
    check_rows(input)


def test_unit_length() -> None:
    rows = random_s16(np.random.default_rng(5), 50, 384)
    unit = ops.normalize(rows).astype(float) / 2**30
    assert np.abs(np.linalg.norm(unit, axis=1) - 1).max() < 1e-8


@pytest.mark.parametrize(
    ("input", "words", "error"),
    [
        (np.zeros((2, 4), np.int32), "input", TypeError),
        (np.full((2, 4), -32768, np.int16), "input", ModelError),
        (np.zeros((2, 0), np.int16), "input", ModelError),
        (np.zeros((1, 65537), np.int16), "65536", ModelError),
        (np.zeros(4, np.int16), "input", ModelError),
    ],
)
def test_bad_arguments(input: Any, words: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=words):
        ops.normalize(input)
