"""How a candidate looks, the same in every picture: colour and marker say the system, fill the numbers.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart; in print without
colour the markers do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyqrt.tradeoff.summary import Row
from pyqrt.tradeoff.tables import system_title
from pyqrt.tradeoff.workloads import PACKED, PADDED, SORTED

_LOOKS = {
    "pyqrt": ("#0072B2", "o"),
    "torch": ("#D55E00", "s"),
    "onnxruntime": ("#009E73", "^"),
    "openvino": ("#CC79A7", "D"),
    "ctranslate2": ("#E69F00", "v"),
}
_OTHER = ("#56B4E9", "P")
INK, FAINT = "#222222", "#BBBBBB"
FONT: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "pyqrt",
}
FRONT: dict[str, Any] = {"color": INK, "lw": 1.0, "ls": ":", "zorder": 2}
HATCHES = {PACKED: "", PADDED: "////", SORTED: "...."}


@dataclass(frozen=True)
class Look:
    """Of one candidate."""

    color: str
    ink: str  # of text: the colour, darker
    marker: str
    face: str  # white: its products are of floats
    line: str


def look(row: Row) -> Look:
    """Of the row's candidate."""
    color, marker = _LOOKS.get(row.candidate["system"], _OTHER)
    dark = "#" + "".join(f"{int(color[i : i + 2], 16) * 2 // 3:02X}" for i in (1, 3, 5))
    return Look(color, dark, marker, "white" if row.floats else color, "--" if row.floats else "-")


def model_letters(rows: Sequence[Row]) -> dict[str, str]:
    """A letter for every model where there are several, for labels that must be short."""
    names = list(dict.fromkeys(str(row.candidate["checkpoint"]) for row in rows))
    if len(names) == 1:
        return {names[0]: ""}
    return {name: chr(ord("A") + i % 26) + str(i // 26 or "") for i, name in enumerate(names)}


def label(row: Row, of_models: dict[str, str]) -> str:
    """The variant, and the model's letter."""
    letter = of_models[str(row.candidate["checkpoint"])]
    return f"{letter} {row.candidate['variant']}".strip()


def system_handles(rows: Sequence[Row], *, letters: bool) -> list[Any]:
    """What colours, fills and, if wanted, letters of models mean."""
    systems = {row.candidate["system"]: row for row in rows}
    handles = [
        _mark(
            system_title(row.candidate),
            color=look(row).color,
            marker=look(row).marker,
            markerfacecolor=look(row).color,
        )
        for row in systems.values()
    ]
    if any(row.floats for row in rows):
        handles.append(_mark("hollow: float", marker="o", markerfacecolor="white", color=INK))
    if letters:
        named = model_letters(rows).items()
        handles += [_mark(f"{letter}: {name}", marker="None") for name, letter in named if letter]
    return handles


def front_handle() -> Any:
    """The dotted line."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label="Pareto front", **FRONT)


def batching_handles() -> list[Any]:
    """What hatches mean."""
    from matplotlib.patches import Patch

    return [
        Patch(facecolor="#DDDDDD", edgecolor=INK, hatch=HATCHES[way], label=text)
        for way, text in (
            (PACKED, "packed: no padding"),
            (PADDED, "padded to the longest text"),
            (SORTED, "sorted by length, padded in eights"),
        )
    ]


def log_ticks(axis: Any) -> None:
    """Plain numbers at 1, 2 and 5 of every power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _mark(text: str, **options: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="", markersize=6, label=text, **options)
