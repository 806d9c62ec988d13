"""linear: every epilogue, input type, size and extreme, on every variant."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ops.harness import WIDTHS, check, log2_ratio, random_s8, random_s16, signs, strided
from oracle import linear as oracle
from pyqrt import ModelError, ops
from pyqrt.arithmetic import POLYNOMIALS

EPILOGUES = tuple(oracle.OUTPUT_TYPE)
ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 15, 16, 17, 31, 32, 33, 47, 48, 49, 65, 97)
INPUTS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 61, 63, 64, 65, 66, 67, 127, 128, 130, 383)

Case = dict[str, Any]


def room(shift: NDArray[Any]) -> Any:
    """The largest |acc| each shift allows."""
    return (np.int64(1) << (31 - np.maximum(0, 33 - shift.astype(np.int64)))) - 1


def largest_sum(k: int, wide: bool, pre_shift: int) -> int:
    return ((32767 * 127 * k) >> pre_shift) + 1 if wide else 127 * 127 * k


def trained_s8(rng: np.random.Generator, n: int, k: int) -> NDArray[np.int8]:
    """Mostly small, so that variants rearrange them (linear_paired.h); one channel is the worst there is."""
    weight = np.clip(np.rint(rng.normal(0, 28, (n, k))), -127, 127).astype(np.int8)
    if n > 80:
        weight[n // 2] = 127
        weight[n // 2, k // 2 :] = -127
    return weight


def make_case(
    rng: np.random.Generator,
    m: int,
    k: int,
    n: int,
    epilogue: str,
    wide: bool,
    extreme: bool = False,
    trained: bool = False,
) -> Case:
    """Random arguments whose outputs fill their type and saturate now and then."""
    limit = 32767 if wide else 127
    if extreme:
        x: Any = signs(rng, limit, m, k).astype(np.int16 if wide else np.int8)
        weight = signs(rng, 127, n, k).astype(np.int8)
        weight[: n // 2] = 127 if k % 2 else -127  # whole channels of the largest sum
        x[: m // 2] = limit
    else:
        x = random_s16(rng, m, k) if wide else random_s8(rng, m, k)
        weight = trained_s8(rng, n, k) if trained else random_s8(rng, n, k)
    pre_shift = 0
    if wide:  # the least that leaves half the accumulator to the bias
        while largest_sum(k, wide, pre_shift) >= 1 << 29:
            pre_shift += 1
        pre_shift = min(16, pre_shift + int(rng.integers(0, 4)))
    typical = (limit * 127 / 3) * k**0.5 / 2**pre_shift
    targets = {"requantize_s8": 70.0, "gelu_s8": 2500.0, "gelu_s16": 2500.0, "requantize_s32": 1e6}
    target = targets.get(epilogue, 15000.0)
    smallest = 33 - (31 - 2 - max(1, largest_sum(k, wide, pre_shift)).bit_length())
    base = min(62, max(26, smallest, 30 + log2_ratio(typical, target)))
    shift = np.minimum(62, base + rng.integers(0, 3, n)).astype(np.int32)
    free = room(shift) - largest_sum(k, wide, pre_shift)
    bias = np.clip((rng.standard_normal(n) * typical).astype(np.int64), -free, free)
    if extreme:
        bias = np.where(rng.integers(0, 2, n), free, -free)
    case: Case = {
        "input": x,
        "weight": weight,
        "bias": bias.astype(np.int32),
        "multiplier": rng.integers(2**30, 2**31, n).astype(np.int32),
        "shift": shift,
        "epilogue": epilogue,
        "pre_shift": pre_shift,
    }
    if epilogue in ("requantize_s8", "gelu_s8"):
        case["zero_point"] = int(rng.integers(-127, 128))
    if epilogue == "gelu_s8":
        case |= {
            "gelu_multiplier": random_s16(rng, n) & np.int16(0x7FFF),
            "gelu_shift": int(rng.integers(15, 22)),
        }
    if epilogue == "residual_s16":
        case |= {
            "residual": random_s16(rng, m, n),
            "residual_multiplier": int(rng.integers(0, 32768)),
            "residual_shift": int(rng.integers(12, 17)),
        }
    return case


def kernel(case: Case, variant: str | None = None) -> Any:
    case = dict(case)
    weight = case.pop("weight")
    return ops.linear(
        case.pop("input"),
        ops.pack_weight(weight),
        weight.sum(axis=1, dtype=np.int32),
        case.pop("bias"),
        case.pop("multiplier"),
        case.pop("shift"),
        out_features=weight.shape[0],
        variant=variant,
        **case,
    )


def check_case(case: Case) -> None:
    check("linear", lambda variant: kernel(case, variant), oracle.linear(**case))


def seeded(*parts: int) -> np.random.Generator:
    return np.random.default_rng(parts)


@pytest.mark.parametrize("wide", [False, True], ids=["s8", "s16"])
@pytest.mark.parametrize("epilogue", EPILOGUES)
class TestSizes:
    """One dimension at a time around the tiles, the others odd."""

    def test_rows(self, epilogue: str, wide: bool) -> None:
        for m in ROWS:
            check_case(make_case(seeded(1, m, wide), m, 66, 35, epilogue, wide))

    def test_inputs(self, epilogue: str, wide: bool) -> None:
        for k in INPUTS:
            check_case(make_case(seeded(2, k, wide), 7, k, 35, epilogue, wide))

    def test_outputs(self, epilogue: str, wide: bool) -> None:
        for n in WIDTHS:
            check_case(make_case(seeded(3, n, wide), 7, 37, n, epilogue, wide))

    def test_corners(self, epilogue: str, wide: bool) -> None:
        for m, k, n in ((1, 1, 1), (1, 768, 64), (49, 5, 1), (97, 64, 64), (48, 129, 81), (2, 1027, 3)):
            check_case(make_case(seeded(4, m, k, n, wide), m, k, n, epilogue, wide))

    def test_extremes(self, epilogue: str, wide: bool) -> None:
        for m, k, n in ((5, 1, 17), (9, 516, 33), (7, 517, 40), (50, 768, 70), (3, 3072, 18)):
            check_case(make_case(seeded(5, m, k, n, wide), m, k, n, epilogue, wide, extreme=True))

    def test_most_inputs(self, epilogue: str, wide: bool) -> None:
        """k = 65536: the bound on every accumulator, attained by the first channels."""
        check_case(make_case(seeded(6, wide), 5, 65536, 18, epilogue, wide, extreme=True))

    def test_strided_rows(self, epilogue: str, wide: bool) -> None:
        for m, k, n in ((1, 33, 17), (13, 64, 64), (49, 65, 49)):
            case = make_case(seeded(7, m, k, n, wide), m, k, n, epilogue, wide)
            for name in ("input", "residual"):
                if name in case:
                    case[name] = strided(case[name])
            check_case(case)

    def test_no_rows(self, epilogue: str, wide: bool) -> None:
        check_case(make_case(seeded(8), 0, 20, 20, epilogue, wide))


@pytest.mark.parametrize("epilogue", EPILOGUES)
class TestTrainedWeights:
    """Sizes again, with weights that a variant may rearrange."""

    def test_rows(self, epilogue: str) -> None:
        for m in ROWS:
            check_case(make_case(seeded(14, m), m, 200, 83, epilogue, False, trained=True))

    def test_inputs(self, epilogue: str) -> None:
        for k in (*INPUTS, 1027):
            check_case(make_case(seeded(15, k), 9, k, 83, epilogue, False, trained=True))

    def test_outputs(self, epilogue: str) -> None:
        for n in WIDTHS:
            check_case(make_case(seeded(16, n), 9, 133, n, epilogue, False, trained=True))

    def test_largest_inputs(self, epilogue: str) -> None:
        case = make_case(seeded(17), 9, 768, 128, epilogue, False, trained=True)
        for value in (-127, 127):
            case["input"][:] = value
            check_case(case)

    def test_most_inputs(self, epilogue: str) -> None:
        check_case(make_case(seeded(18), 3, 65536, 18, epilogue, False, trained=True))


@pytest.mark.parametrize("shift", range(26, 63))
def test_every_shift_with_ties(shift: int) -> None:
    """acc * 2^30 over every residue around a tie; the sums 0..n-1 come from the bias."""
    n = 96
    allowed = int(room(np.array(shift)))
    centre = min(allowed - n - 127, (1 << max(0, shift - 31)) * 3)
    case = {
        "input": np.array([[1], [0], [-1]], np.int8),
        "weight": random_s8(seeded(9), n, 1),
        "bias": np.clip(np.arange(n) - n // 2 + centre, -allowed + 16129, allowed - 16129).astype(np.int32),
        "multiplier": np.full(n, 2**30, np.int32),
        "shift": np.full(n, shift, np.int32),
        "epilogue": "requantize_s32",
    }
    check_case(case)


@pytest.mark.parametrize("pre_shift", range(17))
def test_every_pre_shift(pre_shift: int) -> None:
    case = make_case(seeded(10, pre_shift), 9, 40, 33, "requantize_s32", True)
    case["pre_shift"] = pre_shift
    case["shift"] = np.full(33, 33 if pre_shift < 4 else 31, np.int32)
    case["bias"] = np.zeros(33, np.int32)
    check_case(case)


def test_extreme_epilogue_parameters() -> None:
    for low_or_high in (0, 1):
        for shift in (1, 30):
            rng = seeded(11, low_or_high, shift)
            case = make_case(rng, 9, 130, 49, "gelu_s8", False)
            case |= {"gelu_multiplier": np.full(49, 32767 * low_or_high, np.int16), "gelu_shift": shift}
            case["zero_point"] = 127 if low_or_high else -127
            check_case(case)
            case = make_case(rng, 9, 130, 49, "residual_s16", False)
            case |= {"residual_multiplier": 32767 * low_or_high, "residual_shift": shift}
            case["residual"] = signs(rng, 32767, 9, 49).astype(np.int16)
            check_case(case)


@pytest.mark.parametrize("polynomial", POLYNOMIALS)
@pytest.mark.parametrize("epilogue", ["gelu_s8", "gelu_s16"])
def test_every_gelu_input(epilogue: str, polynomial: str) -> None:
    """acc = z for all z in [-32767, 32767], and beyond, where it saturates."""
    z = np.arange(-32767 - 300, 32767 + 301)
    n = len(z)
    case: Case = {
        "input": np.zeros((1, 1), np.int8),
        "weight": np.ones((n, 1), np.int8),
        "bias": z.astype(np.int32),
        "multiplier": np.full(n, 2**30, np.int32),
        "shift": np.full(n, 30, np.int32),
        "epilogue": epilogue,
        "polynomial": polynomial,
    }
    if epilogue == "gelu_s8":
        case |= {"gelu_multiplier": np.full(n, 20000, np.int16), "gelu_shift": 21, "zero_point": -100}
    check_case(case)


def test_longer_per_channel_arrays() -> None:
    """Entries beyond n, as a model file's padding has, change nothing."""
    case = make_case(seeded(12), 5, 20, 19, "gelu_s8", False)
    expected = kernel(case)
    weight = case["weight"]
    padded: Case = {
        name: np.pad(case[name], (0, 13), constant_values=fill)
        for name, fill in (("bias", 0), ("multiplier", 2**30), ("shift", 33), ("gelu_multiplier", 0))
    }
    sums = np.pad(weight.sum(axis=1, dtype=np.int32), (0, 13))
    for variant in ops.variants("linear"):
        actual = ops.linear(
            case["input"],
            ops.pack_weight(weight),
            sums,
            out_features=19,
            epilogue="gelu_s8",
            zero_point=case["zero_point"],
            gelu_shift=case["gelu_shift"],
            variant=variant,
            **padded,
        )
        assert np.array_equal(actual, expected)


@pytest.mark.parametrize("shape", [(1, 1), (15, 3), (16, 4), (17, 5), (40, 66)])
def test_pack_weight(shape: tuple[int, int]) -> None:
    weight = random_s8(seeded(13), *shape)
    packed = ops.pack_weight(weight)
    n, k = shape
    assert packed.shape == (-(-n // 16), -(-k // 4), 16, 4)
    assert np.array_equal(ops.unpack_weight(packed, n, k), weight)
    assert np.array_equal(oracle.unpack_weight(packed, n, k), weight)
    assert np.count_nonzero(packed) == np.count_nonzero(weight)
    j, i = n - 1, k - 1
    assert packed[j // 16, i // 4, j % 16, i % 4] == weight[j, i]


@given(
    st.integers(0, 60),
    st.integers(1, 150),
    st.integers(1, 90),
    st.sampled_from(EPILOGUES),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_any_case(
    m: int, k: int, n: int, epilogue: str, wide: bool, extreme: bool, trained: bool, seed: int
) -> None:
    check_case(make_case(seeded(seed), m, k, n, epilogue, wide, extreme, trained))


def i32(value: int) -> NDArray[np.int32]:
    return np.full(20, value, np.int32)


def gelu(multiplier: int, shift: int) -> Case:
    factors = np.full(20, multiplier, np.int16)
    return {"epilogue": "gelu_s8", "gelu_multiplier": factors, "gelu_shift": shift}


RESIDUAL: Case = {"epilogue": "residual_s16", "residual": np.zeros((3, 20), np.int16)}


def _bad(change: Case, words: str, error: type[Exception] = ModelError) -> Any:
    return pytest.param(change, words, error, id=f"{'-'.join(change)}: {words}")


@pytest.mark.parametrize(
    ("change", "words", "error"),
    [
        _bad({"input": np.zeros((3, 8), np.int32)}, "input", TypeError),
        _bad({"input": np.zeros((3, 8), np.float32)}, "input", TypeError),
        _bad({"input": np.full((3, 8), -128, np.int8)}, "input"),
        _bad({"input": np.full((3, 8), -32768, np.int16)}, "input"),
        _bad({"input": np.zeros((3, 12), np.int8)}, "weight"),
        _bad({"input": np.zeros(8, np.int8)}, "input"),
        _bad({"input": np.zeros((8, 3), np.int8).T}, "input"),
        _bad({"input": np.zeros((3, 0), np.int8)}, "input"),
        _bad({"weight": np.zeros((20, 8), np.int8)}, "weight"),
        _bad({"weight": np.full((2, 2, 16, 4), -128, np.int8)}, "weight"),
        _bad({"weight": np.zeros((2, 2, 16, 4), np.int16)}, "weight", TypeError),
        _bad({"out_features": 0}, "out_features"),
        _bad({"out_features": 33}, "weight"),
        _bad({"weight_sum": i32(5)}, "weight_sum"),
        _bad({"weight_sum": np.zeros(20, np.int64)}, "weight_sum", TypeError),
        _bad({"bias": np.zeros(19, np.int32)}, "bias"),
        _bad({"bias": np.zeros((20, 1), np.int32)}, "bias"),
        _bad({"bias": i32(2**31 - 1 - 127 * 127 * 8 + 1)}, "acc"),
        _bad({"shift": i32(26), "bias": i32(2**24 - 127 * 127 * 8)}, "acc"),
        _bad({"multiplier": i32(2**30 - 1)}, "multiplier"),
        _bad({"shift": i32(25)}, "shift"),
        _bad({"shift": i32(63)}, "shift"),
        _bad({"pre_shift": 1}, "pre_shift"),
        _bad({"pre_shift": -1, "input": np.zeros((3, 8), np.int16)}, "pre_shift"),
        _bad({"pre_shift": 17, "input": np.zeros((3, 8), np.int16)}, "pre_shift"),
        _bad({"epilogue": "relu"}, "epilogue"),
        _bad({"zero_point": 128}, "zero_point"),
        _bad({"zero_point": -128}, "zero_point"),
        _bad({"zero_point": 0.5}, "zero_point", TypeError),
        _bad({"epilogue": "gelu_s8"}, "gelu_multiplier"),
        _bad(gelu(-1, 1), "gelu_multiplier"),
        _bad(gelu(0, 0), "gelu_shift"),
        _bad(gelu(0, 31), "gelu_shift"),
        _bad({"epilogue": "residual_s16"}, "residual"),
        _bad({"epilogue": "residual_s16", "residual": np.zeros((3, 19), np.int16)}, "residual"),
        _bad({"epilogue": "residual_s16", "residual": np.full((3, 20), -32768, np.int16)}, "residual"),
        _bad({"epilogue": "residual_s16", "residual": np.zeros((3, 20), np.int8)}, "residual", TypeError),
        _bad(
            RESIDUAL | {"residual_multiplier": -1},
            "residual_multiplier",
        ),
        _bad(
            RESIDUAL | {"residual_multiplier": 32768},
            "residual_multiplier",
        ),
        _bad(
            RESIDUAL | {"residual_shift": 31},
            "residual_shift",
        ),
        _bad({"variant": "sse9"}, "sse9"),
    ],
)
def test_bad_arguments(change: Case, words: str, error: type[Exception]) -> None:
    arguments: Case = {
        "input": np.zeros((3, 8), np.int8),
        "weight": np.zeros((2, 2, 16, 4), np.int8),
        "weight_sum": i32(0),
        "bias": i32(0),
        "multiplier": i32(2**30),
        "shift": i32(33),
        "out_features": 20,
    }
    assert ops.linear(**arguments).shape == (3, 20)
    with pytest.raises(error, match=words):
        ops.linear(**(arguments | change))


def test_too_many_inputs() -> None:
    weight = np.zeros((1, 16385, 16, 4), np.int8)
    with pytest.raises(ModelError, match="65536"):
        ops.linear(
            np.zeros((1, 65540), np.int8), weight, np.zeros(1, np.int32), np.zeros(1, np.int32),
            np.full(1, 2**30, np.int32), np.full(1, 33, np.int32), out_features=1,
        )  # fmt: skip
