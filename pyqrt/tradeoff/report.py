"""Pictures as PNG and SVG, and one HTML file with everything in it, that opens offline."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib import rc_context

from pyqrt.tradeoff import plot
from pyqrt.tradeoff.results import Run
from pyqrt.tradeoff.style import FONT
from pyqrt.tradeoff.summary import Panel, panels
from pyqrt.tradeoff.tables import Table, batch_table, length_table, main_table, not_measured

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT = "report.html"

_PICTURES: tuple[tuple[str, Callable[[Sequence[Panel]], Figure | None], str, str], ...] = (
    (
        "accuracy-latency",
        plot.accuracy_figure,
        "Accuracy against latency",
        "Every point is a model in a system. Up is more accurate, left is faster. No point is better in "
        "both than those on the dotted line, the Pareto front: choose among them. Vertical bars: 95 % "
        "interval of the score over the examples (bootstrap). Horizontal bars: the lowest and highest median "
        "of any round.",
    ),
    (
        "difference-latency",
        plot.difference_figure,
        "What quantization costs",
        "The score minus that of the float32 model on the same examples. Vertical bars: 95 % interval of the "
        "difference, on the same resamples. A bar that crosses zero: no loss can be told from chance.",
    ),
    (
        "latency-length",
        plot.length_figure,
        "Latency against length",
        "One text at a time, cut from the task's own. Bars: the lowest and highest median of any round.",
    ),
    (
        "throughput",
        plot.throughput_figure,
        "Throughput, and what padding costs",
        "Texts of the task run as one batch; padding is not counted as tokens. Packed batches compute the "
        "texts alone. Runtimes that need rectangles pad to the longest text, or sort the batch by length "
        "first and pad in chunks of eight.",
    ),
)

_CSS = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 0 auto; padding: 1rem;
  max-width: 78rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; } h3 { font-size: 1rem; }
figure { margin: 0; } img { max-width: 100%; height: auto; } p, figcaption { max-width: 48rem; }
figcaption { color: #444; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; margin: 0.5rem 0; }
th, td { padding: 0.25rem 0.6rem; text-align: left; border-bottom: 1px solid #ccc; white-space: nowrap; }
th { border-bottom: 2px solid #222; vertical-align: bottom; white-space: normal; }
td.wide { white-space: normal; min-width: 16rem; }
pre { background: #f3f3f3; padding: 0.6rem; white-space: pre-wrap; overflow-wrap: anywhere; }
@media print { body { max-width: none; font-size: 11px; } .scroll { overflow: visible; } }
"""


def write_report(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Writes every picture there is data for, and report.html; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    by_task: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        settings = run.record["settings"]
        by_task.setdefault((settings["task"], settings["data_sha256"], str(settings["examples"])), []).append(
            run
        )
    written, sections = [], []
    for number, group in enumerate(by_task.values()):
        shown = panels(group)
        if not shown:
            continue
        suffix = f"-{number + 1}" if number else ""
        pictures = []
        for name, draw, title, caption in _PICTURES:
            figure = draw(shown)
            if figure is None:
                continue
            png, svg = folder / f"{name}{suffix}.png", folder / f"{name}{suffix}.svg"
            _write(png, _image(figure, "png"))
            vector = _image(figure, "svg")
            _write(svg, vector)
            written += [png, svg]
            pictures.append(_picture(title, caption, vector))
        sections.append(_section(group, shown, pictures))
    target = folder / REPORT
    _write(target, _page(sections).encode())
    return [*written, target]


def _image(figure: Figure, kind: str) -> bytes:
    data = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with rc_context(FONT):  # names within an SVG are made when it is written
        figure.savefig(data, format=kind, dpi=plot.DPI, metadata=metadata)
    return data.getvalue()


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(data)
    new.replace(path)


def _page(sections: Sequence[str]) -> str:
    """Nothing is loaded from anywhere: the policy forbids it, and there is nothing to load."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Accuracy against latency</title>\n<style>{_CSS}</style>\n</head>\n<body>\n"
        "<h1>Accuracy against latency</h1>\n"
        "<p>Measured by <code>pyqrt tradeoff</code>. All candidates of a machine took turns, each in a "
        "process of its own, on the same token ids; times are from token ids to the task's floats.</p>\n"
        + "\n".join(sections)
        + "\n</body>\n</html>\n"
    )


def _section(runs: Sequence[Run], shown: Sequence[Panel], pictures: Sequence[str]) -> str:
    settings = runs[0].record["settings"]
    title = f"Task {settings['task']}: {settings['examples']} examples of {settings['data']}"
    parts = [
        f"<h2>{_text(title)}</h2>",
        *pictures,
        "<h2>Figures</h2>",
        "<p>★: on the Pareto front. Memory is the most the process had resident, its libraries included; "
        "file is what is read from disk; load opens the model, start runs from the process's start to the "
        "first result. p90: nine of ten calls were quicker. Energy is given where the system lets it be "
        "read, and counts the whole package.</p>",
    ]
    for panel in shown:
        parts.append(f"<h3>{_text(panel.title())}</h3>")
        parts += [_table(table) for table in (main_table(panel), length_table(panel), batch_table(panel))]
    missing = not_measured(runs)
    if missing[1]:
        parts += ["<h2>Not measured</h2>", _table(missing, wide=(3,))]
    parts.append("<h2>Machines and commands</h2>")
    parts += [_machine(run) for run in runs]
    return "\n".join(parts)


def _machine(run: Run) -> str:
    record = run.record
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    loads = [turn["load_average"] for turn in run.records["turn"]]
    cells = {
        "measured": record["time"],
        "pyqrt": record["pyqrt"] + (f", commit {record['commit']}" if record["commit"] else ""),
        "libraries": versions,
        **{name.replace("_", " "): _plain(value) for name, value in record["machine"].items()},
        "load average while timing": f"{min(loads):.2f} to {max(loads):.2f}" if loads else "",
        "rounds": f"{record['settings']['rounds']} of {record['settings']['seconds']} s for each",
    }
    table = _table((("", ""), list(cells.items())), wide=(1,))
    return f"<pre>{_text(record['command'])}</pre>\n{table}"


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "not readable" if value is None else str(value)


def _picture(title: str, caption: str, svg: bytes) -> str:
    source = "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
    return (
        f'<h2>{_text(title)}</h2>\n<figure><img alt="{_text(title)}. {_text(caption)}" src="{source}">'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def _table(table: Table, wide: Sequence[int] = ()) -> str:
    columns, rows = table
    if not rows:
        return ""
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    body = "".join(f"<tr>{_cells(row, wide)}</tr>" for row in rows)
    inner = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll"><table>{inner}</table></div>'


def _cells(row: Sequence[str], wide: Sequence[int]) -> str:
    return "".join(
        f"<td{' class=wide' if place in wide else ''}>{_text(cell)}</td>" for place, cell in enumerate(row)
    )


def _text(text: object) -> str:
    return html.escape(str(text))
