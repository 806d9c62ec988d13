"""`pyqrt tradeoff`: accuracy against latency of models, recipes and other runtimes on this machine."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyqrt.cli.options import MAX_COUNT, whole_number
from pyqrt.errors import ModelError

if TYPE_CHECKING:
    from pyqrt.tradeoff.results import Run


def tradeoff(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="CHECKPOINT_DIR|MODEL.qrt ...", help="What to compare; with --merge, results files."
        ),
    ],
    task: Annotated[str | None, typer.Option(help="Task of `pyqrt eval`.")] = None,
    data: Annotated[Path | None, typer.Option(help="The task's labelled data, as for `pyqrt eval`.")] = None,
    recipes: Annotated[
        str, typer.Option(metavar="NAME|FILE.toml,...", help="Recipes to quantize checkpoints with.")
    ] = "default",
    peers: Annotated[
        str, typer.Option(help="Other runtimes: torch, onnxruntime, openvino, ctranslate2, or all.")
    ] = "",
    threads: Annotated[str, typer.Option(help="Numbers of threads, separated by commas.")] = "1",
    lengths: Annotated[
        str, typer.Option(help="Tokens of single texts, separated by commas; real: those of the data.")
    ] = "real,16,64,128",
    batch: Annotated[
        int,
        typer.Option(min=0, max=MAX_COUNT, help="Texts of the batch with and without padding; 0: no batch."),
    ] = 32,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    calibration: Annotated[
        Path | None, typer.Option(help="Text to calibrate on, as for `pyqrt quantize`; default: built in.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="What the task calls the models' labels, in their order: a,b,...")
    ] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Cut texts longer than the models take.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, max=MAX_COUNT, help="Use this many examples only, the first.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=MAX_COUNT, help="Turns that every candidate gets.")] = 5,
    seconds: Annotated[float, typer.Option(help="Of a turn.")] = 0.2,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of results, pictures and report.")
    ] = Path("tradeoff"),
    merge: Annotated[
        bool,
        typer.Option(
            "--merge", help="Measure nothing: report the folder's results and the given files as one."
        ),
    ] = False,
) -> None:
    """Measure accuracy and latency of models in turns, and draw one against the other.

    Continues where it was if it was killed: run the same command again.
    """
    from pyqrt.tradeoff.api import RESULTS, measure, report
    from pyqrt.tradeoff.systems import PEERS

    files = [output / RESULTS]
    if merge:
        if task is not None or data is not None:
            raise ModelError("--merge measures nothing: leave out --task and --data")
        files = [file for file in files if file.exists()] + models
    elif task is None or data is None:
        raise ModelError("--task and --data are needed: what to measure the accuracy on")
    else:
        run = measure(
            models,
            task,
            data,
            output,
            recipes=recipes.split(","),
            peer_names=PEERS if peers == "all" else [name for name in peers.split(",") if name],
            threads=[whole_number("--threads", part) for part in threads.split(",")],
            lengths=[
                part if part == "real" else whole_number("--lengths", part, ", or real")
                for part in lengths.split(",")
            ],
            batch=batch,
            device=device,
            calibration=calibration,
            labels=None if labels is None else labels.split(","),
            truncate=truncate,
            limit=limit,
            rounds=rounds,
            seconds=seconds,
            command=shlex.join(["pyqrt", *sys.argv[1:]]),
            progress=True,
        )
        _print(run)
    written = report(files, output)
    typer.echo("Written: " + ", ".join(str(path) for path in [*files[: not merge], *written]))
    if not written:
        typer.echo("No pictures and no report: pip install 'pyqrt[plot]'")


def _print(run: Run) -> None:
    from pyqrt.cli.tables import print_table
    from pyqrt.tradeoff.summary import panels
    from pyqrt.tradeoff.tables import main_table, not_measured

    for panel in panels([run]):
        columns, rows = main_table(panel)
        print_table(panel.title(), columns, rows)
    columns, rows = not_measured([run])
    if rows:
        print_table("not measured", columns, rows)
