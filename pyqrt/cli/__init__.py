"""The command line: one file per command, named after it.

A command imports what it needs when it runs, so that `pyqrt --help` is quick and only `quantize`,
`sensitivity`, `qat`, `distill`, `demo`, and `eval` and `tradeoff` beside a checkpoint, need torch. Exit
codes: 0 done, 1 an error told in one line on stderr, 2 wrong usage.
"""

from __future__ import annotations

from typing import Annotated

import typer

from pyqrt.cli.bench import bench
from pyqrt.cli.demo import demo
from pyqrt.cli.distill import distill, qat
from pyqrt.cli.doctor import doctor
from pyqrt.cli.errors import clear_errors
from pyqrt.cli.eval import evaluate
from pyqrt.cli.export_onnx import export_onnx
from pyqrt.cli.inspect import inspect
from pyqrt.cli.openmp import sleeping_threads
from pyqrt.cli.quantize import quantize
from pyqrt.cli.run import run
from pyqrt.cli.sensitivity import sensitivity
from pyqrt.cli.tradeoff import tradeoff

app = typer.Typer(
    name="pyqrt",
    help="Integer-only inference for BERT-family encoders.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for trainer in (quantize, sensitivity, qat, distill, demo):
    app.command()(clear_errors(sleeping_threads(trainer)))
for command in (run, inspect, bench, tradeoff, export_onnx, doctor):
    app.command()(clear_errors(command))
app.command("eval")(clear_errors(sleeping_threads(evaluate)))


def _print_version(wanted: bool) -> None:
    if wanted:
        import pyqrt

        typer.echo(f"pyqrt {pyqrt.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Integer-only inference for BERT-family encoders."""
