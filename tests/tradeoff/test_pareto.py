"""The Pareto front beside its definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyqrt.tradeoff.pareto import front

POINTS = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=12)


@given(POINTS)
def test_the_front_is_what_nothing_dominates(points: list[tuple[int, int]]) -> None:
    latencies, scores = [point[0] for point in points], [point[1] for point in points]

    def dominated(i: int) -> bool:
        return any(
            x <= latencies[i] and y >= scores[i] and (x, y) != (latencies[i], scores[i]) for x, y in points
        )

    chosen = front(latencies, scores)
    assert sorted(chosen) == [i for i in range(len(points)) if not dominated(i)]
    assert [latencies[i] for i in chosen] == sorted(latencies[i] for i in chosen)
