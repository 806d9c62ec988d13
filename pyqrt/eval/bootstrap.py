"""Confidence intervals by the percentile bootstrap over examples (Efron 1979, Annals of Statistics 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyqrt.eval.metrics import Metric, Rows
from pyqrt.progress import Progress, silent

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A value on all examples, and the 95 % interval of it on resampled ones."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Intervals:
    """One model's, the other's, and those of their difference, the resampled examples being the same."""

    first: Interval
    second: Interval | None
    difference: Interval | None


def intervals(
    metrics: Sequence[Metric],
    first: Rows,
    second: Rows | None,
    *,
    resamples: int,
    seed: int,
    progress: Progress = silent,
) -> list[Intervals]:
    """The intervals of every metric.

    first, second: [examples, columns] of two models on the same examples; the difference is first minus
    second. The same arguments give the same intervals.
    """
    models = [first] if second is None else [first, second]
    values = np.array([[metric.value(rows) for rows in models] for metric in metrics])
    drawn = np.empty((resamples, *values.shape))
    generator = np.random.default_rng(seed)
    for number in range(resamples):
        progress("bootstrap", number, resamples)
        chosen = generator.integers(0, len(first), len(first))
        drawn[number] = [[metric.value(rows[chosen]) for rows in models] for metric in metrics]
    progress("bootstrap", resamples, resamples)

    results = []
    for value, of_metric in zip(values, np.moveaxis(drawn, 0, -1), strict=True):
        own = [_interval(*pair) for pair in zip(value, of_metric, strict=True)]
        if second is None:
            results.append(Intervals(own[0], None, None))
        else:
            difference = _interval(value[0] - value[1], of_metric[0] - of_metric[1])
            results.append(Intervals(own[0], own[1], difference))
    return results


def _interval(value: float, drawn: Rows) -> Interval:
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    return Interval(float(value), float(low), float(high))
