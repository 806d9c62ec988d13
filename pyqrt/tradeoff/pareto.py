"""The Pareto front: what no other beats in both latency and accuracy."""

from __future__ import annotations

from collections.abc import Sequence


def front(latencies: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Numbers of the points that no other point dominates, from the lowest latency to the highest.

    A point dominates another if its latency is not higher and its score not lower, and one of them better.
    Equal points are all on the front or none is.
    """
    order = sorted(range(len(latencies)), key=lambda i: (latencies[i], -scores[i]))
    chosen: list[int] = []
    for i in order:
        best = chosen[-1] if chosen else i
        equal = (latencies[i], scores[i]) == (latencies[best], scores[best])
        if scores[i] > scores[best] or equal:
            chosen.append(i)
    return chosen
