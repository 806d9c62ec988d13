"""The pictures: accuracy against latency, latency against length, throughput with and without padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from pyqrt.tradeoff.labels import place_labels
from pyqrt.tradeoff.style import FAINT, FONT, HATCHES, INK, label, legend_handles, letters, look
from pyqrt.tradeoff.summary import Panel, Row
from pyqrt.tradeoff.tables import front_of, main_workload, system_title
from pyqrt.tradeoff.workloads import PACKED, PADDED, SINGLE, SORTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEGEND_ROW = 0.24  # inches
_TICKS = (1.0, 2.0, 5.0)


def accuracy_figure(panels: Sequence[Panel]) -> Figure | None:
    """Score against the median latency of one text, a panel for every machine and number of threads."""
    shown = [panel for panel in panels if any(row.scores for row in panel.rows) and main_workload(panel)]
    return _figure(shown, _accuracy_axes, width=6.4, height=4.0)


def difference_figure(panels: Sequence[Panel]) -> Figure | None:
    """What quantization costs: score minus that of the float model, against latency."""
    shown = [panel for panel in panels if _with_difference(panel) and main_workload(panel)]
    return _figure(shown, _difference_axes, width=6.4, height=4.0)


def length_figure(panels: Sequence[Panel]) -> Figure | None:
    """Median latency of one text against its tokens, a panel for every machine, threads and model."""
    shown = []
    for panel in panels:
        for name in letters(panel.rows):
            rows = [
                row for row in panel.rows if row.candidate["checkpoint"] == name and len(_lengths(row)) > 1
            ]
            if rows:
                shown.append(Panel(panel.run, panel.threads, rows))
    return _figure(shown, _length_axes, width=4.6, height=3.6)


def throughput_figure(panels: Sequence[Panel]) -> Figure | None:
    """Tokens a second of a batch of the task's lengths: packed, padded, sorted and padded in chunks."""
    shown = [panel for panel in panels if any(_batches(row) for row in panel.rows)]
    tallest = max((len([row for row in panel.rows if _batches(row)]) for panel in shown), default=0)
    return _figure(shown, _throughput_axes, width=6.4, height=1.2 + 0.42 * tallest, hatches=True)


def _figure(
    panels: Sequence[Panel],
    draw: Callable[[Axes, Panel], None],
    *,
    width: float,
    height: float,
    hatches: bool = False,
) -> Figure | None:
    """Panels in two columns, the legend below; None for no panels."""
    if not panels:
        return None
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    handles = legend_handles([row for panel in panels for row in panel.rows])
    if hatches:
        handles = _hatch_handles()
    of_row = 3 if columns == 1 else 5
    below = _LEGEND_ROW * -(-len(handles) // of_row) + 0.1
    with rc_context(FONT):
        figure = Figure(figsize=(width * columns, height * lines + below), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(lines, columns, squeeze=False)
        figure.legend(handles=handles, loc="outside lower center", ncols=of_row, frameon=False, fontsize=8)
        for axes, panel in zip(grid.flat, panels, strict=False):
            axes.set_title(panel.title(), fontsize=9, loc="left")
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            draw(axes, panel)
    return figure


def _accuracy_axes(axes: Axes, panel: Panel) -> None:
    rows = [row for row in panel.rows if row.scores and (main_workload(panel), SINGLE) in row.latencies]
    values = [row.scores[0] for row in rows]
    _scatter(axes, panel, rows, values)
    right = axes.get_xlim()[1]
    best = front_of(panel)
    x, y = _milliseconds(panel, best), [row.scores[0]["value"] for row in best]
    axes.step([*x, right], [*y, y[-1]], where="post", color=INK, lw=1.0, ls=":", zorder=2)
    axes.annotate(
        "Pareto front", (right, y[-1]), xytext=(-2, 3), textcoords="offset points", ha="right", fontsize=7.5
    )
    task = panel.run.record["settings"]["task"]
    _name(axes, panel, rows, values, f"{task}: {rows[0].scores[0]['metric']}")


def _difference_axes(axes: Axes, panel: Panel) -> None:
    rows = _with_difference(panel)
    values = [row.scores[0]["difference"] for row in rows]
    axes.axhline(0.0, color=INK, lw=0.8, zorder=1)
    _scatter(axes, panel, rows, values)
    _name(axes, panel, rows, values, f"{rows[0].scores[0]['metric']} minus float32's")


def _scatter(axes: Axes, panel: Panel, rows: Sequence[Row], values: Sequence[dict[str, float]]) -> None:
    """Points with both error bars."""
    for row, value in zip(rows, values, strict=True):
        latency, drawn = row.latencies[main_workload(panel), SINGLE], look(row)
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


def _name(
    axes: Axes, panel: Panel, rows: Sequence[Row], values: Sequence[dict[str, float]], y_label: str
) -> None:
    """Ticks, names of the axes, and a label at every point."""
    _log_ticks(axes.xaxis)
    workload = main_workload(panel)
    what = "one text of the task" if workload.endswith("real") else f"{workload.split()[-1]} tokens"
    axes.set_xlabel(f"milliseconds for {what}, median (log scale): left is better")
    axes.set_ylabel(f"{y_label}: up is better")
    axes.grid(color=FAINT, lw=0.4, alpha=0.6)
    figure: Any = axes.figure
    figure.draw_without_rendering()  # so that the places of points are final
    of_models = letters(panel.rows)
    points = list(zip(_milliseconds(panel, rows), [value["value"] for value in values], strict=True))
    place_labels(axes, points, [label(row, of_models) for row in rows], [look(row).color for row in rows])


def _milliseconds(panel: Panel, rows: Sequence[Row]) -> list[float]:
    """Median latencies of the workload on the axis."""
    return [row.latencies[main_workload(panel), SINGLE].median * 1e3 for row in rows]


def _length_axes(axes: Axes, panel: Panel) -> None:
    for row in panel.rows:
        drawn, found = look(row), _lengths(row)
        x = sorted(found)
        middle = [found[n].median * 1e3 for n in x]
        axes.errorbar(
            x,
            middle,
            yerr=[
                [m - found[n].low * 1e3 for n, m in zip(x, middle, strict=True)],
                [found[n].high * 1e3 - m for n, m in zip(x, middle, strict=True)],
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
        axes.annotate(
            str(row.candidate["variant"]),
            (x[-1], middle[-1]),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=6.5,
            color=drawn.color,
        )
    axes.set_title(f"{panel.rows[0].candidate['checkpoint']}\n{panel.title()}", fontsize=8, loc="left")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({n for row in panel.rows for n in _lengths(row)})
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.margins(x=0.12)
    _log_ticks(axes.yaxis)
    axes.set_xlabel("tokens of the text")
    axes.set_ylabel("milliseconds, median: down is better")
    axes.grid(color=FAINT, lw=0.4, alpha=0.6)


def _throughput_axes(axes: Axes, panel: Panel) -> None:
    rows = sorted((row for row in panel.rows if _batches(row)), key=lambda row: -max(_batches(row).values()))
    of_models = letters(panel.rows)
    names, thick = [], 0.8 / 2
    for place, row in enumerate(rows):
        found = _batches(row)
        for number, (way, rate) in enumerate(found.items()):
            y = place + (number - (len(found) - 1) / 2) * thick
            axes.barh(
                y,
                rate,
                thick * 0.9,
                color="white" if row.floats else look(row).color,
                hatch=HATCHES[way],
                edgecolor=look(row).color if row.floats else "white",
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
        names.append(f"{system_title(row.candidate)} {label(row, of_models)}")
    axes.set_yticks(range(len(rows)), names, fontsize=7.5)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    key = next(key for row in panel.rows for key in row.latencies if key[1] != SINGLE)
    axes.set_xlabel(f"real tokens a second, batch of {key[0].split()[0]} texts of the task: right is better")


def _hatch_handles() -> list[Any]:
    from matplotlib.patches import Patch

    meaning = {
        PACKED: "packed: no padding",
        PADDED: "padded to the longest text",
        SORTED: "sorted by length, padded in eights",
    }
    return [
        Patch(facecolor="#DDDDDD", edgecolor=INK, hatch=HATCHES[way], label=text)
        for way, text in meaning.items()
    ]


def _batches(row: Row) -> dict[str, float]:
    """Tokens a second by batching."""
    return {way: found.tokens_per_second for (_, way), found in row.latencies.items() if way != SINGLE}


def _lengths(row: Row) -> dict[int, Any]:
    """Latencies of single texts of a given length."""
    return {
        int(name.split()[-1]): found
        for (name, way), found in row.latencies.items()
        if way == SINGLE and name.split()[-1].isdecimal()
    }


def _with_difference(panel: Panel) -> list[Row]:
    key = (main_workload(panel), SINGLE)
    return [row for row in panel.rows if row.scores and row.scores[0]["difference"] and key in row.latencies]


def _log_ticks(axis: Any) -> None:
    """Plain numbers at 1, 2 and 5 of every power of ten."""
    from matplotlib.ticker import LogLocator

    axis.set_major_locator(LogLocator(subs=_TICKS))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
