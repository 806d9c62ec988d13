from __future__ import annotations

import numpy as np
import pytest

from pyqrt.eval.bootstrap import intervals
from pyqrt.eval.metrics import ACCURACY, MATTHEWS, Metric, Rows


def answers(right: float, seed: int, count: int = 400) -> Rows:
    """True and predicted labels, a share of `right` of them equal."""
    random = np.random.RandomState(seed)
    true = random.randint(0, 2, count)
    return np.stack([true, np.where(random.rand(count) < right, true, 1 - true)], axis=1).astype(np.float64)


def test_the_same_seed_gives_the_same_intervals_and_another_does_not() -> None:
    first, second = answers(0.8, 1), answers(0.7, 1)
    metrics = [ACCURACY, MATTHEWS]
    one = intervals(metrics, first, second, resamples=200, seed=0)
    assert one == intervals(metrics, first, second, resamples=200, seed=0)
    assert one != intervals(metrics, first, second, resamples=200, seed=1)
    alone = intervals(metrics, first, None, resamples=200, seed=0)
    assert [item.first for item in alone] == [item.first for item in one]
    assert [(item.second, item.difference) for item in alone] == [(None, None)] * 2


def test_the_interval_is_that_of_the_binomial_distribution() -> None:
    table = answers(0.8, 2)
    (result,) = intervals([ACCURACY], table, None, resamples=2000, seed=0)
    share = result.first.value
    half = 1.96 * np.sqrt(share * (1 - share) / len(table))
    assert result.first.low == pytest.approx(share - half, abs=0.006)
    assert result.first.high == pytest.approx(share + half, abs=0.006)


def test_the_difference_is_paired() -> None:
    """Two models that differ on one example of 400 have wide intervals and a narrow difference."""
    first = answers(0.8, 3)
    second = first.copy()
    wrong = int(np.flatnonzero(first[:, 0] != first[:, 1])[0])
    second[wrong, 1] = second[wrong, 0]
    (result,) = intervals([ACCURACY], first, second, resamples=500, seed=0)
    assert result.second is not None
    assert result.difference is not None
    assert result.difference.value == pytest.approx(-1 / 400)
    assert -0.011 < result.difference.low < result.difference.high == 0.0
    assert result.first.high - result.first.low > 0.06
    (same,) = intervals([ACCURACY], first, first, resamples=50, seed=0)
    assert same.difference is not None
    assert (same.difference.value, same.difference.low, same.difference.high) == (0.0, 0.0, 0.0)


def test_one_example_has_one_value() -> None:
    (result,) = intervals(
        [Metric("mean", lambda rows: float(rows.mean()))], np.array([[0.25]]), None, resamples=3, seed=0
    )
    assert (result.first.value, result.first.low, result.first.high) == (0.25, 0.25, 0.25)
