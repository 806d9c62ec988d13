"""Labels beside points: each takes the first free place of a few, nearest first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[float, float, float, float]  # left, bottom, right, top

DISTANCES = (7, 14, 22, 31, 42, 55, 70, 86)  # points
DIRECTIONS = ((1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0))
FARNESS = 1.5  # what a point of distance costs, in square points of a label on a bar
NEAR = 10  # beyond it a line leads to the point
BAR = 1  # points from a bar's middle to its edge
MARKER = 5  # points from a marker's middle to its edge
SIZE = 7.5
END_SIZE = 6.5


def place_labels(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    bars: Sequence[tuple[tuple[float, float], tuple[float, float]]],
    texts: Sequence[str],
    colors: Sequence[str],
) -> None:
    """Writes `texts` beside points, in data coordinates, clear of points and of each other where it can be.

    bars: the ends (x, x), (y, y) of every point's, on which labels lie only where other places are far. The
    axes' limits and place must be final.
    """
    from matplotlib.patheffects import withStroke

    figure: Any = axes.figure
    scale = figure.dpi / 72.0
    frame = axes.get_window_extent()
    inside = (frame.x0, frame.y0, frame.x1, frame.y1)
    pixels = axes.transData.transform(list(points)).tolist()
    taken = [_box(x, y, 2 * MARKER * scale, 2 * MARKER * scale, 0, 0) for x, y in pixels]
    drawn: list[Box] = []
    for (x, y), (across, along) in zip(points, bars, strict=True):
        for ends in (zip(across, (y, y), strict=True), zip((x, x), along, strict=True)):
            (left, bottom), (right, top) = axes.transData.transform(list(ends)).tolist()
            edge = BAR * scale
            drawn.append((left - edge, bottom - edge, right + edge, top + edge))
    for point, (x, y), text, color in zip(points, pixels, texts, colors, strict=True):
        width, height = _size(axes, text)
        best: tuple[float, int, tuple[int, int], Box] | None = None
        for distance, (right, up) in product(DISTANCES, DIRECTIONS):
            step = distance * scale
            box = _box(x + right * step, y + up * step, width, height, right, up)
            cost = 10.0 * sum(_overlap(box, other) for other in taken)
            cost += sum(_overlap(box, bar) for bar in drawn) + FARNESS * step * scale
            cost += 10.0 * (width * height - _overlap(box, inside))  # worse than an overlap
            if best is None or cost < best[0]:
                best = cost, distance, (right, up), box
        assert best is not None
        _, distance, (right, up), box = best
        taken.append(box)
        axes.annotate(
            text,
            point,
            xytext=(right * distance, up * distance),
            textcoords="offset points",
            ha=("center", "left", "right")[right],
            va=("center", "bottom", "top")[up],
            fontsize=SIZE,
            color=color,
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.5} if distance > NEAR else None,
            zorder=6,
            path_effects=[withStroke(linewidth=2.0, foreground="white")],
        )


def write_at_ends(
    axes: Axes, points: Sequence[tuple[float, float]], texts: Sequence[str], colors: Sequence[str]
) -> None:
    """Writes `texts` to the right of the points at lines' ends, moved apart where they are close."""
    figure: Any = axes.figure
    scale = figure.dpi / 72.0
    pixels = axes.transData.transform(list(points))
    order = sorted(range(len(points)), key=lambda i: float(pixels[i][1]))
    least = END_SIZE * 1.1 * scale
    heights: list[float] = []
    for i in order:
        wanted = float(pixels[i][1])
        heights.append(wanted if not heights else max(wanted, heights[-1] + least))
    # All go back by what they were pushed up on average.
    shift = sum(h - float(pixels[i][1]) for h, i in zip(heights, order, strict=True)) / len(order)
    for height, i in zip(heights, order, strict=True):
        axes.annotate(
            texts[i],
            points[i],
            xytext=(6, (height - shift - float(pixels[i][1])) / scale),
            textcoords="offset points",
            va="center",
            fontsize=END_SIZE,
            color=colors[i],
        )


def _size(axes: Axes, text: str) -> tuple[float, float]:
    """Width and height in pixels."""
    measured = axes.text(0.5, 0.5, text, fontsize=SIZE, transform=axes.transAxes)
    extent = measured.get_window_extent()
    measured.remove()
    return extent.width, extent.height


def _box(x: float, y: float, width: float, height: float, right: int, up: int) -> Box:
    """The box whose middle (0), left or lower (1), right or upper edge (-1) is at (x, y)."""
    left, bottom = x + (right - 1) * width / 2, y + (up - 1) * height / 2
    return left, bottom, left + width, bottom + height


def _overlap(a: Box, b: Box) -> float:
    """Common area."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0
