"""multiply: both outputs, widths, extremes, bad arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ops.harness import WIDTHS, check, random_s16, signs, strided
from oracle import multiply as oracle
from pyqrt import ModelError, ops

Case = dict[str, Any]


def make_case(width: int, rows: int = 5) -> Case:
    rng = np.random.default_rng(width)
    return {
        "a": random_s16(rng, rows, width),
        "b": random_s16(rng, rows, width),
        "multiplier": rng.integers(2**30, 2**31, width).astype(np.int32),
        "shift": rng.integers(46, 56, width).astype(np.int32),
    }


def check_case(case: Case) -> None:
    for zero_point in (None, 0, -100):
        whole = case | {"zero_point": zero_point}
        check(
            "multiply", lambda variant, w=whole: ops.multiply(**w, variant=variant), oracle.multiply(**whole)
        )


@pytest.mark.parametrize("width", WIDTHS)
def test_widths(width: int) -> None:
    case = make_case(width)
    check_case(case)
    check_case(case | {"a": strided(case["a"]), "b": strided(case["b"])})


@pytest.mark.parametrize("rows", [*range(10), 15, 16, 17, 40])
def test_rows(rows: int) -> None:
    check_case(make_case(50, rows))


def test_extremes() -> None:
    rng = np.random.default_rng(2)
    case = make_case(33)
    case |= {name: signs(rng, 32767, 5, 33).astype(np.int16) for name in ("a", "b")}
    for shift in (32, 33, 47, 62):
        for multiplier in (2**30, 2**31 - 1):
            check_case(
                case
                | {"shift": np.full(33, shift, np.int32), "multiplier": np.full(33, multiplier, np.int32)}
            )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shift": np.full(6, 31, np.int32)}, "shift"),
        ({"shift": np.full(6, 63, np.int32)}, "shift"),
        ({"multiplier": np.full(6, 2**30 - 1, np.int32)}, "multiplier"),
        ({"b": np.zeros((5, 7), np.int16)}, "b"),
        ({"a": np.full((5, 6), -32768, np.int16)}, "a"),
        ({"zero_point": 128}, "zero_point"),
    ],
)
def test_bad_arguments(change: Case, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        ops.multiply(**make_case(6) | change)
