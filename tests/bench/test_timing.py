"""Taking turns: who is called, how often, in which order, and what is made of the times."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyqrt.bench import timing
from pyqrt.bench.timing import Timing, interleave


class Clock:
    """A clock that moves only when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.now)

    def work(self, seconds: Iterator[float] | float) -> None:
        self.now += seconds if isinstance(seconds, float) else next(seconds)


def test_turns_until_everyone_had_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = Clock(monkeypatch), []

    def candidate(name: str, seconds: float) -> None:
        calls.append(name)
        clock.work(seconds)

    result = interleave(
        {"a": lambda: candidate("a", 0.25), "b": lambda: candidate("b", 0.75)}, seconds=4.0, least_calls=3
    )
    # Two calls each before the clock starts; then rounds of 1 s until 2 * 4 s have passed.
    assert calls == ["a", "a", "b", "b"] + ["a", "b"] * 8
    assert result == {"a": Timing(0.25, 0.25, 0.25, 8), "b": Timing(0.75, 0.75, 0.75, 8)}


def test_slow_calls_are_made_often_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    result = interleave({"slow": lambda: clock.work(10.0)}, seconds=1.0)
    assert result["slow"].calls == 10


def test_percentiles(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    times = iter([99.0, 99.0, *(float(i) for i in range(11))])  # what warms up is not counted
    result = interleave({"x": lambda: clock.work(times)}, seconds=1.0, least_calls=11)
    assert result["x"] == Timing(median=5.0, p10=1.0, p90=9.0, calls=11)
