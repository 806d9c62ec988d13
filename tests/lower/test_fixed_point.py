"""Real numbers as multipliers, shifts, gains: how near, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyqrt.lower.fixed_point import (
    LoweringError,
    gain_and_bias,
    multiplier_and_shift,
    round_half_up,
    small_multipliers,
)

ratios = st.floats(min_value=2.0**-32, max_value=31.99, allow_nan=False)


@given(st.lists(ratios, min_size=1, max_size=8))
def test_multiplier_and_shift_is_within_half_a_unit_of_31_bits(values: list[float]) -> None:
    multiplier, shift = multiplier_and_shift(np.array(values))
    assert ((multiplier >= 2**30) & (multiplier < 2**31)).all()
    assert ((shift >= 26) & (shift <= 62)).all()
    assert (np.abs(multiplier * 2.0**-shift / values - 1) <= 2.0**-31).all()


def test_a_mantissa_that_rounds_up_to_a_power_of_two_moves_to_the_next_exponent() -> None:
    multiplier, shift = multiplier_and_shift(np.array([np.nextafter(0.25, 0)]))
    assert (int(multiplier[0]), int(shift[0])) == (2**30, 32)


def test_tiny_ratios_become_the_smallest_and_large_ones_are_refused() -> None:
    multiplier, shift = multiplier_and_shift(np.array([0.0, 1e-30]))
    assert multiplier.tolist() == [2**30] * 2
    assert shift.tolist() == [62] * 2
    with pytest.raises(LoweringError, match="not below 32"):
        multiplier_and_shift(np.array([1.0, 32.0]))


@given(st.lists(st.floats(min_value=0, max_value=16383), min_size=1, max_size=8))
def test_small_multipliers_share_the_largest_shift_that_fits(values: list[float]) -> None:
    ratio = np.array(values)
    multiplier, shift = small_multipliers(ratio)
    assert (np.abs(multiplier - ratio * 2.0**shift) <= 0.5).all()
    assert shift == 30 or round_half_up(ratio * 2.0 ** (shift + 1)).max() > 32767


def test_small_multipliers_refuse_what_int16_cannot_hold() -> None:
    with pytest.raises(LoweringError, match="16383"):
        small_multipliers(np.array([16384.0]))


@given(
    st.lists(st.floats(min_value=-100, max_value=100), min_size=1, max_size=8),
    st.floats(min_value=-1e5, max_value=1e5),
)
def test_gain_and_bias_fit_their_budget_and_are_near(gains: list[float], bias: float) -> None:
    gain, offset = np.array(gains), np.full(len(gains), bias)
    g, b, shift = gain_and_bias(gain, offset)
    worst = 32767 * np.abs(g.astype(np.int64)).max() + np.abs(b.astype(np.int64)).max() + 2 ** (shift - 1)
    assert worst < 2**31
    assert np.abs(b.astype(np.int64)).max() < 2**30
    assert (np.abs(g - gain * 2.0**shift) <= 0.5).all()
    assert (np.abs(b - offset * 2.0**shift) <= 0.5).all()


def test_gain_and_bias_refuse_what_no_shift_can_hold() -> None:
    with pytest.raises(LoweringError, match="check the weights"):
        gain_and_bias(np.array([40000.0]), np.array([0.0]))
    with pytest.raises(LoweringError, match="check the weights"):
        gain_and_bias(np.array([1.0]), np.array([2.0**31]))


def test_ties_go_up() -> None:
    assert round_half_up(np.array([-1.5, -0.5, 0.5, 1.5])).tolist() == [-1, 0, 1, 2]
