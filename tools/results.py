"""Reproduces the table of accuracies: float, post-training quantization, and further columns, per task.

    python tools/results.py CHECKPOINT_DIR --data DATA_DIR --work WORK_DIR [--seeds 0 1 2] [--tasks mrpc rte]

CHECKPOINT_DIR is fine-tuned on every task, with every seed; DATA_DIR holds one folder per task with
train.tsv and dev.tsv. --limit TASK=EXAMPLES trains on so many examples, drawn with the seed (else on as
many as RECIPES says); --bfloat16 computes matrix products of the fine-tuning in it, where the CPU does.
Every cell (task, seed, variant) is a line in WORK_DIR/results.jsonl, with its command lines. Cells that
are there are not computed again, and a fine-tuning that was killed goes on from where it was.
WORK_DIR/results.md, also printed, has the medians over seeds. Variants beyond `float` and `ptq` are
commands that write a model file from the fine-tuned checkpoint, given as

    --variant 'qat=pyqrt quantize {checkpoint} -o {model} --calibration {train} ...'

with {checkpoint}, {model}, {train}, {task}, {seed} and {work} (a folder of the cell's own) filled in.
{train} holds what the floats were trained on.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyqrt import ModelError
from pyqrt.eval import evaluate

PTQ = "pyqrt quantize {checkpoint} -o {model} --calibration {train} --force --json"


@dataclass(frozen=True)
class Recipe:
    """How a task is fine-tuned. limit: examples of the training file that are drawn; None: all."""

    epochs: int
    learning_rate: float
    limit: int | None = None


# Chosen for one CPU thread: about 2 million tokens a seed.
RECIPES = {
    "sst2": Recipe(epochs=2, learning_rate=1e-4, limit=8000),
    "mrpc": Recipe(epochs=3, learning_rate=1e-4),
    "cola": Recipe(epochs=3, learning_rate=1e-4),
    "rte": Recipe(epochs=2, learning_rate=1e-4),
    "stsb": Recipe(epochs=2, learning_rate=1e-4),
    "conll2003": Recipe(epochs=3, learning_rate=2e-4, limit=5000),
}
Cell = dict[str, Any]


class Results:
    """The lines of results.jsonl."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cells: list[Cell] = []
        if path.exists():
            # a kill may have cut the last line
            lines = path.read_text().split("\n")
            self.cells = [json.loads(line) for line in lines[:-1]]
            path.write_text("".join(line + "\n" for line in lines[:-1]))

    def find(self, task: str, seed: int, variant: str) -> Cell | None:
        """The cell, if it has been computed."""
        key = {"task": task, "seed": seed, "variant": variant}
        return next((cell for cell in self.cells if key.items() <= cell.items()), None)

    def floats(self, task: str, seed: int) -> list[Any] | None:
        """The floats' scores, if a cell of the task and the seed has them: all variants share them."""
        cells = (cell for cell in self.cells if (cell["task"], cell["seed"]) == (task, seed))
        return next(([score["float"] for score in cell["scores"]] for cell in cells), None)

    def add(self, cell: Cell) -> None:
        """Append a cell, on disk when this returns."""
        self.cells.append(cell)
        with self.path.open("a") as file:
            file.write(json.dumps(cell) + "\n")


def draw(train: Path, limit: int | None, seed: int, work: Path) -> Path:
    """A training file of at most `limit` examples of another, drawn with the seed: itself, or one in work."""
    # examples end at line feeds alone: their texts may hold other line separators
    header, *lines = train.read_text(encoding="utf-8").rstrip("\n").split("\n")
    if limit is None or limit >= len(lines):
        return train
    drawn = work / "train.tsv"
    text = "\n".join([header, *random.Random(seed).sample(lines, limit)]) + "\n"
    if drawn.exists() and drawn.read_text(encoding="utf-8") != text:
        raise ModelError(f"{drawn} holds other examples than --limit {limit} draws; use another --work")
    drawn.write_text(text, encoding="utf-8")
    return drawn


def finetune_command(
    checkpoint: Path, task: str, train: Path, output: Path, seed: int, bfloat16: bool
) -> list[str]:
    """The call of tools/finetune.py for a cell."""
    recipe = RECIPES[task]
    tool = Path(__file__).with_name("finetune.py")
    command: list[Any] = ["python", tool, checkpoint, "--task", task, "--data", train, "-o", output]
    command += ["--epochs", recipe.epochs, "--learning-rate", recipe.learning_rate, "--seed", seed]
    command += ["--threads", 1]
    if bfloat16:
        command.append("--bfloat16")
    return [str(part) for part in command]


def run(command: list[str]) -> float:
    """Run a command, its output on stderr; returns its seconds. Raises ModelError if it fails.

    `python` and `pyqrt` are those of the running interpreter.
    """
    print("+", shlex.join(command), file=sys.stderr, flush=True)
    started = time.perf_counter()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = os.environ | {"PATH": path}
    status = subprocess.run(command, stdout=2, env=environment, check=False).returncode
    if status:
        raise ModelError(f"exit status {status} of: {shlex.join(command)}")
    return time.perf_counter() - started


def compute(arguments: argparse.Namespace, results: Results, task: str, seed: int) -> None:
    """The missing cells of a task and a seed: the integers' and, with each, the floats' scores."""
    missing = [name for name in arguments.variants if results.find(task, seed, name) is None]
    if not missing:
        return
    work = arguments.work / f"{task}-{seed}"
    work.mkdir(parents=True, exist_ok=True)
    limit = arguments.limits.get(task, RECIPES[task].limit)
    train = draw(arguments.data / task / "train.tsv", limit, seed, work)
    dev = arguments.data / task / "dev.tsv"
    checkpoint = work / "float"
    command = finetune_command(arguments.checkpoint, task, train, checkpoint, seed, arguments.bfloat16)
    trained = work / "trained.json"
    if not trained.exists():
        trained.write_text(json.dumps({"seconds": run(command)}))
    commands = [shlex.join(command)]
    for variant in missing:
        names = {"checkpoint": checkpoint, "model": work / f"{variant}.qrt", "train": train, "task": task}
        own = work / variant
        own.mkdir(parents=True, exist_ok=True)
        parts = [
            part.format(**names, seed=seed, work=own) for part in shlex.split(arguments.variants[variant])
        ]
        seconds = run(parts)
        known = results.floats(task, seed)
        reference = checkpoint if known is None else None
        evaluation = evaluate(
            names["model"], task, dev, checkpoint=reference, truncate=True, threads=1, progress=True
        )
        scores = evaluation.to_dict()["scores"]
        for number, floats in enumerate(known or []):
            scores[number]["float"] = floats
        results.add(
            {
                "task": task,
                "seed": seed,
                "variant": variant,
                "commands": [*commands, shlex.join(parts)],
                "training_seconds": json.loads(trained.read_text())["seconds"],
                "seconds": seconds,
                "scores": scores,
                "examples": evaluation.examples,
                "truncated": evaluation.truncated,
            }
        )


def table(cells: list[Cell], variants: list[str]) -> str:
    """Medians over seeds in Markdown, in percent, and the mean over tasks of each task's first metric."""
    lines = ["| task | metric | seeds | float | " + " | ".join(variants) + " |"]
    lines.append("|---|---|---|" + "---:|" * (1 + len(variants)))
    ranking: dict[str, list[float]] = {}
    for task in dict.fromkeys(cell["task"] for cell in cells):
        of_task = [cell for cell in cells if cell["task"] == task]
        for number, first in enumerate(of_task[0]["scores"]):
            values = {"float": _median(of_task, number, "float")}
            for variant in variants:
                of_variant = [cell for cell in of_task if cell["variant"] == variant]
                values[variant] = _median(of_variant, number, "integer")
            if number == 0:
                for name, value in values.items():
                    ranking.setdefault(name, []).append(value)
            seeds = " ".join(map(str, sorted({cell["seed"] for cell in of_task})))
            shown = " | ".join(_percent(value) for value in values.values())
            lines.append(f"| {task} | {first['metric']} | {seeds} | {shown} |")
    if ranking:
        means = " | ".join(_percent(statistics.fmean(values)) for values in ranking.values())
        lines.append(f"| mean | of first metrics | | {means} |")
    return "\n".join(lines) + "\n"


def _median(cells: list[Cell], number: int, model: str) -> float:
    by_seed = {cell["seed"]: cell["scores"][number][model]["value"] for cell in cells}
    return statistics.median(by_seed.values()) if by_seed else float("nan")


def _percent(value: float) -> str:
    return f"{100 * value:.2f}" if value == value else "-"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="Hugging Face checkpoint folder to fine-tune")
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder per task")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints, models and results")
    parser.add_argument("--tasks", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--limit", nargs="+", default=[], metavar="TASK=EXAMPLES", help="of training files")
    parser.add_argument("--bfloat16", action="store_true", help="fine-tune with matrix products in bfloat16")
    parser.add_argument("--variant", action="append", default=[], metavar="NAME=COMMAND")
    arguments = parser.parse_args()
    arguments.limits = {}
    for given in arguments.limit:
        task, _, examples = given.partition("=")
        if task not in RECIPES or not examples.isdecimal() or int(examples) < 2:
            parser.error(f"--limit {given!r}: expected TASK=EXAMPLES, of {', '.join(RECIPES)}, at least 2")
        arguments.limits[task] = int(examples)
    arguments.variants = {"ptq": PTQ}
    for given in arguments.variant:
        name, separator, command = given.partition("=")
        if not separator:
            parser.error(f"--variant {given!r}: expected NAME=COMMAND")
        arguments.variants[name] = command
    arguments.work.mkdir(parents=True, exist_ok=True)
    results = Results(arguments.work / "results.jsonl")
    try:
        for seed in arguments.seeds:  # a whole table for each seed, so that a stop leaves one of use
            for task in arguments.tasks:
                compute(arguments, results, task, seed)
                markdown = table(results.cells, list(arguments.variants))
                (arguments.work / "results.md").write_text(markdown)
    except (ModelError, OSError) as error:
        print(f"results: {error}", file=sys.stderr)
        return 1
    print(table(results.cells, list(arguments.variants)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
