"""Interleaved timing: candidates take turns, so that a busy moment of the machine meets all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Timing:
    """Seconds per call: median, 10th and 90th percentile, and how many calls they are of."""

    median: float
    p10: float
    p90: float
    calls: int


def interleave(
    candidates: Mapping[str, Callable[[], object]], *, seconds: float = 2.0, least_calls: int = 10
) -> dict[str, Timing]:
    """Times the candidates in turns until each has had its share of `seconds`, at least 10 calls each.

    Each is called twice before the clock starts.
    """
    for call in candidates.values():
        call()
        call()
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    end = time.perf_counter() + seconds * len(candidates)
    while time.perf_counter() < end or min(map(len, samples.values())) < least_calls:
        for name, call in candidates.items():
            start = time.perf_counter()
            call()
            samples[name].append(time.perf_counter() - start)
    timings = {}
    for name, values in samples.items():
        p10, median, p90 = np.percentile(values, [10, 50, 90])
        timings[name] = Timing(float(median), float(p10), float(p90), len(values))
    return timings
