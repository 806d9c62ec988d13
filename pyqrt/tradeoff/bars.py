"""Axes with bars for every candidate: tokens a second of a batch, by what is done about padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyqrt.tradeoff.style import HATCHES, label, look, model_letters
from pyqrt.tradeoff.summary import Panel, Row
from pyqrt.tradeoff.tables import system_title
from pyqrt.tradeoff.workloads import SINGLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_THICK = 0.4


def batches(row: Row) -> dict[str, float]:
    """Tokens a second by batching."""
    return {way: found.tokens_per_second for (_, way), found in row.latencies.items() if way != SINGLE}


def draw_throughput(axes: Axes, panel: Panel) -> Callable[[], None]:
    """Bars with their numbers, the quickest candidate on top."""
    rows = [row for row in panel.rows if batches(row)]
    rows.sort(key=lambda row: -max(batches(row).values()))
    of_models = model_letters(panel.rows)
    for place, row in enumerate(rows):
        found, color = batches(row), look(row).color
        for number, (way, rate) in enumerate(found.items()):
            y = place + (number - (len(found) - 1) / 2) * _THICK
            axes.barh(
                y,
                rate,
                _THICK * 0.9,
                color=look(row).face,
                hatch=HATCHES[way],
                edgecolor=color if row.floats else "white",
                lw=0.8,
            )
            axes.annotate(
                f"{rate:,.0f} {way}",
                (rate, y),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=6.5,
            )
    names = [f"{system_title(row.candidate)} {label(row, of_models)}" for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=7.5)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    name = next(name for row in rows for name, way in row.latencies if way != SINGLE)
    axes.set_xlabel(f"real tokens a second, batch of {name.split()[0]} texts of the task (right is better)")
    return lambda: None
