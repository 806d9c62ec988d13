"""The proofs of `worst_case`: never exceeded by values, attained by extreme inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle import attention, embedding, gelu, layernorm, linear, lookup, match, normalize, pool, softmax
from oracle.budget import BudgetError, Ledger, record
from oracle.exact import Interval
from oracle.fixed import exp2_neg_table, gelu_table


def compare(seen: Ledger, proven: Ledger, attained: tuple[str, ...] = ()) -> None:
    """Every proven range holds what was seen; those named in `attained` are reached at both ends."""
    for name, bound in proven.items():
        if name in seen:
            assert bound.contains(seen[name]), f"{name}: {seen[name]} is outside {bound}"
    for name in attained:
        assert seen[name] == proven[name], name


def full(value: int, *shape: int, dtype: Any = np.int16) -> Any:
    return np.full(shape, value, dtype)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("epilogue", linear.OUTPUT_TYPE)
@pytest.mark.parametrize("k", [1, 64, 3072])
def test_linear(epilogue: str, wide: bool, k: int) -> None:
    dtype = np.int16 if wide else np.int8
    limit = 32767 if wide else 127
    pre_shift = 12 if wide else 0
    parameters: dict[str, Any] = {
        "bias": np.array([-99999, 99999], np.int32),
        "multiplier": np.array([2**31 - 1] * 2, np.int32),
        "shift": np.array([33, 33], np.int32),
        "epilogue": epilogue,
        "pre_shift": pre_shift,
    }
    if epilogue.endswith("s8"):
        parameters["zero_point"] = -127
    if epilogue == "gelu_s8":
        parameters |= {"gelu_multiplier": np.array([32767, 32767], np.int16), "gelu_shift": 30}
    if epilogue == "residual_s16":
        parameters |= {"residual_multiplier": 32767, "residual_shift": 30}
    proven = linear.worst_case(k, wide=wide, **parameters)
    x = np.array([[limit] * k, [-limit] * k], dtype)
    weight = full(127, 2, k, dtype=np.int8)
    if epilogue == "residual_s16":
        parameters["residual"] = np.array([[32767] * 2, [-32767] * 2], np.int16)
    with record() as seen:
        linear.linear(x, weight, **parameters)
    last = ("output before saturation",) if epilogue in ("requantize_s8", "residual_s16") else ()
    compare(seen, proven, ("sum of products", "acc", "requantized", *last))


def test_linear_refuses_what_does_not_fit() -> None:
    fine: dict[str, Any] = {"multiplier": [2**30], "shift": [33]}
    largest = 2**31 - 1 - 127 * 127 * 3072
    linear.worst_case(3072, bias=[largest], **fine)
    with pytest.raises(BudgetError, match="acc"):
        linear.worst_case(3072, bias=[largest + 2], **fine)
    with pytest.raises(BudgetError, match="acc"):
        linear.worst_case(3072, bias=[0], multiplier=[2**30], shift=[27])
    with pytest.raises(BudgetError, match="acc"):
        linear.worst_case(3072, bias=[0], wide=True, pre_shift=2, **fine)
    linear.worst_case(65536, bias=[0], wide=True, pre_shift=8, **fine)


@pytest.mark.parametrize("multiplier", [1, 3, 2**16, 2**28 + 1, 2**31, 2**32 - 1])
def test_softmax(multiplier: int) -> None:
    top = 2**30 - 1
    proven = softmax.worst_case(65536, multiplier)
    with record() as seen:
        softmax.softmax(np.array([[top, -top, 0, top - 1]], np.int32), multiplier)
        softmax.softmax(np.zeros((1, 65536), np.int32), multiplier)
    compare(seen, proven, ("score", "max - score", "distance * multiplier", "u"))
    assert seen["sum"].high == proven["sum"].high == 65536 * softmax.MAX_P


def test_softmax_refuses_more_keys_than_31_bits_hold() -> None:
    with pytest.raises(BudgetError, match="sum"):
        softmax.worst_case(2**17 + 17, 1)


def test_attention() -> None:
    """S, A and the row sum are attained; the last shift covers [28, 62] over all exponents."""
    length, d = 1200, 2
    exponents = np.array([-8, 16], np.int32)
    parameters = (np.array([1, 1]), np.array([2**13, 2**14 - 1]), exponents)
    proven = attention.worst_case(length, d, *parameters, zero_point=127)
    q = full(127, length, 2 * d, dtype=np.int8)
    seen: Ledger
    with record() as seen:
        for value in (127, -127):
            v = full(value, length, 2 * d, dtype=np.int8)
            attention.attention(q, q, v, [0, length], *parameters, zero_point=127)
            attention.attention(q[:1], -q[:1], v[:1], [0, 1], *parameters, zero_point=127)
    compare(seen, proven, ("S", "A"))
    assert proven["sum"].high == seen["sum"].high == length * softmax.MAX_P


def test_attention_limits() -> None:
    multipliers = ([1, 2**31 - 1] * 2, [2**13, 2**14 - 1] * 2)
    everything = attention.worst_case(65536, 1024, *multipliers, [-8, -8, 16, 16])
    assert everything["final shift"] == Interval(28, 62)
    assert everything["rho * output multiplier"].high < 2**31
    assert everything["A"].high < 2**38
    with pytest.raises(BudgetError, match="S reaches"):
        attention.worst_case(16, 1041, [1], [2**13], [0])
    with pytest.raises(BudgetError, match="exponent"):
        attention.worst_case(65536, 64, [1], [2**13], [-9])


def test_gelu() -> None:
    proven = gelu.worst_case([0, 32767], 1, zero_point=-127)
    with record() as seen:
        z = np.arange(-32767, 32768, dtype=np.int16)[:, None]
        gelu.gelu(z, [32767], shift=1, zero_point=-127)
    compare(seen, proven, ("g * multiplier", "output before saturation"))


def special_rows(n: int) -> Any:
    hot = np.zeros(n, np.int16)
    hot[0] = 1
    half = np.where(np.arange(n) < n // 2, 32767, -32767).astype(np.int16)
    rest = np.full(n, 32767, np.int16)
    rest[0] = -32767
    rows = [hot, -hot, hot * 32767, -hot * 32767, half, -half, rest, -rest, hot * 0 + 5, half // 32767]
    return np.array(rows, np.int16)


@pytest.mark.parametrize("exact_mean", [False, True])
@pytest.mark.parametrize("epsilon", [0, 1, 10, 2**30, 2**56])
@pytest.mark.parametrize("n", [1, 2, 3, 16, 384, 1024, 1025, 16384])
def test_layernorm(n: int, epsilon: int, exact_mean: bool) -> None:
    gain, bias = np.array([32767] * n), np.array([2**29] * n)
    parameters: dict[str, Any] = {"gain8": gain, "bias8": bias, "shift8": 29, "exact_mean": exact_mean}
    proven = layernorm.worst_case(n, epsilon, **parameters)
    with record() as seen:
        layernorm.layernorm(special_rows(n), epsilon=epsilon, **parameters)
    compare(seen, proven)
    if n > 1 and n % 2 == 0:
        assert seen["N"].high == proven["N"].high
    if n >= 1024 and epsilon == 0:  # the one-hot row: the largest y, after a left shift
        assert 2 * seen["y before saturation"].high >= proven["y before saturation"].high
        assert seen["y shift"].low == proven["y shift"].low < 0


@given(
    st.integers(2, 40),
    st.integers(0, 2**34),
    st.integers(0, 2**32 - 1),
    st.integers(1, 32767),
    st.booleans(),
)
def test_layernorm_rows_stay_inside(n: int, epsilon: int, seed: int, limit: int, exact_mean: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(-limit, limit + 1, (4, n)).astype(np.int16)
    with record() as seen:
        layernorm.layernorm(rows, epsilon=epsilon, exact_mean=exact_mean)
    compare(seen, layernorm.worst_case(n, epsilon, exact_mean=exact_mean))


@pytest.mark.parametrize("exact_mean", [False, True])
def test_layernorm_over_all_widths(exact_mean: bool) -> None:
    """The header's claims: shifts in [-10, 31], products in int32, |y| up to 2^17."""
    widths = [*range(1, 40), 128, 384, 768, 1023, 1024, 1025, 4096, 16383, 16384]
    epsilons = (0, 1, 2, 9, 2**20, 2**56 - 1, 2**56)
    ledgers = [layernorm.worst_case(n, e, exact_mean=exact_mean) for n in widths for e in epsilons]
    shifts = [ledger["y shift"] for ledger in ledgers if "y shift" in ledger]
    assert min(shift.low for shift in shifts) == -10
    assert max(shift.high for shift in shifts) == 31
    assert max(ledger["N"].high for ledger in ledgers if "N" in ledger) < 2**58 + 2**56
    assert max(ledger.get("y before saturation", Interval(0, 0)).high for ledger in ledgers) == 2**17


def test_layernorm_refuses_what_does_not_fit() -> None:
    most = 2**31 - 1 - 32767**2 - 2**29
    layernorm.worst_case(8, 0, gain8=[32767], bias8=[most], shift8=30)
    with pytest.raises(BudgetError, match="half"):
        layernorm.worst_case(8, 0, gain8=[32767], bias8=[most + 1], shift8=30)
    with pytest.raises(BudgetError, match="bias"):
        layernorm.worst_case(8, 0, gain8=[0], bias8=[2**30], shift8=1)


@pytest.mark.parametrize("tables", [1, 2, 3, 4])
def test_embedding(tables: int) -> None:
    proven = embedding.worst_case([[32767, 5]] * tables, 30)
    data = np.array([[127, -127], [1, 0]], np.int8)
    table = (data, np.array([32767, 5], np.int16), np.zeros(1, np.int32))
    with record() as seen:
        embedding.embedding([table] * tables, shift=30)
    compare(seen, proven, ("sum + half",))
    assert seen["sum"] == Interval.symmetric(tables * 127 * 32767)


@pytest.mark.parametrize("n", [1, 2, 384, 65536])
def test_normalize(n: int) -> None:
    proven = normalize.worst_case(n)
    rows = np.zeros((5, n), np.int16)
    rows[0], rows[1], rows[2] = 32767, -32767, 1
    rows[3, -1], rows[4, 0] = 32767, -32767
    with record() as seen:
        normalize.normalize(rows)
    compare(seen, proven)
    assert seen["N"].high == proven["N"].high
    assert proven["x * inv"].magnitude() < 2**46


def test_pool() -> None:
    proven = pool.worst_case(65536)
    rows = np.full((65536, 2), 32767, np.int16)
    rows[:, 1] = -32767
    with record() as seen:
        pool.pool(rows, [0, 65536])
    compare(seen, proven, ("sum", "2 sum + count"))


@pytest.mark.parametrize(("width", "shift"), [(1, 1), (5, 3), (768, 10), (65536, 16)])
def test_match(width: int, shift: int) -> None:
    proven = match.worst_case(width, shift)
    assert proven["output"].magnitude() <= 2**30
    tokens = np.full((2, width), 32767, np.int16)
    tokens[1] = -32767
    with record() as seen:
        match.match(tokens, tokens[:1], [0, 2], shift=shift)
    compare(seen, proven, ("sum", "output"))


def test_lookup() -> None:
    proven = lookup.worst_case()
    table = np.where(np.arange(513) % 2, 32767, -32767).astype(np.int16)
    with record() as seen:
        for t in (table, np.full(513, 32767, np.int16), np.full(513, -32767, np.int16)):
            lookup.lookup(np.arange(-32767, 32768, dtype=np.int16)[None, :], t)
    compare(seen, proven, ("weighted",))


def test_polynomials() -> None:
    """Exhaustive over their inputs; the oracle's declared widths held while the tables were made."""
    assert (exp2_neg_table().min(), exp2_neg_table().max()) == (0, softmax.MAX_P)
    assert gelu_table().max() == 32767
    assert gelu_table().min() > -200
