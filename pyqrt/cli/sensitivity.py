"""`pyqrt sensitivity`: which tensors' rounding costs most, and a recipe that spends 16 bits there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyqrt.cli.options import MAX_COUNT, Seed
from pyqrt.cli.quantize import PoolingName, TaskName

if TYPE_CHECKING:
    from pyqrt.sensitivity.api import Sensitivity

SHOWN = 20


def sensitivity(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT_DIR", help="Hugging Face checkpoint folder.")
    ],
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Texts like those the model will see: .txt, one per line, or .tsv; default: built in."
        ),
    ] = None,
    recipe: Annotated[
        str, typer.Option(metavar="NAME|FILE.toml", help="The recipe to start from, and to compare with.")
    ] = "default",
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR|FILE",
            help="Folder for table, chart and recipe, or one file: .json, .csv, .md, .png, .svg, .toml.",
        ),
    ] = Path("sensitivity"),
    task: Annotated[TaskName | None, typer.Option(help="Default: what the checkpoint says.")] = None,
    pooling: Annotated[
        PoolingName | None,
        typer.Option(help="Of embeddings. Default: what sentence-transformers' files say, or the mean."),
    ] = None,
    budget: Annotated[
        float,
        typer.Option(min=0, max=100, help="Most further multiply-accumulates of the proposal, in %."),
    ] = 10.0,
    texts: Annotated[
        int,
        typer.Option(
            min=1, max=MAX_COUNT, help="Held-out texts to rank on, at most half of them; the rest verify."
        ),
    ] = 48,
    seed: Seed = 0,
) -> None:
    """Rank the quantized tensors by the loss they cause, and propose which get 16 bits."""
    from pyqrt.sensitivity.api import analyse_checkpoint
    from pyqrt.sensitivity.report import PLOTS, files_to_write, write_files

    paths = files_to_write(output)
    result = analyse_checkpoint(
        checkpoint,
        calibration=calibration,
        recipe=recipe,
        task=task.value if task else None,
        pooling=pooling.value if pooling else None,
        budget=budget,
        texts=texts,
        seed=seed,
    )
    write_files(result, paths)
    _print(result, recipe)
    written = ", ".join(str(path) for path in paths)
    without = len(paths) > 1 and not any(path.suffix in PLOTS for path in paths)
    typer.echo(f"Written: {written}" + "; no chart: pip install 'pyqrt[plot]'" * without)


def _print(result: Sensitivity, name: str) -> None:
    from pyqrt.cli.tables import print_table
    from pyqrt.sensitivity.report import COLUMNS, rows

    found, total = rows(result), result.losses.total
    title = f"{min(SHOWN, len(found))} of {len(found)} tensors; loss with all rounded {total:.4g}"
    print_table(f"{title}, {result.ranked_on} texts", COLUMNS, found[:SHOWN])
    given, proposed = result.given, result.proposed
    print_table(
        f"Measured by the integer runtime on {result.verified_on} other texts",
        ("recipe", "loss", "multiply-accumulates", "16-bit inputs by choice"),
        [
            (name, f"{given.loss:.4g}", "", ", ".join(given.recipe.wide)),
            ("proposed", f"{proposed.loss:.4g}", f"{result.extra:+.1%}", ", ".join(proposed.recipe.wide)),
        ],
    )
    if not result.chosen:
        typer.echo("Within this budget no tensor gains enough by 16 bits.")
    elif proposed.loss >= given.loss:
        typer.echo(f"The proposal is not better than {name} on these texts: keep {name}.")
