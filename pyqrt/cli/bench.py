"""`pyqrt bench`: how fast a model file runs here, and how near that is to what the machine can do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from pyqrt.cli.options import MAX_COUNT, whole_number

if TYPE_CHECKING:
    from pyqrt.runtime import Parallel


def bench(
    model: Annotated[Path, typer.Argument(help="Model file (.qrt).")],
    lengths: Annotated[str, typer.Option(help="Tokens of a sequence, separated by commas.")] = "16,64,128",
    batch: Annotated[str, typer.Option(help="Sequences of a batch, separated by commas.")] = "1,8",
    mixed: Annotated[
        int,
        typer.Option(min=0, max=MAX_COUNT, help="Sequences of one batch of mixed lengths; 0: no such batch."),
    ] = 32,
    threads: Annotated[
        str | None, typer.Option(help="Threads, separated by commas; default: 1 and all CPUs of the process.")
    ] = None,
    parallel: Annotated[
        str, typer.Option(help="What threads share out, separated by commas: rows of each text, whole texts.")
    ] = "rows",
    seconds: Annotated[float, typer.Option(help="Time for each line of the table.")] = 2.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report here as JSON.")
    ] = None,
) -> None:
    """Measure latency, tokens a second, and the ratio to the machine's limit, all in turns."""
    from pyqrt import _runtime
    from pyqrt.bench.latency import measure
    from pyqrt.outputs import check_file

    if json_file is not None:
        check_file(json_file)
    report = measure(
        model,
        lengths=_numbers("--lengths", lengths),
        batches=_numbers("--batch", batch),
        mixed=mixed,
        threads=_numbers("--threads", threads) if threads else sorted({1, _runtime.available_cpus()}),
        parallel=cast("list[Parallel]", parallel.split(",")),
        seconds=seconds,
    )
    _print_tables(report)
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n")


def _numbers(option: str, text: str) -> list[int]:
    return [whole_number(option, part) for part in text.split(",")]


def _print_tables(report: dict[str, Any]) -> None:
    from pyqrt.cli.tables import print_pairs, print_table

    state = report["machine"]
    load = state["load_average"][0]
    print_pairs(
        f"{report['model']['path']}, pyqrt {report['pyqrt']}",
        {
            "CPU": f"{state['cpu']}, {state['available_cpus']} of {state['cpus']} for this process",
            "governor, load": f"{state['governor'] or 'not readable'}, {load}",
            "instruction set": report["isa"],
            **{
                f"limits, threads {limit['threads']}": f"{limit['macs_per_second'] / 1e9:.1f} GMAC/s, "
                f"weights read at {limit['read_bytes_per_second'] / 1e9:.1f} GB/s"
                for limit in report["limits"]
            },
        },
    )
    print_table(
        "latency",
        (
            "sequences x tokens",
            "threads",
            "parallel",
            "median ms",
            "p10",
            "p90",
            "tokens/s",
            "limit ms",
            "ratio",
            "of p10",
        ),
        [
            (
                row["workload"],
                str(row["threads"]),
                row["parallel"],
                *(_milliseconds(row["seconds"][name]) for name in ("median", "p10", "p90")),
                f"{row['tokens_per_second']:.0f}",
                _milliseconds(row["limit_seconds"]),
                *(f"{row['ratio_to_limit'][name]:.2f}" for name in ("median", "p10")),
            )
            for row in report["results"]
        ],
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3f}"
