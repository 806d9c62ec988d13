"""linear on GPUs: every tile, epilogue and input type equals the reference."""

from __future__ import annotations

import numpy as np
import pytest

from gpu import calls
from gpu.targets import Target
from ops.harness import difference, strided
from ops.test_linear import EPILOGUES, Case, kernel, make_case, seeded
from pyqrt import ModelError

# At, below and above rows, inputs and channels of tiles, fragments and 16-byte vectors.
SIZES = ((1, 1, 1), (16, 32, 32), (17, 33, 33), (32, 64, 64), (33, 66, 35), (63, 255, 65), (65, 257, 15))
LARGE = ((129, 384, 129), (128, 64, 128))
TILES = ("small", "medium", "large")
WARPGROUP_TILES = {f"warpgroup{rows}": rows for rows in (64, 96, 192, 256)}


def check(target: Target, case: Case, tile: str) -> None:
    problem = difference(calls.linear(target, case, tile), kernel(case, "reference"))
    assert not problem, problem


@pytest.mark.parametrize("wide", [False, True], ids=["s8", "s16"])
@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_epilogues_and_sizes(target: Target, epilogue: str, wide: bool) -> None:
    for number, (m, k, n) in enumerate(SIZES):
        case = make_case(seeded(m, k, n), m, k, n, epilogue, wide)
        check(target, case, TILES[number % (2 if wide else 3)])


@pytest.mark.parametrize("wide", [False, True], ids=["s8", "s16"])
@pytest.mark.parametrize("tile", TILES)
def test_tiles(target: Target, tile: str, wide: bool) -> None:
    for m, k, n in LARGE:
        check(target, make_case(seeded(m, k, n), m, k, n, "requantize_s32", wide), tile)


@pytest.mark.parametrize("wide", [False, True], ids=["s8", "s16"])
def test_extremes(target: Target, wide: bool) -> None:
    """The bound on every accumulator, attained by the first channels."""
    for m, k, n in ((5, 516, 17), (3, 65536, 3)):
        case = make_case(seeded(m, k, n), m, k, n, "requantize_s32", wide, extreme=True)
        check(target, case, "medium" if k < 1000 else "small")


@pytest.mark.parametrize("epilogue", ["gelu_s8", "gelu_s16"])
def test_the_polynomial_of_ibert(target: Target, epilogue: str) -> None:
    case = make_case(seeded(8), 40, 64, 64, epilogue, False) | {"polynomial": "ibert"}
    check(target, case, "small")


def test_rows_at_any_address(target: Target) -> None:
    for wide in (False, True):
        case = make_case(seeded(9), 19, 45, 21, "residual_s16", wide)
        expected = kernel(case, "reference")
        if target.capability:  # numpy's strides survive only in the emulated GPU's memory
            case |= {name: strided(case[name]) for name in ("input", "residual")}
        assert not difference(calls.linear(target, case, "small"), expected)


def test_no_rows(target: Target) -> None:
    case = make_case(seeded(1), 1, 8, 8, "requantize_s8", False)
    case["input"] = np.zeros((0, 8), np.int8)
    assert calls.linear(target, case).shape == (0, 8)


@pytest.mark.parametrize("epilogue", EPILOGUES)
@pytest.mark.parametrize("tile", WARPGROUP_TILES)
def test_warpgroups(target: Target, tile: str, epilogue: str) -> None:
    """At, below and above a tile's rows, channels and inputs; fewer slices than stages, and more."""
    if not target.has_warpgroup():
        pytest.skip(f"{target.name} has no products of warpgroups")
    rows = WARPGROUP_TILES[tile]
    for m, k, n in ((1, 1, 1), (rows, 128, 128), (rows + 1, 130, 132), (rows - 1, 655, 127)):
        check(target, make_case(seeded(m, k, n), m, k, n, epilogue, False), tile)


@pytest.mark.parametrize("tile", WARPGROUP_TILES)
def test_extremes_of_warpgroups(target: Target, tile: str) -> None:
    if not target.has_warpgroup():
        pytest.skip(f"{target.name} has no products of warpgroups")
    check(target, make_case(seeded(4), 5, 516, 17, "requantize_s32", False, extreme=True), tile)


def test_tiles_a_device_does_not_have(target: Target) -> None:
    case = make_case(seeded(2), 3, 16, 16, "requantize_s8", target.has_warpgroup())
    with pytest.raises(ModelError, match=r"int8 input, on compute capability 9\.0"):
        calls.linear(target, case, "warpgroup64")
