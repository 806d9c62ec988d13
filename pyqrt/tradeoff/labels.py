"""Labels beside points: each takes the first free place of a few, nearest first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DISTANCES = (8, 16, 26, 38, 52, 68, 86)  # points
DIRECTIONS = ((1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0))
NEAR = 16  # beyond it a line leads to the point
SIZE = 7.5


def place_labels(
    axes: Axes, points: Sequence[tuple[float, float]], texts: Sequence[str], colors: Sequence[str]
) -> None:
    """Writes `texts` beside points (in data coordinates), clear of points and of each other where it can be.

    The axes' limits must be final.
    """
    figure: Any = axes.figure
    renderer = figure.canvas.get_renderer()
    scale = figure.dpi / 72.0
    frame = axes.get_window_extent(renderer)
    taken: list[tuple[float, ...]] = []
    for x, y in axes.transData.transform(list(points)):
        taken.append((x - 5 * scale, y - 5 * scale, x + 5 * scale, y + 5 * scale))
    for point, text, color in zip(points, texts, colors, strict=True):
        best: tuple[float, Any, tuple[float, ...], int] | None = None
        for distance, (right, up) in product(DISTANCES, DIRECTIONS):
            note = axes.annotate(
                text,
                point,
                xytext=(right * distance, up * distance * 0.8),
                textcoords="offset points",
                ha={1: "left", 0: "center", -1: "right"}[right],
                va={1: "bottom", 0: "center", -1: "top"}[up],
                fontsize=SIZE,
                color=color,
                arrowprops={"arrowstyle": "-", "color": color, "lw": 0.5} if distance >= NEAR else None,
                zorder=6,
            )
            box = note.get_window_extent(renderer) if distance < NEAR else _text_box(note, renderer)
            corners = (box.x0, box.y0, box.x1, box.y1)
            cost = sum(_overlap(corners, other) for other in taken) + _outside(corners, frame)
            if best is None or cost < best[0]:
                if best is not None:
                    best[1].remove()
                best = (cost, note, corners, distance)
            else:
                note.remove()
            if best[0] == 0:
                break
        assert best is not None
        taken.append(best[2])


def _text_box(note: Any, renderer: Any) -> Any:
    """Of the text without its line."""
    from matplotlib.text import Text

    note.update_positions(renderer)
    return Text.get_window_extent(note, renderer)


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


def _outside(box: tuple[float, ...], frame: Any) -> float:
    """How much of a box lies outside the frame, which is worse than an overlap."""
    inside = _overlap(box, (frame.x0, frame.y0, frame.x1, frame.y1))
    return 10.0 * ((box[2] - box[0]) * (box[3] - box[1]) - inside)
