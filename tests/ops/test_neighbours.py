"""neighbours: widths, reaches, sequences shorter than the reach, empty ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ops.harness import WIDTHS, check, packed_offsets, random_s16, strided
from oracle import neighbours as oracle
from pyqrt import ModelError, ops


def check_rows(input: NDArray[np.int16], offsets: NDArray[np.int32], reach: int) -> None:
    check(
        "neighbours",
        lambda variant: ops.neighbours(input, offsets, reach=reach, variant=variant),
        oracle.neighbours(input, offsets, reach=reach),
    )


@pytest.mark.parametrize("reach", [1, 2, 5, 16])
def test_widths(reach: int) -> None:
    for width in WIDTHS:
        rng = np.random.default_rng(width)
        lengths = [1, 2, 3, 0, 17]
        rows = random_s16(rng, sum(lengths) + 3, width)
        check_rows(rows, packed_offsets(lengths, begin=1), reach)
        check_rows(strided(rows), packed_offsets(lengths, begin=2), reach)


def test_nothing() -> None:
    check_rows(np.zeros((0, 7), np.int16), np.array([0], np.int32), 1)
    check_rows(np.ones((3, 7), np.int16), np.array([3, 3], np.int32), 1)


_ROWS = np.zeros((4, 3), np.int16)


@pytest.mark.parametrize(
    ("input", "offsets", "reach", "words", "error"),
    [
        (_ROWS.astype(np.int8), [0, 4], 1, "input", TypeError),
        (_ROWS, [0, 5], 1, "offsets", ModelError),
        (_ROWS, [2, 1], 1, "offsets|length", ModelError),
        (_ROWS, [0, 4], 0, "reach", ModelError),
        (_ROWS, [0, 4], 17, "reach", ModelError),
    ],
)
def test_bad_arguments(
    input: Any, offsets: list[int], reach: int, words: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match=words):
        ops.neighbours(input, np.array(offsets, np.int32), reach=reach)
