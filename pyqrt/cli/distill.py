"""`pyqrt distill` and `pyqrt qat`: students of a teacher, in floats or in integers. Both need torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyqrt.cli.options import MAX_COUNT, Seed
from pyqrt.errors import ModelError

if TYPE_CHECKING:
    from pyqrt.distill.objective import Term

Data = Annotated[
    Path, typer.Option(help="Texts: .txt, one per line, .tsv, or the training file of --task with labels.")
]
TaskName = Annotated[
    str | None,
    typer.Option(help="Task of `pyqrt eval` whose training file the data is; for --loss labels=1."),
]
Losses = Annotated[
    list[str] | None,
    typer.Option(
        "--loss", metavar="TERM=WEIGHT", help="Replaces the weight of a term of the method; repeatable."
    ),
]
Temperature = Annotated[float, typer.Option(help="Of the logits that are compared.")]
Batch = Annotated[int, typer.Option(min=1, max=MAX_COUNT, help="Texts of a step.")]
MaxLength = Annotated[
    int | None,
    typer.Option(min=1, max=MAX_COUNT, help="Tokens of a text; longer ones are cut. Default: the model's."),
]
Threads = Annotated[
    int, typer.Option(min=1, max=MAX_COUNT, help="Of the integer program in training, on a CPU.")
]
Device = Annotated[str, typer.Option(help="Where training computes: cpu, cuda or cuda:N.")]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON, no progress.")]


def distill(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="A model file (.qrt) in integers, or a new directory in floats."),
    ],
    teacher: Annotated[Path, typer.Option(help="Hugging Face checkpoint folder.")],
    data: Data,
    student: Annotated[
        Path | None, typer.Option(help="Checkpoint folder that the student starts from.")
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_COUNT, help="Start from so many of the teacher's layers instead."),
    ] = None,
    method: Annotated[
        str, typer.Option(help="result, distilbert, tinybert, minilm or qat: which losses, how weighted.")
    ] = "tinybert",
    loss: Losses = None,
    task: TaskName = None,
    temperature: Temperature = 2.0,
    relation_heads: Annotated[
        int | None, typer.Option(min=1, max=MAX_COUNT, help="Heads of the relations; default: the teacher's.")
    ] = None,
    relation_layer: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_COUNT, help="The teacher's layer for them; default: its last."),
    ] = None,
    epochs: Annotated[int, typer.Option(min=0, max=MAX_COUNT, help="Passes over the data in floats.")] = 3,
    integer_epochs: Annotated[
        int, typer.Option(min=0, max=MAX_COUNT, help="Passes in integers after that, for a model file.")
    ] = 1,
    learning_rate: Annotated[float, typer.Option("--lr", help="Peak learning rate in floats.")] = 5e-5,
    integer_learning_rate: Annotated[
        float, typer.Option("--integer-lr", help="Peak learning rate in integers.")
    ] = 1e-5,
    batch: Batch = 32,
    max_length: MaxLength = None,
    seed: Seed = 0,
    threads: Threads = 1,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Train a smaller or integer student to compute what a teacher computes.

    Continues where it was if it was killed: run the same command again.
    """
    from pyqrt.distill.api import Training, distill_checkpoint, weights_of

    report = distill_checkpoint(
        teacher,
        output,
        data,
        student=student,
        layers=layers,
        task=task,
        weights=weights_of(
            method,
            _terms(loss),
            temperature=temperature,
            relation_heads=relation_heads,
            relation_layer=relation_layer,
        ),
        training=Training(
            epochs=epochs,
            integer_epochs=integer_epochs,
            learning_rate=learning_rate,
            integer_learning_rate=integer_learning_rate,
            batch=batch,
            seed=seed,
            max_length=max_length,
        ),
        threads=threads,
        device=device,
        progress=not as_json,
    )
    _print_report(output, report, as_json)


def qat(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT_DIR", help="Hugging Face checkpoint folder.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write (.qrt).")],
    data: Data,
    teacher: Annotated[
        Path | None, typer.Option(help="Checkpoint folder to learn from; default: the checkpoint's floats.")
    ] = None,
    loss: Losses = None,
    task: TaskName = None,
    temperature: Temperature = 1.0,
    epochs: Annotated[int, typer.Option(min=1, max=MAX_COUNT, help="Passes over the data.")] = 1,
    learning_rate: Annotated[float, typer.Option("--lr", help="Peak learning rate.")] = 1e-5,
    batch: Batch = 32,
    max_length: MaxLength = None,
    seed: Seed = 0,
    threads: Threads = 1,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Quantization-aware training: train a model's integers towards its floats.

    Continues where it was if it was killed: run the same command again.
    """
    from pyqrt.distill.api import Training, distill_checkpoint, weights_of

    if output.suffix != ".qrt":
        raise ModelError(f"{output}: the result is a model file; end its name in .qrt")
    report = distill_checkpoint(
        teacher or checkpoint,
        output,
        data,
        student=checkpoint,
        task=task,
        weights=weights_of("qat", _terms(loss), temperature=temperature),
        training=Training(
            epochs=0,
            integer_epochs=epochs,
            integer_learning_rate=learning_rate,
            batch=batch,
            seed=seed,
            max_length=max_length,
        ),
        threads=threads,
        device=device,
        progress=not as_json,
    )
    _print_report(output, report, as_json)


def _terms(losses: list[str] | None) -> dict[Term, float]:
    """TERM=WEIGHT of the command line; names are checked with the weights."""
    terms: dict[Any, float] = {}
    for item in losses or []:
        term, _, weight = item.partition("=")
        try:
            terms[term] = float(weight)
        except ValueError:
            raise ModelError(f"--loss {item}: write it as TERM=WEIGHT, such as hidden=0.5") from None
    return terms


def _print_report(output: Path, report: dict[str, Any], as_json: bool) -> None:
    from pyqrt.cli.tables import print_report

    if as_json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        print_report(str(output), report)
