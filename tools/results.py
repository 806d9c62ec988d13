"""Reproduces the table of accuracies: float, post-training quantization, and further columns, per task.

    python tools/results.py CHECKPOINT_DIR --data DATA_DIR --work WORK_DIR [--seeds 0 1 2] [--tasks mrpc rte]

CHECKPOINT_DIR is fine-tuned on every task, with every seed; DATA_DIR holds one folder per task with
train.tsv and dev.tsv. --limit TASK=EXAMPLES trains on so many examples, drawn with the seed (else on as
many as RECIPES says); --bfloat16 computes matrix products of the fine-tuning in it; --device cuda
fine-tunes on a GPU. --jobs commands run side by side, where there are several on a CPU each.
Every cell (task, seed, variant) is a line in WORK_DIR/results.jsonl, with its command lines. Cells that
are there are not computed again, and a training that was killed goes on from where it was.
WORK_DIR/results.md, also printed, has the medians over seeds. Variants beyond `float` and `ptq` are
commands that write a model file from the fine-tuned checkpoint, given as

    --variant 'qat=pyqrt quantize {checkpoint} -o {model} --calibration {train} ...'

with {checkpoint}, {model}, {train}, {task}, {seed}, {device} and {work} (a folder of the cell's own)
filled in.
{train} holds what the floats were trained on.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import shlex
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyqrt import ModelError
from pyqrt._runtime import available_cpus

PTQ = "pyqrt quantize {checkpoint} -o {model} --calibration {train} --force --json"


@dataclass(frozen=True)
class Recipe:
    """How a task is fine-tuned. limit: examples of the training file that are drawn; None: all."""

    epochs: int
    learning_rate: float
    limit: int | None = None


RECIPES = {
    "sst2": Recipe(epochs=2, learning_rate=1e-4, limit=12000),
    "mrpc": Recipe(epochs=5, learning_rate=1e-4),
    "cola": Recipe(epochs=5, learning_rate=1e-4),
    "rte": Recipe(epochs=5, learning_rate=1e-4),
    "stsb": Recipe(epochs=5, learning_rate=1e-4),
    "conll2003": Recipe(epochs=3, learning_rate=2e-4, limit=8000),
}
Cell = dict[str, Any]


class Results:
    """The lines of results.jsonl."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
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

    def add(self, cell: Cell) -> None:
        """Append a cell, on disk when this returns."""
        with self._lock:
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


class Commands:
    """Runs commands, some side by side from several threads; there are then as many CPUs as `jobs`."""

    def __init__(self, jobs: int) -> None:
        """jobs: at most the CPUs there are. Several are bound to a CPU each, by taskset."""
        self._running: set[subprocess.Popen[bytes]] = set()
        self._free: queue.Queue[list[str]] = queue.Queue()  # what binds a command
        cpus = sorted(os.sched_getaffinity(0))[:jobs] if jobs > 1 else []
        for prefix in [["taskset", "-c", str(cpu)] for cpu in cpus] or [[]]:
            self._free.put(prefix)

    def run(self, command: list[str], log: Path) -> float:
        """Run a command, what it prints going to `log`; returns its seconds. Raises ModelError if it fails.

        `python` and `pyqrt` are those of the running interpreter.
        """
        print("+", shlex.join(command), file=sys.stderr, flush=True)
        started = time.perf_counter()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        prefix = self._free.get()
        try:
            with log.open("w") as file:
                process = subprocess.Popen(
                    [*prefix, *command], stdout=file, stderr=file, env=os.environ | {"PATH": path}
                )
            self._running.add(process)
            status = process.wait()
            self._running.discard(process)
        finally:
            self._free.put(prefix)
        if status:
            raise ModelError(f"exit status {status} of: {shlex.join(command)}\n{log.read_text()[-2000:]}")
        return time.perf_counter() - started

    def stop(self) -> None:
        """End those that run."""
        for process in list(self._running):
            process.terminate()


@dataclass(frozen=True)
class Work:
    """A task with a seed: its folder, and the data the floats are trained on."""

    task: str
    seed: int
    folder: Path
    train: Path
    dev: Path

    @property
    def checkpoint(self) -> Path:
        """Folder of the fine-tuned floats."""
        return self.folder / "float"


def work_of(arguments: argparse.Namespace, task: str, seed: int) -> Work:
    """The work of a task and a seed, its folder made."""
    folder = arguments.work / f"{task}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    limit = arguments.limits.get(task, RECIPES[task].limit)
    train = draw(arguments.data / task / "train.tsv", limit, seed, folder)
    return Work(task, seed, folder, train, arguments.data / task / "dev.tsv")


def finetune_command(arguments: argparse.Namespace, work: Work) -> list[str]:
    """The call of tools/finetune.py."""
    recipe = RECIPES[work.task]
    tool = Path(__file__).with_name("finetune.py")
    command: list[Any] = ["python", tool, arguments.checkpoint, "--task", work.task]
    command += ["--data", work.train, "-o", work.checkpoint, "--epochs", recipe.epochs]
    command += ["--learning-rate", recipe.learning_rate, "--seed", work.seed]
    command += ["--threads", 1, "--device", arguments.device]
    if arguments.bfloat16:
        command.append("--bfloat16")
    return [str(part) for part in command]


def finetune(arguments: argparse.Namespace, commands: Commands, work: Work) -> None:
    """The floats, unless they are there."""
    trained = work.folder / "trained.json"
    if not trained.exists():
        seconds = commands.run(finetune_command(arguments, work), work.folder / "finetune.log")
        trained.write_text(json.dumps({"seconds": seconds}))


def compute(
    arguments: argparse.Namespace, commands: Commands, results: Results, work: Work, variant: str
) -> None:
    """A cell: the integers, their scores and the floats'."""
    own = work.folder / variant
    own.mkdir(parents=True, exist_ok=True)
    model = work.folder / f"{variant}.qrt"
    names = {"checkpoint": work.checkpoint, "model": model, "train": work.train, "task": work.task}
    names |= {"seed": work.seed, "work": own, "device": arguments.device}
    making = [part.format(**names) for part in shlex.split(arguments.variants[variant])]
    seconds = commands.run(making, own / "command.log")
    scores = own / "scores.json"
    scoring: list[Any] = ["pyqrt", "eval", model, "--task", work.task, "--data", work.dev]
    scoring += ["--checkpoint", work.checkpoint, "--truncate", "--threads", 1, "--json", scores]
    scoring = [str(part) for part in scoring]
    commands.run(scoring, own / "eval.log")
    evaluation = json.loads(scores.read_text())
    ran = [finetune_command(arguments, work), making, scoring]
    results.add(
        {
            "task": work.task,
            "seed": work.seed,
            "variant": variant,
            "commands": [shlex.join(command) for command in ran],
            "training_seconds": json.loads((work.folder / "trained.json").read_text())["seconds"],
            "seconds": seconds,
            **{name: evaluation[name] for name in ("scores", "examples", "truncated")},
        }
    )


def compute_all(arguments: argparse.Namespace, results: Results) -> None:
    """Every missing cell, `arguments.jobs` commands at a time, floats before the cells made of them.

    Raises ModelError for the first that fails. Then, and when interrupted, nothing goes on running.
    """
    ready: list[tuple[int, str, Work]] = []  # number of the task and seed; the variant, "" for the floats
    missing: dict[int, list[str]] = {}
    for seed in arguments.seeds:  # a whole table for each seed, so that a stop leaves one of use
        for task in arguments.tasks:
            names = [name for name in arguments.variants if results.find(task, seed, name) is None]
            if names:
                missing[len(ready)] = names
                ready.append((len(ready), "", work_of(arguments, task, seed)))
    running: dict[Future[None], tuple[int, str, Work]] = {}
    pool, commands = ThreadPoolExecutor(arguments.jobs), Commands(arguments.jobs)
    try:
        while ready or running:
            ready.sort(key=lambda item: item[:2])
            while ready and len(running) < arguments.jobs:
                item = number, variant, work = ready.pop(0)
                if variant:
                    future = pool.submit(compute, arguments, commands, results, work, variant)
                else:
                    future = pool.submit(finetune, arguments, commands, work)
                running[future] = item
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                number, variant, work = running.pop(future)
                future.result()
                if not variant:
                    ready += [(number, name, work) for name in missing[number]]
            markdown = table(results.cells, list(arguments.variants))
            (arguments.work / "results.md").write_text(markdown)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        commands.stop()
        pool.shutdown()


def table(cells: list[Cell], variants: list[str]) -> str:
    """Medians over seeds in Markdown, in percent, and the mean over tasks of each task's first metric."""
    lines = ["| task | metric | seeds | float | " + " | ".join(variants) + " |"]
    lines.append("|---|---|---|" + "---:|" * (1 + len(variants)))
    ranking: dict[str, list[float]] = {}
    for task in RECIPES:
        of_task = [cell for cell in cells if cell["task"] == task]
        if not of_task:
            continue
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
    parser.add_argument("--jobs", type=int, default=1, help="commands that run side by side")
    parser.add_argument("--device", default="cpu", help="where the floats are trained: cpu, cuda or cuda:N")
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
    if not 1 <= arguments.jobs <= available_cpus():
        parser.error(f"--jobs {arguments.jobs}: expected 1 to {available_cpus()}, the CPUs there are")
    arguments.work.mkdir(parents=True, exist_ok=True)
    results = Results(arguments.work / "results.jsonl")
    try:
        compute_all(arguments, results)
    except (ModelError, OSError) as error:
        print(f"results: {error}", file=sys.stderr)
        return 1
    print(table(results.cells, list(arguments.variants)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
