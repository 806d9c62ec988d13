"""`pyqrt quantize`: a checkpoint in, a model file out. Needs torch."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from pyqrt.cli.options import MAX_COUNT, Seed


class TaskName(str, Enum):
    """The tasks a model file can be for."""

    EMBEDDING = "embedding"
    SEQUENCE_CLASSIFICATION = "sequence_classification"
    TOKEN_CLASSIFICATION = "token_classification"
    QUESTION_ANSWERING = "question_answering"
    MASKED_LM = "masked_lm"
    MULTIPLE_CHOICE = "multiple_choice"


class PoolingName(str, Enum):
    """How an embedding is made of the tokens' rows."""

    MEAN = "mean"
    CLS = "cls"
    LAST = "last"
    MAX = "max"


def quantize(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT_DIR", help="Hugging Face checkpoint folder.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write (.qrt).")],
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Text like the model will see: .txt, .tsv, or token ids, .jsonl; default: built in."
        ),
    ] = None,
    task: Annotated[TaskName | None, typer.Option(help="Default: what the checkpoint says.")] = None,
    pooling: Annotated[
        PoolingName | None,
        typer.Option(help="Of embeddings. Default: what sentence-transformers' files say, or the mean."),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=1, max=MAX_COUNT, help="Longest sequence; default: the checkpoint's.")
    ] = None,
    gate: Annotated[
        float | None, typer.Option(help="Least agreement with the float model; below, no file.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write the file even below the gate.")] = False,
    recipe: Annotated[
        str,
        typer.Option(metavar="NAME|FILE.toml", help="default, speed, plain or ibert, or a file like theirs."),
    ] = "default",
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, no progress.")] = False,
) -> None:
    """Quantize a checkpoint to an integer-only model file."""
    from pyqrt.cli.tables import print_report
    from pyqrt.quantize.api import quantize_checkpoint

    report = quantize_checkpoint(
        checkpoint,
        output,
        calibration=calibration,
        task=task.value if task else None,
        pooling=pooling.value if pooling else None,
        max_length=max_length,
        gate=gate,
        force=force,
        recipe=recipe,
        seed=seed,
        progress=not as_json,
    )
    if as_json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        print_report(f"{output}, {output.stat().st_size / 1e6:.1f} MB", report)
