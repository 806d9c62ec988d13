"""The pictures: accuracy against latency, latency against length, throughput with and without padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pyqrt.tradeoff.bars import batches, draw_throughput
from pyqrt.tradeoff.lines import draw_lengths, lengths
from pyqrt.tradeoff.scatter import draw_accuracy, draw_difference, timed, with_difference
from pyqrt.tradeoff.style import FONT, batching_handles, front_handle, model_letters, system_handles
from pyqrt.tradeoff.summary import Panel, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Draws a panel; what it returns is called when the layout is final, and writes the labels.
Draw = Callable[["Axes", Panel], Callable[[], None]]

DPI = 160  # of the files, and so of the layout: letters are as wide as their pixels allow
_LEGEND_ROW = 0.24  # inches


def accuracy_figure(panels: Sequence[Panel]) -> Figure | None:
    """Score against the median latency of one text, a panel for every machine and number of threads."""
    shown = [panel for panel in panels if any(row.scores for row in timed(panel))]
    return _figure(shown, draw_accuracy, [*_systems(shown), front_handle()], width=6.6, height=4.0)


def difference_figure(panels: Sequence[Panel]) -> Figure | None:
    """What quantization costs: score minus that of the float model, against latency."""
    shown = [panel for panel in panels if with_difference(panel)]
    rows = [row for panel in shown for row in with_difference(panel)]
    return _figure(shown, draw_difference, system_handles(rows, letters=True), width=6.6, height=4.0)


def length_figure(panels: Sequence[Panel]) -> Figure | None:
    """Median latency of one text against its tokens, a panel for every machine, threads and model."""
    shown = []
    for panel in panels:
        for name in model_letters(panel.rows):
            rows = [
                row for row in panel.rows if row.candidate["checkpoint"] == name and len(lengths(row)) > 1
            ]
            if rows:
                shown.append(Panel(panel.run, panel.threads, rows))
    return _figure(shown, draw_lengths, _systems(shown, letters=False), width=4.8, height=3.8)


def throughput_figure(panels: Sequence[Panel]) -> Figure | None:
    """Tokens a second of a batch of the task's lengths: packed, padded, sorted and padded in chunks."""
    shown = [panel for panel in panels if any(batches(row) for row in panel.rows)]
    tallest = max((len([row for row in panel.rows if batches(row)]) for panel in shown), default=0)
    return _figure(shown, draw_throughput, batching_handles(), width=6.6, height=0.9 + 0.4 * tallest)


def _systems(panels: Sequence[Panel], *, letters: bool = True) -> list[Any]:
    rows: list[Row] = [row for panel in panels for row in panel.rows]
    return system_handles(rows, letters=letters)


def _figure(
    panels: Sequence[Panel], draw: Draw, handles: Sequence[Any], *, width: float, height: float
) -> Figure | None:
    """Panels in two columns, what colours and marks mean below; None for no panels."""
    if not panels:
        return None
    columns = min(2, len(panels))
    if columns == 1:
        width, height = 1.2 * width, 1.2 * height
    lines = -(-len(panels) // columns)
    of_row = 4 if columns == 1 else 5
    below = _LEGEND_ROW * -(-len(handles) // of_row) + 0.1
    with rc_context(FONT):
        figure = Figure(figsize=(width * columns, height * lines + below), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(lines, columns, squeeze=False)
        figure.legend(
            handles=list(handles), loc="outside lower center", ncols=of_row, frameon=False, fontsize=8
        )
        finish = []
        for axes, panel in zip(grid.flat, panels, strict=False):
            axes.set_title(panel.title(), fontsize=9, loc="left")
            finish.append(draw(axes, panel))
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for write_labels in finish:
            write_labels()
    return figure
