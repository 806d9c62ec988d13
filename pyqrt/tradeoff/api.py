"""`measure` a comparison, and `report` what results files hold: the whole of `pyqrt tradeoff`."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyqrt
from pyqrt.bench import machine
from pyqrt.errors import ModelError
from pyqrt.eval.tasks import label_names
from pyqrt.eval.tasks import task as task_of
from pyqrt.progress import progress_bars
from pyqrt.runtime import load
from pyqrt.runtime.devices import find_device
from pyqrt.tradeoff.candidates import Candidate, Missing, describe_missing, model_files, peers
from pyqrt.tradeoff.measure import Measurement
from pyqrt.tradeoff.results import SCHEMA, Record, ResultsFile, Run, read_results
from pyqrt.tradeoff.systems import check_peers, versions
from pyqrt.tradeoff.workloads import REAL, Workload, make_workloads, task_sequences

RESULTS = "results.jsonl"


def measure(
    models: Sequence[str | Path],
    task: str,
    data: str | Path,
    output: str | Path,
    *,
    recipes: Sequence[str] = ("default",),
    peer_names: Sequence[str] = (),
    threads: Sequence[int] = (1,),
    lengths: Sequence[int | str] = (REAL, 16, 64, 128),
    batch: int = 32,
    device: str = "cpu",
    calibration: str | Path | None = None,
    labels: Sequence[str] | None = None,
    truncate: bool = False,
    limit: int | None = None,
    rounds: int = 5,
    seconds: float = 0.2,
    command: str = "",
    progress: bool = False,
) -> Run:
    """Scores and times models, in pyqrt and in peers, in turns; returns the run that `output` holds then.

    models: model files, and checkpoint directories, which are quantized with each of `recipes` and given to
    the peers. task, data, labels, truncate, limit: as of `pyqrt.eval.evaluate`. output: a folder; its
    results.jsonl is appended to, and what it has of a run with the same arguments, versions and machine is
    not measured again. threads: every candidate is timed with each number. lengths: tokens of single texts;
    "real": the task's own. batch: texts of real lengths that run together; 0: none. rounds: turns of every
    candidate. seconds: of a turn. command: what the record says of how to do it again.

    Raises ModelError for arguments out of range and for what pyqrt cannot run; a peer that fails is recorded
    as not measured.
    """
    _check(models, recipes, threads, lengths, batch, rounds, seconds)
    check_peers(tuple(peer_names))
    kind = device.partition(":")[0]
    if kind != "cpu":
        find_device(device)
        threads = (1,)  # a GPU has none to choose
    output, calibration = Path(output), None if calibration is None else Path(calibration)
    of_task = task_of(task)
    examples = of_task.read(Path(data))[:limit]
    output.mkdir(parents=True, exist_ok=True)
    with progress_bars(progress) as report:
        paths = [Path(model) for model in models]
        found, checkpoints = model_files(paths, recipes, output / "models", calibration, device, report)
        others, missing = peers(peer_names, found, checkpoints, output / "models", calibration, device)
        metrics, workloads = {}, {}
        for candidate in reversed(found):  # the first of a checkpoint stays
            model = load(candidate.job.model, threads=1)
            reading = of_task.check(model.task, label_names(labels, model.task), examples)
            metrics[candidate.checkpoint] = of_task.metrics(model.task)
            sequences = task_sequences(of_task, examples, reading, model, truncate=truncate)
            workloads[candidate.checkpoint] = make_workloads(sequences, lengths, batch, model)
        candidates = [*found, *others]
        settings: dict[str, Any] = {
            "task": task,
            "data": Path(data).name,
            "data_sha256": hashlib.sha256(Path(data).read_bytes()).hexdigest(),
            "examples": len(examples),
            "labels": None if labels is None else list(labels),
            "truncate": truncate,
            "calibration": None if calibration is None else calibration.name,
            "device": device,
            "threads": list(threads),
            "lengths": list(lengths),
            "batch": batch,
            "rounds": rounds,
            "seconds": seconds,
        }
        file = ResultsFile(output / RESULTS)
        run = _begin(file, settings, candidates, missing, workloads, command)
        measurement = Measurement(file, run, candidates, output / "logs", report)
        measurement.score(
            metrics,
            output / "rows",
            task=task,
            data=str(data),
            labels=None if labels is None else list(labels),
            truncate=truncate,
            limit=limit,
        )
        measurement.time(workloads, threads, rounds, seconds)
    return file.runs[run]


def report(files: Sequence[str | Path], output: str | Path) -> list[Path]:
    """Writes pictures and report.html of results files to a folder; returns what was written.

    Without matplotlib nothing is written. Raises ModelError for files that hold no results.
    """
    runs = read_results([Path(file) for file in files])
    if not any(run.records["turn"] for run in runs):
        raise ModelError(f"{', '.join(map(str, files))}: no latency has been measured")
    if find_spec("matplotlib") is None:
        return []
    from pyqrt.tradeoff.report import write_report

    return write_report(runs, Path(output))


def _begin(
    file: ResultsFile,
    settings: Record,
    candidates: Sequence[Candidate],
    missing: Sequence[Missing],
    workloads: dict[str, list[Workload]],
    command: str,
) -> str:
    """The run of these settings on this machine: that of the file, which goes on, or a new one."""
    state = {**machine.describe(), "memory_bytes": _memory(), "gpu": _gpu(settings["device"])}
    fixed = {
        "settings": settings,
        "pyqrt": pyqrt.__version__,
        "commit": _commit(),
        "versions": versions(),
        "machine": {name: value for name, value in state.items() if name != "load_average"},
        "candidates": [candidate.to_dict() for candidate in candidates],
        "missing": [describe_missing(item) for item in missing],
    }
    run = hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()[:12]
    if run in file.runs:
        return run
    file.append(
        "run",
        run,
        schema=SCHEMA,
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        pyqrt=pyqrt.__version__,
        commit=fixed["commit"],
        command=command,
        versions=fixed["versions"],
        machine=state,
        settings=settings,
        candidates=fixed["candidates"],
        workloads={name: [_lengths(workload) for workload in each] for name, each in workloads.items()},
    )
    for item in missing:
        file.append("not_measured", run, **asdict(item))
    return run


def _lengths(workload: Workload) -> Record:
    """A workload as its record: tokens of every sequence of every batch."""
    return {
        "workload": workload.name,
        "batching": workload.batching,
        "lengths": [[len(ids) for ids, _ in batch] for batch in workload.batches],
    }


def _check(
    models: Sequence[str | Path],
    recipes: Sequence[str],
    threads: Sequence[int],
    lengths: Sequence[int | str],
    batch: int,
    rounds: int,
    seconds: float,
) -> None:
    for name, values in (
        ("models", models),
        ("recipes", recipes),
        ("threads", threads),
        ("lengths", lengths),
    ):
        if not values or len(set(values)) != len(values):
            raise ModelError(f"{name} is {[str(value) for value in values]}; give one or more, each once")
    for name, number, least in (("batch", batch, 0), ("rounds", rounds, 1), ("threads", min(threads), 1)):
        if number < least:
            raise ModelError(f"{name} is {number}; it must be at least {least}")
    wrong = [length for length in lengths if not (length == REAL or isinstance(length, int))]
    if wrong:
        raise ModelError(f"lengths has {wrong[0]!r}; give numbers of tokens, or {REAL}")
    if not 0 < seconds < float("inf"):
        raise ModelError(f"seconds is {seconds}; give a positive number")


def _memory() -> int | None:
    """Bytes of the machine's memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def _gpu(device: str) -> str | None:
    """The name of the GPU that was measured."""
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return None
    from pyqrt.runtime.devices import gpus

    return str(gpus()[int(number or 0)].get("name")) if kind == "cuda" else device


def _commit() -> str | None:
    """The commit of the source tree this package lies in, "+" if it has changes; None if it lies in none."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    try:
        if not git("ls-files", Path(__file__).name):
            return None
        changed = git("status", "--porcelain", "--untracked-files=no").strip()
        return git("rev-parse", "--short=12", "HEAD").strip() + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
