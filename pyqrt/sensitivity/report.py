"""A sensitivity as files: JSON, CSV, Markdown, a recipe, and a bar chart (needs matplotlib)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyqrt.errors import ModelError
from pyqrt.outputs import check_file, check_folder
from pyqrt.sensitivity.api import Outcome, Sensitivity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("rank", "tensor", "kind", "loss alone", "loss all but")
BARS = 40  # of the chart, those that cost most
PLOTS = (".png", ".svg")
SUFFIXES = (".json", ".csv", ".md", ".toml", *PLOTS)
FOLDER_FILES = ("sensitivity.json", "sensitivity.csv", "sensitivity.md", "sensitivity.png", "recipe.toml")
_COLORS = {"int8": "tab:blue", "int16": "tab:green", "weight": "tab:orange"}


def files_to_write(output: Path) -> list[Path]:
    """The files that `write_files` makes of `output`: itself if it has a suffix, else those of a folder.

    In a folder there is no chart where matplotlib is missing. Raises ModelError for an unknown suffix and
    where nothing can be written, and ModuleNotFoundError for a chart alone without matplotlib.
    """
    plottable = find_spec("matplotlib") is not None
    if output.is_dir() or not output.suffix:
        check_folder(output)
        return [output / name for name in FOLDER_FILES if plottable or Path(name).suffix not in PLOTS]
    if output.suffix not in SUFFIXES:
        raise ModelError(f"{output}: a file must end in {', '.join(SUFFIXES)}; a folder gets all but .svg")
    if output.suffix in PLOTS and not plottable:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
    check_file(output)
    return [output]


def write_files(result: Sensitivity, paths: Sequence[Path]) -> None:
    """Writes each path as its suffix says; a missing folder is made."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in PLOTS:
            metadata = {"Date": None} if path.suffix == ".svg" else None
            chart(result).savefig(path, bbox_inches="tight", metadata=metadata)
        elif path.suffix == ".json":
            path.write_text(json.dumps(to_dict(result), indent=2) + "\n", encoding="utf-8")
        elif path.suffix == ".toml":
            path.write_text(result.proposed.recipe.to_toml(), encoding="utf-8")
        else:
            path.write_text((_csv if path.suffix == ".csv" else _markdown)(rows(result)), encoding="utf-8")


def rows(result: Sensitivity) -> list[tuple[str, ...]]:
    """Cells of the table, ranked, after COLUMNS."""
    return [
        (str(rank), loss.node.name, loss.node.kind, f"{loss.alone:.4g}", f"{loss.all_but:.4g}")
        for rank, loss in enumerate(result.losses.ranked(), start=1)
    ]


def to_dict(result: Sensitivity) -> dict[str, Any]:
    """Everything, for JSON; losses unrounded."""

    def outcome(measured: Outcome) -> dict[str, Any]:
        return {
            "loss": measured.loss,
            "multiply_accumulates": measured.multiply_accumulates,
            "recipe": measured.recipe.to_dict(),
        }

    return {
        "loss_all_rounded": result.losses.total,
        "nodes": [
            {"tensor": n.node.name, "kind": n.node.kind, "loss_alone": n.alone, "loss_all_but": n.all_but}
            for n in result.losses.ranked()
        ],
        "ranked_on": result.ranked_on,
        "verified_on": result.verified_on,
        "given": outcome(result.given),
        "proposed": outcome(result.proposed),
    }


def _csv(cells: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *cells])
    return text.getvalue()


def _markdown(cells: Sequence[Sequence[str]]) -> str:
    lines = [COLUMNS, ["---"] * len(COLUMNS), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def chart(result: Sensitivity) -> Figure:
    """Bars of the loss alone, coloured by kind, and marks of what goes when only this is not rounded."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    shown = result.losses.ranked()[:BARS]
    figure = Figure(figsize=(9, 1.5 + 0.22 * len(shown)))
    axes = figure.add_subplot()
    places = range(len(shown))
    axes.barh(places, [n.alone for n in shown], color=[_COLORS[n.node.kind] for n in shown])
    gains = [result.losses.total - n.all_but for n in shown]
    (marks,) = axes.plot(gains, places, "k|", label="taken away if it alone is not rounded")
    axes.set_yticks(places, [n.node.name for n in shown], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("loss against the float model, rounded alone")
    kinds = [Patch(color=color, label=kind) for kind, color in _COLORS.items()]
    axes.legend(handles=[*kinds, marks], fontsize=7, loc="lower right")
    return figure
