"""Axes with a point for every candidate: its latency and its score, both with bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from pyqrt.tradeoff.labels import place_labels
from pyqrt.tradeoff.style import FAINT, FRONT, INK, label, log_ticks, look, model_letters
from pyqrt.tradeoff.summary import Panel, Row
from pyqrt.tradeoff.tables import front_of, main_workload
from pyqrt.tradeoff.workloads import SINGLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def timed(panel: Panel) -> list[Row]:
    """The rows that have a latency of the workload on the axis."""
    return [row for row in panel.rows if (main_workload(panel), SINGLE) in row.latencies]


def with_difference(panel: Panel) -> list[Row]:
    """The rows that can be compared with their float model."""
    return [row for row in timed(panel) if row.scores and row.scores[0]["difference"]]


def draw_accuracy(axes: Axes, panel: Panel) -> Callable[[], None]:
    """Scores, and the Pareto front."""
    rows = [row for row in timed(panel) if row.scores]
    values = [row.scores[0] for row in rows]
    _points(axes, panel, rows, values)
    right, best = axes.get_xlim()[1], front_of(panel)
    x, y = _milliseconds(panel, best), [row.scores[0]["value"] for row in best]
    axes.step([*x, right], [*y, y[-1]], where="post", **FRONT)
    task = panel.run.record["settings"]["task"]
    axes.set_ylabel(f"{task}: {values[0]['metric']} (up is better)")
    return partial(_write_labels, axes, panel, rows, values)


def draw_difference(axes: Axes, panel: Panel) -> Callable[[], None]:
    """Scores minus those of the float model."""
    rows = with_difference(panel)
    values = [row.scores[0]["difference"] for row in rows]
    axes.axhline(0.0, color=INK, lw=0.8, zorder=1)
    _points(axes, panel, rows, values)
    axes.set_ylabel(f"{rows[0].scores[0]['metric']} minus float32's (up is better)")
    return partial(_write_labels, axes, panel, rows, values)


def _points(axes: Axes, panel: Panel, rows: Sequence[Row], values: Sequence[dict[str, float]]) -> None:
    workload = main_workload(panel)
    for row, value in zip(rows, values, strict=True):
        latency, drawn = row.latencies[workload, SINGLE], look(row)
        x, y = latency.median, value["value"]
        axes.errorbar(
            x * 1e3,
            y,
            xerr=[[(x - latency.low) * 1e3], [(latency.high - x) * 1e3]],
            yerr=[[y - value["low"]], [value["high"] - y]],
            color=drawn.color,
            marker=drawn.marker,
            markerfacecolor=drawn.face,
            markersize=7,
            elinewidth=0.8,
            capsize=2.0,
            linestyle="",
            zorder=4,
        )
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.1)
    axes.autoscale_view()
    axes.set_xlim(axes.get_xlim())
    axes.set_ylim(axes.get_ylim())
    log_ticks(axes.xaxis)
    what = "one text of the task" if workload.endswith("real") else f"{workload.split()[-1]} tokens"
    axes.set_xlabel(f"milliseconds for {what}, median, log scale (left is better)")
    axes.grid(color=FAINT, lw=0.4, alpha=0.6)


def _write_labels(axes: Axes, panel: Panel, rows: Sequence[Row], values: Sequence[dict[str, float]]) -> None:
    of_models = model_letters(panel.rows)
    points = list(zip(_milliseconds(panel, rows), [value["value"] for value in values], strict=True))
    latencies = [row.latencies[main_workload(panel), SINGLE] for row in rows]
    bars = [
        ((latency.low * 1e3, latency.high * 1e3), (value["low"], value["high"]))
        for latency, value in zip(latencies, values, strict=True)
    ]
    texts = [label(row, of_models) for row in rows]
    place_labels(axes, points, bars, texts, [look(row).ink for row in rows])


def _milliseconds(panel: Panel, rows: Sequence[Row]) -> list[float]:
    """Median latencies of the workload on the axis."""
    return [row.latencies[main_workload(panel), SINGLE].median * 1e3 for row in rows]
