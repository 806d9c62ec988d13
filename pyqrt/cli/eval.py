"""`pyqrt eval`: a model's score on a task's labelled data, beside the float checkpoint's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyqrt.cli.options import MAX_COUNT, MAX_SEED

if TYPE_CHECKING:
    from pyqrt.eval import Evaluation, Interval


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model file (.qrt).")],
    task: Annotated[
        str,
        typer.Option(
            help="sst2, cola, mrpc, rte, qnli, mnli, qqp, stsb, conll2003, squad or masked_lm.",
        ),
    ],
    data: Annotated[
        Path, typer.Option(help="The task's labelled data: .tsv; SQuAD's .json; text for masked_lm.")
    ],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Its float checkpoint, to be scored too. Needs torch.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="What the task calls the model's labels, in the model's order: a,b,...")
    ] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Cut texts longer than the model takes.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, max=MAX_COUNT, help="Use this many examples only, the first.")
    ] = None,
    resamples: Annotated[int, typer.Option(min=1, max=MAX_COUNT, help="Resamples of the bootstrap.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the bootstrap.")] = 0,
    threads: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_COUNT, help="Threads; default: the CPUs this process may use."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the result to this file too.")
    ] = None,
) -> None:
    """Score a model on a task's labelled data, with 95 % confidence intervals."""
    from pyqrt.eval import evaluate
    from pyqrt.outputs import check_file

    if json_file is not None:
        check_file(json_file)
    result = evaluate(
        model,
        task,
        data,
        checkpoint=checkpoint,
        labels=None if labels is None else labels.split(","),
        truncate=truncate,
        limit=limit,
        resamples=resamples,
        seed=seed,
        threads=threads,
        progress=True,
    )
    _print(result)
    if json_file is not None:
        json_file.write_text(json.dumps(result.to_dict(), indent=2) + "\n")


def _print(result: Evaluation) -> None:
    from pyqrt.cli.tables import print_table

    cut = f", {result.truncated} texts cut" if result.truncated else ""
    columns = ["", "integers"] + ["floats", "integers - floats"] * (result.checkpoint is not None)
    rows = []
    for score in result.scores:
        cells = [_cell(score.integer)]
        if score.float and score.difference:
            cells += [_cell(score.float), _cell(score.difference, "+")]
        rows.append([score.metric, *cells])
    print_table(f"{result.task}: {result.examples} examples of {result.data}{cut}", columns, rows)


def _cell(interval: Interval, sign: str = "") -> str:
    value, low, high = (
        format(number, f"{sign}.4f") for number in (interval.value, interval.low, interval.high)
    )
    return f"{value} ({low} to {high})"
