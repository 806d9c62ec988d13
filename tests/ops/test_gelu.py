"""gelu: every input, every shift, widths and extremes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ops.harness import WIDTHS, check, random_s16, strided
from oracle import gelu as oracle
from pyqrt import ModelError, ops
from pyqrt.arithmetic import POLYNOMIALS

Int16 = NDArray[np.int16]


def check_rows(input: Int16, multiplier: Int16, shift: int, zero_point: int = 0, **options: Any) -> None:
    options |= {"shift": shift, "zero_point": zero_point}
    check(
        "gelu",
        lambda variant: ops.gelu(input, multiplier, variant=variant, **options),
        oracle.gelu(input, multiplier, **options),
    )


def multipliers(rng: np.random.Generator, n: int) -> NDArray[np.int16]:
    return rng.integers(0, 32768, n).astype(np.int16)


@pytest.mark.parametrize(
    ("multiplier", "shift", "zero_point"), [(32767, 22, -100), (1, 1, 0), (9001, 19, 127)]
)
@pytest.mark.parametrize("polynomial", POLYNOMIALS)
def test_every_input(multiplier: int, shift: int, zero_point: int, polynomial: str) -> None:
    z = np.arange(-32767, 32768, dtype=np.int16)[None, :]
    multipliers = np.full(z.shape[1], multiplier, np.int16)
    check_rows(z, multipliers, shift, zero_point, polynomial=polynomial)


@pytest.mark.parametrize("n", WIDTHS)
def test_widths(n: int) -> None:
    rng = np.random.default_rng(n)
    check_rows(random_s16(rng, 5, n, limit=6000), multipliers(rng, n), 19, -80)
    check_rows(strided(random_s16(rng, 3, n)), multipliers(rng, n), 22, 11)


@pytest.mark.parametrize("shift", range(1, 31))
def test_every_shift(shift: int) -> None:
    """With extreme multipliers, and products of every residue around a tie."""
    rng = np.random.default_rng(shift)
    z = np.concatenate([random_s16(rng, 64), np.array([-32767, -3328, -1, 0, 1, 32766, 32767], np.int16)])
    for multiplier in (0, 1, 2**14, 32767):
        for zero_point in (-127, 0, 127):
            check_rows(z[None, :], np.full(len(z), multiplier, np.int16), shift, zero_point)


def test_nothing() -> None:
    check_rows(np.zeros((0, 5), np.int16), np.ones(5, np.int16), 3)
    check_rows(np.zeros((5, 0), np.int16), np.ones(0, np.int16), 3)


@given(
    st.integers(1, 6), st.integers(1, 140), st.integers(1, 30), st.integers(-127, 127), st.integers(0, 2**32)
)
def test_any_case(rows: int, n: int, shift: int, zero_point: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    input = random_s16(rng, rows, n, limit=int(rng.integers(1, 32768)))
    check_rows(input, multipliers(rng, n), shift, zero_point)


@pytest.mark.parametrize(
    ("change", "words", "error"),
    [
        ({"input": np.zeros((2, 4), np.int8)}, "input", TypeError),
        ({"input": np.full((2, 4), -32768, np.int16)}, "input", ModelError),
        ({"input": np.zeros(4, np.int16)}, "input", ModelError),
        ({"multiplier": np.zeros(3, np.int16)}, "multiplier", ModelError),
        ({"multiplier": np.zeros(4, np.int32)}, "multiplier", TypeError),
        ({"multiplier": np.full(4, -1, np.int16)}, "multiplier", ModelError),
        ({"shift": 0}, "shift", ModelError),
        ({"shift": 31}, "shift", ModelError),
        ({"zero_point": -128}, "zero_point", ModelError),
        ({"zero_point": 128}, "zero_point", ModelError),
        ({"variant": "avx1024"}, "avx1024", ModelError),
    ],
)
def test_bad_arguments(change: dict[str, Any], words: str, error: type[Exception]) -> None:
    arguments: dict[str, Any] = {
        "input": np.zeros((2, 4), np.int16), "multiplier": np.ones(4, np.int16), "shift": 4
    }  # fmt: skip
    assert ops.gelu(**arguments).shape == (2, 4)
    with pytest.raises(error, match=words):
        ops.gelu(**(arguments | change))
