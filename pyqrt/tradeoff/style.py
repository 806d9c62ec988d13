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
HATCHES = {"packed": "", "padded": "////", "sorted": "...."}


@dataclass(frozen=True)
class Look:
    """Of one candidate."""

    color: str
    marker: str
    face: str  # white: its products are of floats
    line: str


def look(row: Row) -> Look:
    """Of the row's candidate."""
    color, marker = _LOOKS.get(row.candidate["system"], _OTHER)
    return Look(color, marker, "white" if row.floats else color, "--" if row.floats else "-")


def letters(rows: Sequence[Row]) -> dict[str, str]:
    """A letter for every model where there are several, for labels that must be short."""
    names = list(dict.fromkeys(str(row.candidate["checkpoint"]) for row in rows))
    if len(names) == 1:
        return {names[0]: ""}
    return {name: chr(ord("A") + i % 26) + str(i // 26 or "") for i, name in enumerate(names)}


def label(row: Row, of_models: dict[str, str]) -> str:
    """The variant, and the model's letter."""
    letter = of_models[str(row.candidate["checkpoint"])]
    return f"{letter} {row.candidate['variant']}".strip()


def legend_handles(rows: Sequence[Row]) -> list[Any]:
    """What colours, fills and letters mean."""
    from matplotlib.lines import Line2D

    def mark(text: str, **options: Any) -> Line2D:
        return Line2D([], [], linestyle="", markersize=6, label=text, **options)

    systems = {row.candidate["system"]: row for row in rows}
    handles = [
        mark(system_title(row.candidate), color=look(row).color, marker=look(row).marker)
        for row in systems.values()
    ]
    if any(row.floats for row in rows):
        handles.append(mark("hollow: float", marker="o", markerfacecolor="white", color=INK))
    handles += [
        mark(f"{letter}: {name}", marker="None", color=INK)
        for name, letter in letters(rows).items()
        if letter
    ]
    return handles
