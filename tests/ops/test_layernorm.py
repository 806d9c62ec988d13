"""layernorm: widths, near-constant rows, outliers, extreme parameters, both outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from ops.harness import WIDTHS, check, difference, random_s16, strided
from oracle import layernorm as oracle
from oracle.budget import record
from pyqrt import ModelError, ops

Case = dict[str, Any]

EPSILONS = (0, 1, 2, 10, 2**20, 2**40, 2**55, 2**56 - 1, 2**56)


def affine(rng: np.random.Generator, n: int) -> Case:
    """Both outputs, filling their types for y of a few units."""
    y_bits = oracle.fraction_bits(n)
    return {
        "gain8": rng.integers(-20000, 20001, n).astype(np.int16),
        "bias8": (rng.standard_normal(n) * 2**21).astype(np.int32),
        "shift8": 9 + y_bits,
        "gain16": rng.integers(-32767, 32768, n).astype(np.int16),
        "bias16": (rng.standard_normal(n) * 2**23).astype(np.int32),
        "shift16": 2 + y_bits,
    }


def check_rows(input: NDArray[np.int16], epsilon: int = 0, **keywords: Any) -> None:
    keywords = keywords or affine(np.random.default_rng(input.shape[1]), input.shape[1])
    for exact_mean in (False, True):
        case = {**keywords, "epsilon": epsilon, "exact_mean": exact_mean}
        expected = oracle.layernorm(input, **case)
        check("layernorm", lambda variant, c=case: ops.layernorm(input, variant=variant, **c), expected)


def one_hot(n: int, at: int, hot: int, cold: int = 0) -> NDArray[np.int16]:
    return np.where(np.arange(n) == at, hot, cold).astype(np.int16)


@pytest.mark.parametrize("n", [*WIDTHS, 312, 384, 512, 768, 1023, 1024, 1025, 1031, 4096])
def test_widths(n: int) -> None:
    rng = np.random.default_rng(n)
    for limit in (3, 1000, 32767):
        check_rows(random_s16(rng, 4, n, limit=limit))
        check_rows(strided(random_s16(rng, 3, n, limit=limit)), 5)


@pytest.mark.parametrize("n", [1, 2, 3, 16, 128, 312, 384, 512, 768, 1024, 1025, 4096, 16384])
def test_special_rows(n: int) -> None:
    """Constant rows (N = epsilon), one value off by one (a left shift), the largest outliers."""
    rows = [np.full(n, value, np.int16) for value in (0, 1, -1, 32767, -32767, 12345)]
    for at in (0, n // 2, n - 1):
        for hot, cold in ((1, 0), (-1, 0), (32767, 0), (32767, -32767), (-32767, 32767), (32766, 32767)):
            rows.append(one_hot(n, at, hot, cold))
    rows += [np.where(np.arange(n) < n // 2, a, b).astype(np.int16) for a, b in ((32767, -32767), (0, 1))]
    for epsilon in EPSILONS:
        check_rows(np.array(rows), epsilon)


def test_widest_random() -> None:
    check_rows(random_s16(np.random.default_rng(0), 2, 16384), 2**30)


def test_rounded_mean_ties() -> None:
    """Sums whose mean is exactly half way, of either sign."""
    for n in (2, 4, 16, 34):
        rows = np.array([[a] * (n // 2) + [b] * (n // 2) for a, b in ((0, 1), (-1, 0), (-2, -1), (7, -8))])
        check_rows(rows.astype(np.int16))


def test_exact_mean_beside_an_outlier() -> None:
    """Where one channel makes the variance, half a unit of the mean is much to all others."""
    rng = np.random.default_rng(5)
    n = 384
    rows = random_s16(rng, 50, n, limit=30)
    rows[:, 7] = 3000
    rows = rows.astype(np.float64)
    real = (rows - rows.mean(axis=1, keepdims=True)) / rows.std(axis=1, keepdims=True)
    gain, bias = np.full(n, 32767, np.int16), np.zeros(n, np.int32)
    for exact_mean, least, most in ((True, 0.0, 1.0), (False, 2.0, 4.0)):
        output = ops.layernorm(
            rows.astype(np.int16), gain16=gain, bias16=bias, shift16=15, exact_mean=exact_mean
        )[1]
        assert output is not None
        error = np.abs(output - real * 2.0**10)[:, np.arange(n) != 7].max()  # in units of 2^-10
        assert least <= error <= most


def test_inverse_that_rounds_up_to_a_power_of_two() -> None:
    """N a little above a power of four gives i = 2^14, replaced by 2^13 and one shift more."""
    found = 0
    for n in (2, 4, 16, 64, 1024):
        for power in range(6, 15):
            row = np.zeros(n, np.int16)
            row[: n // 2], row[n // 2 :] = 1 << power, -(1 << power)
            spread = n * n << 2 * power
            for epsilon in (1, spread >> 20, spread >> 16, spread >> 15, spread >> 14):
                with record() as seen:
                    check_rows(row[None, :], epsilon)
                found += seen["inv + half"].high >> (seen["inv + half"].high.bit_length() - 15) == 1 << 14
    assert found > 50


@pytest.mark.parametrize("shift", range(1, 31))
def test_extreme_parameters(shift: int) -> None:
    """The largest gain with the largest bias its budget leaves, of both signs, at every shift."""
    n = 1024
    noise = random_s16(np.random.default_rng(shift), n)
    rows = np.array([one_hot(n, 5, 32767), one_hot(n, n - 1, -32767), noise])
    room = 2**31 - 1 - 32767 * 32767 - (1 << (shift - 1))
    bias = min(room, 2**30 - 1)
    for sign in (1, -1):
        gain = np.resize(np.array([32767, -32767], np.int16), n)
        biases = np.full(n, sign * bias, np.int32)
        check_rows(rows, 0, gain8=gain, bias8=biases, shift8=shift, gain16=gain, bias16=biases, shift16=shift)
        small = np.resize(np.array([0, 1, -1], np.int16), n)
        large = np.full(n, sign * (2**30 - 1), np.int32)
        check_rows(rows, 0, gain8=small, bias8=large, shift8=shift, gain16=small, bias16=large, shift16=shift)


@pytest.mark.parametrize("outputs", ["8", "16"])
def test_one_output(outputs: str) -> None:
    for n in (1, 17, 64, 65, 1030):
        rng = np.random.default_rng(n)
        keywords = {name: value for name, value in affine(rng, n).items() if name.endswith(outputs)}
        if outputs == "8":
            keywords = {name: value for name, value in keywords.items() if not name.endswith("16")}
        check_rows(random_s16(rng, 5, n), 3, **keywords)


@pytest.mark.parametrize("n", [*WIDTHS, 1025])
def test_gain_and_bias_alone(n: int) -> None:
    rng = np.random.default_rng(n)
    rows = random_s16(rng, 6, n)
    rows[0], rows[1] = 32767, -32767  # rows without variance are rows like others
    keywords = affine(rng, n)
    check_rows(rows, 0, normalize=False, **keywords)
    check_rows(strided(rows), 77, normalize=False, **keywords)
    identity = {"gain16": np.full(n, 2, np.int16), "bias16": np.zeros(n, np.int32), "shift16": 1}
    np.testing.assert_array_equal(ops.layernorm(rows, normalize=False, **identity)[1], rows)


def test_no_rows() -> None:
    check_rows(np.zeros((0, 20), np.int16))


@given(
    arrays(np.int16, st.tuples(st.integers(1, 3), st.integers(1, 140)), elements=st.integers(-32767, 32767)),
    st.one_of(st.sampled_from(EPSILONS), st.integers(0, 2**56)),
)
def test_any_rows(input: NDArray[np.int16], epsilon: int) -> None:
    check_rows(input, epsilon)


@given(st.integers(1, 1100), st.integers(1, 32767), st.integers(-32767, 32767), st.integers(0, 2**32 - 1))
def test_any_spread(n: int, limit: int, centre: int, seed: int) -> None:
    rows = random_s16(np.random.default_rng(seed), 2, n, limit=limit).astype(np.int64) + centre
    check_rows(np.clip(rows, -32767, 32767).astype(np.int16), seed % 97)


def test_shift_of_the_row_changes_nothing() -> None:
    row = random_s16(np.random.default_rng(9), 2, 300, limit=5000)
    keywords = affine(np.random.default_rng(10), 300)
    first, second = ops.layernorm(row, **keywords), ops.layernorm(row + np.int16(20000), **keywords)
    assert not difference(first, second)


_GAIN, _BIAS = np.full(4, 100, np.int16), np.zeros(4, np.int32)


@pytest.mark.parametrize(
    ("change", "words", "error"),
    [
        ({"input": np.zeros((2, 4), np.int32)}, "input", TypeError),
        ({"input": np.full((2, 4), -32768, np.int16)}, "input", ModelError),
        ({"input": np.zeros((2, 0), np.int16)}, "input", ModelError),
        ({"input": np.zeros((1, 16385), np.int16)}, "16384", ModelError),
        ({"epsilon": -1}, "epsilon", ModelError),
        ({"epsilon": 2**56 + 1}, "epsilon", ModelError),
        ({"gain8": None, "bias8": None}, "gain", ModelError),
        ({"gain8": None}, "gain8", ModelError),
        ({"bias8": None}, "bias8", ModelError),
        ({"gain8": np.full(4, -32768, np.int16)}, "gain8", ModelError),
        ({"gain8": np.zeros(5, np.int16)}, "gain8", ModelError),
        ({"gain8": np.zeros(4, np.int32)}, "gain8", TypeError),
        ({"bias8": np.full(4, 2**30, np.int32)}, "bias8", ModelError),
        ({"bias8": np.full(4, -(2**30), np.int32)}, "bias8", ModelError),
        ({"bias8": np.zeros(3, np.int32)}, "bias8", ModelError),
        ({"shift8": 0}, "shift8", ModelError),
        ({"shift8": 31}, "shift8", ModelError),
        ({"gain16": _GAIN, "bias16": _BIAS, "shift16": 0}, "shift16", ModelError),
        ({"gain16": _GAIN, "bias16": _BIAS, "shift16": 31}, "shift16", ModelError),
        ({"gain16": _GAIN}, "bias16", ModelError),
        # 32767 * |gain| + |bias| + 2^(shift - 1) leaves int32.
        (
            {"gain8": np.full(4, 32767, np.int16), "bias8": np.full(4, 2**30 - 1, np.int32), "shift8": 30},
            "8",
            ModelError,
        ),
        ({"variant": "mmx"}, "mmx", ModelError),
    ],
)
def test_bad_arguments(change: Case, words: str, error: type[Exception]) -> None:
    arguments: Case = {"input": np.zeros((2, 4), np.int16), "gain8": _GAIN, "bias8": _BIAS, "shift8": 3}
    assert ops.layernorm(**arguments)[1] is None
    with pytest.raises(error, match=words):
        ops.layernorm(**(arguments | change))
