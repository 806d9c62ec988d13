"""One run: every candidate scored and timed in turns, every result written as soon as it is there."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pyqrt import _runtime
from pyqrt.eval.bootstrap import Interval, intervals
from pyqrt.eval.metrics import Metric
from pyqrt.progress import Progress
from pyqrt.tradeoff.candidates import Candidate
from pyqrt.tradeoff.processes import Process, WorkerError
from pyqrt.tradeoff.results import ResultsFile
from pyqrt.tradeoff.systems import FLOATS, PYQRT, SYSTEMS
from pyqrt.tradeoff.workloads import Workload, batchings

RESAMPLES, SEED = 1000, 0  # of the bootstrap


class Measurement:
    """What one run knows. A candidate that fails is recorded as not measured, pyqrt's own is an error."""

    def __init__(
        self, file: ResultsFile, run: str, candidates: Sequence[Candidate], logs: Path, progress: Progress
    ) -> None:
        self._file, self._run, self._logs, self._progress = file, run, logs, progress
        failed = {record["candidate"]["id"] for record in self._records("not_measured")}
        self._candidates = [candidate for candidate in candidates if candidate.id not in failed]

    def score(self, metrics: Mapping[str, Sequence[Metric]], folder: Path, **evaluation: Any) -> None:
        """Converts and evaluates every candidate that is not yet; floats first, the others' reference.

        metrics: by checkpoint. folder: of the rows. evaluation: task, data, labels, truncate and limit.
        """
        folder.mkdir(parents=True, exist_ok=True)
        done = {record["candidate"] for record in self._records("score")}
        ordered = sorted(self._candidates, key=lambda candidate: candidate.variant not in FLOATS)
        waiting = [candidate for candidate in ordered if candidate.id not in done]
        for number, candidate in enumerate(waiting):
            rows = self._rows(folder, candidate)

            def report(part: int, of: int, number: int = number) -> None:
                self._progress("scores", number * of + part, len(waiting) * of)

            try:
                with self._process(candidate, _runtime.available_cpus()) as process:
                    process.ask("prepare")
                    found = process.ask("score", report, rows=str(rows), **evaluation)
            except WorkerError as error:
                self._give_up(candidate, error)
                continue
            reference = self._reference(folder, candidate)
            scores = _scores(
                metrics[candidate.checkpoint],
                rows,
                None if reference is None else self._rows(folder, reference),
            )
            self._write(
                "score",
                candidate=candidate.id,
                scores=scores,
                reference=None if reference is None else reference.id,
                **found,
            )
        self._progress("scores", 1, 1)

    def time(
        self, workloads: Mapping[str, Sequence[Workload]], threads: Sequence[int], rounds: int, seconds: float
    ) -> None:
        """Times what is not yet timed. workloads: by checkpoint. seconds: of a turn."""
        have = {_turn(record) for record in self._records("turn")}
        every = [
            (candidate.id, count, workload.name, workload.batching, number)
            for count in threads
            for number in range(rounds)
            for candidate in self._candidates
            for workload in _of_system(workloads[candidate.checkpoint], candidate)
        ]
        total, done = len(every), len(have & set(every))
        for count in threads:
            missing = {turn for turn in every if turn[1] == count} - have
            with ExitStack() as stack:
                running = {
                    candidate: process
                    for candidate in self._candidates
                    if any(turn[0] == candidate.id for turn in missing)
                    and (process := self._start(stack, candidate, count, workloads)) is not None
                }
                for number in range(rounds):
                    for key in _keys(workloads):
                        for candidate in _rotated(list(running), number):
                            turn = (candidate.id, count, *key, number)
                            if turn not in missing:
                                continue
                            self._progress("latency", done, total)
                            if not self._take_turn(
                                running[candidate], candidate, count, key, number, seconds
                            ):
                                del running[candidate]
                            done += 1
        self._progress("latency", total, total)

    def _start(
        self,
        stack: ExitStack,
        candidate: Candidate,
        threads: int,
        workloads: Mapping[str, Sequence[Workload]],
    ) -> Process | None:
        """The candidate's process, loaded and warm."""
        chosen = _of_system(workloads[candidate.checkpoint], candidate)
        try:
            process = stack.enter_context(self._process(candidate, threads))
            loaded = process.ask(
                "load", workloads=[asdict(workload) for workload in chosen], started=process.started
            )
        except WorkerError as error:
            self._give_up(candidate, error)
            return None
        self._write("load", candidate=candidate.id, threads=threads, **loaded)
        return process

    def _take_turn(
        self,
        process: Process,
        candidate: Candidate,
        threads: int,
        key: tuple[str, str],
        number: int,
        seconds: float,
    ) -> bool:
        name, batching = key
        try:
            answer = process.ask("turn", workload=Workload(name, batching, []).key, seconds=seconds)
        except WorkerError as error:
            self._give_up(candidate, error)
            return False
        self._write(
            "turn",
            candidate=candidate.id,
            threads=threads,
            workload=name,
            batching=batching,
            round=number,
            load_average=round(os.getloadavg()[0], 2),
            **answer,
        )
        return True

    def _give_up(self, candidate: Candidate, error: WorkerError) -> None:
        if candidate.system == PYQRT:
            raise WorkerError(f"{candidate.id}: {error}")
        self._candidates = [other for other in self._candidates if other.id != candidate.id]
        self._write("not_measured", candidate=candidate.to_dict(), reason=str(error), remedy=None)

    def _process(self, candidate: Candidate, threads: int) -> Process:
        job = dataclasses.replace(candidate.job, threads=threads)
        return Process(job, self._logs / f"{candidate.id.replace('/', '-')}.log")

    def _rows(self, folder: Path, candidate: Candidate) -> Path:
        return folder / f"{self._run}-{candidate.id.replace('/', '-')}.npy"

    def _reference(self, folder: Path, candidate: Candidate) -> Candidate | None:
        """The float candidate of the same checkpoint, if it has been scored."""
        if candidate.variant in FLOATS:
            return None
        for other in self._candidates:
            same = other.checkpoint == candidate.checkpoint and other.variant == FLOATS[0]
            if same and self._rows(folder, other).exists():
                return other
        return None

    def _records(self, kind: str) -> list[dict[str, Any]]:
        return self._file.runs[self._run].records[kind]

    def _write(self, kind: str, **fields: Any) -> None:
        self._file.append(kind, self._run, **fields)


def _scores(metrics: Sequence[Metric], rows: Path, reference: Path | None) -> list[dict[str, Any]]:
    """Every metric with its interval, and the difference from the reference, on the same resamples."""
    found = intervals(
        metrics,
        np.load(rows),
        None if reference is None else np.load(reference),
        resamples=RESAMPLES,
        seed=SEED,
    )

    def plain(interval: Interval | None) -> dict[str, float] | None:
        return None if interval is None else asdict(interval)

    return [
        {"metric": metric.name, **asdict(item.first), "difference": plain(item.difference)}
        for metric, item in zip(metrics, found, strict=True)
    ]


def _of_system(workloads: Sequence[Workload], candidate: Candidate) -> list[Workload]:
    """Those whose way of batching is the candidate's system's."""
    system = SYSTEMS[candidate.system]
    ways = batchings(system.packs, system.pads)
    return [workload for workload in workloads if workload.batching in ways]


def _keys(workloads: Mapping[str, Sequence[Workload]]) -> list[tuple[str, str]]:
    """Name and batching of the workloads of all checkpoints, in order."""
    return list(dict.fromkeys((w.name, w.batching) for each in workloads.values() for w in each))


def _rotated(candidates: list[Candidate], number: int) -> list[Candidate]:
    """Another order in every round, so that nobody always follows the same neighbour's heat."""
    start = number * 3 % max(len(candidates), 1)
    return candidates[start:] + candidates[:start]


def _turn(record: Mapping[str, Any]) -> tuple[str, int, str, str, int]:
    return (
        record["candidate"],
        record["threads"],
        record["workload"],
        record["batching"],
        record["round"],
    )
