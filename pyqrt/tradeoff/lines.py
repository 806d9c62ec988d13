"""Axes with a line for every candidate: latency against length."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pyqrt.tradeoff.labels import write_at_ends
from pyqrt.tradeoff.style import FAINT, log_ticks, look
from pyqrt.tradeoff.summary import Latency, Panel, Row
from pyqrt.tradeoff.workloads import SINGLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def lengths(row: Row) -> dict[int, Latency]:
    """Latencies of single texts by their length in tokens, shortest first."""
    found = {
        int(name.split()[-1]): latency
        for (name, way), latency in row.latencies.items()
        if way == SINGLE and name.split()[-1].isdecimal()
    }
    return dict(sorted(found.items()))


def draw_lengths(axes: Axes, panel: Panel) -> Callable[[], None]:
    """Medians of every length, with the lowest and highest median of a round."""
    ends, texts, colors = [], [], []
    for row in panel.rows:
        drawn, found = look(row), lengths(row)
        middle = [latency.median * 1e3 for latency in found.values()]
        axes.errorbar(
            list(found),
            middle,
            yerr=[
                [(latency.median - latency.low) * 1e3 for latency in found.values()],
                [(latency.high - latency.median) * 1e3 for latency in found.values()],
            ],
            color=drawn.color,
            marker=drawn.marker,
            markerfacecolor=drawn.face,
            linestyle=drawn.line,
            markersize=4.5,
            lw=1.0,
            elinewidth=0.7,
            capsize=1.5,
        )
        ends.append((float(max(found)), middle[-1]))
        texts.append(str(row.candidate["variant"]))
        colors.append(drawn.color)
    name = panel.rows[0].candidate["checkpoint"]
    axes.set_title(f"{name}\n{panel.title()}", fontsize=8, loc="left")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({length for row in panel.rows for length in lengths(row)})
    axes.set_xticks(ticks, [str(length) for length in ticks])
    axes.margins(x=0.16)
    log_ticks(axes.yaxis)
    axes.set_xlabel("tokens of the text, log scale")
    axes.set_ylabel("milliseconds, median, log scale (down is better)")
    axes.grid(color=FAINT, lw=0.4, alpha=0.6)
    return partial(write_at_ends, axes, ends, texts, colors)
