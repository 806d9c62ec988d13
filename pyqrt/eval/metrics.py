"""Metrics as functions of rows: one row per example, whatever the metric needs of it, as float64.

So a metric of a resampled set is the metric of resampled rows (`bootstrap`). All are fractions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """value: rows [examples, columns] -> the metric."""

    name: str
    value: Callable[[Rows], float]


def _classes(metric: Callable[..., Any], **options: Any) -> Callable[[Rows], float]:
    """A metric of (true number, predicted number)."""

    def value(rows: Rows) -> float:
        true, predicted = rows.astype(np.int64).T
        return float(metric(true, predicted, **options))

    return value


def _correlation(measure: Callable[..., Any]) -> Callable[[Rows], float]:
    """A correlation of (true value, predicted value); 0 where one of them is constant."""

    def value(rows: Rows) -> float:
        if (rows == rows[0]).all(axis=0).any():
            return 0.0
        return float(measure(*rows.T).statistic)

    return value


def _overlap_f1(rows: Rows) -> float:
    """F1 from (found rightly, found, to be found); 0 where nothing is either."""
    right, found, wanted = rows.sum(axis=0)
    return float(2.0 * right / (found + wanted)) if found + wanted else 0.0


def _ratio(rows: Rows) -> float:
    """Right ones of all, from (right, all)."""
    right, every = rows.sum(axis=0)
    return float(right / every)


def mean_of(name: str, column: int) -> Metric:
    """The mean of a column."""
    return Metric(name, lambda rows: float(rows[:, column].mean()))


ACCURACY = Metric("accuracy", _classes(accuracy_score))
F1 = Metric("F1", _classes(f1_score, zero_division=0.0))  # of label 1, as GLUE has it
MATTHEWS = Metric("Matthews", _classes(matthews_corrcoef))
PEARSON = Metric("Pearson", _correlation(stats.pearsonr))
SPEARMAN = Metric("Spearman", _correlation(stats.spearmanr))
ENTITY_F1 = Metric("entity F1", _overlap_f1)
MASKED_ACCURACY = Metric("accuracy of masked tokens", _ratio)
