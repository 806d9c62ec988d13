"""What a run's records say of every candidate: medians over all turns, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import numpy as np

from pyqrt.tradeoff.results import Record, Run
from pyqrt.tradeoff.systems import FLOATS
from pyqrt.tradeoff.workloads import SINGLE


@dataclass(frozen=True)
class Latency:
    """Of one workload, in seconds.

    median, p90: of a call, over all calls of all rounds. low, high: the least and greatest of the rounds'
    medians. tokens_per_second: real tokens of the workload over the sum of its calls' medians.
    joules_per_token: None where no energy was read. calls, rounds: how many these are of.
    """

    median: float
    p90: float
    low: float
    high: float
    tokens_per_second: float
    joules_per_token: float | None
    calls: int
    rounds: int


@dataclass(frozen=True)
class Row:
    """One candidate with one number of threads.

    scores: as recorded, the ranking one first; empty if there are none. latencies: by workload and batching.
    load_seconds, start_seconds, file_bytes, peak_bytes: None where none was recorded.
    """

    candidate: Record
    threads: int
    scores: list[Record]
    reference: str | None
    latencies: dict[tuple[str, str], Latency]
    load_seconds: float | None
    start_seconds: float | None
    file_bytes: int | None
    peak_bytes: int | None
    isa: str | None

    @property
    def floats(self) -> bool:
        """Are its matrix products of floats?"""
        return self.candidate["variant"] in FLOATS


@dataclass(frozen=True)
class Panel:
    """The rows that can be compared: of one run and one number of threads."""

    run: Run
    threads: int
    rows: list[Row] = field(default_factory=list)

    def title(self) -> str:
        """Machine, instruction set of pyqrt's kernels, and threads."""
        machine = self.run.record["machine"]
        if machine.get("gpu"):
            return str(machine["gpu"])
        isa = next((f" ({row.isa})" for row in self.rows if row.isa), "")
        plural = "" if self.threads == 1 else "s"
        return f"{machine.get('cpu') or machine.get('platform')}{isa}, {self.threads} thread{plural}"


def panels(runs: Sequence[Run]) -> list[Panel]:
    """Every run's rows, by number of threads."""
    found = []
    for run in runs:
        for threads in run.record["settings"]["threads"]:
            rows = [_row(run, candidate, threads) for candidate in run.record["candidates"]]
            found.append(Panel(run, threads, _ranked_alike([row for row in rows if row.latencies])))
    return [panel for panel in found if panel.rows]


def _ranked_alike(rows: Sequence[Row]) -> list[Row]:
    """The rows with the first one's ranking metric first: of other heads another may be the usual one."""
    first = next((row.scores[0]["metric"] for row in rows if row.scores), None)
    return [
        replace(row, scores=sorted(row.scores, key=lambda score: score["metric"] != first)) for row in rows
    ]


def single_workloads(rows: Sequence[Row]) -> list[str]:
    """Names of the workloads of single texts, in the order they were measured."""
    return list(dict.fromkeys(name for row in rows for name, batching in row.latencies if batching == SINGLE))


def _row(run: Run, candidate: Record, threads: int) -> Row:
    name = candidate["id"]
    own = [
        record
        for record in run.records["turn"]
        if (record["candidate"], record["threads"]) == (name, threads)
    ]
    loads = [
        record
        for record in run.records["load"]
        if (record["candidate"], record["threads"]) == (name, threads)
    ]
    score = next((record for record in run.records["score"] if record["candidate"] == name), None)
    lengths = {
        (item["workload"], item["batching"]): item["lengths"]
        for item in run.record["workloads"].get(candidate["checkpoint"], [])
    }
    turns: dict[tuple[str, str], list[Record]] = {}
    for record in own:
        turns.setdefault((record["workload"], record["batching"]), []).append(record)
    peaks = [record["peak_bytes"] for record in own if record["peak_bytes"] is not None]
    return Row(
        candidate=candidate,
        threads=threads,
        scores=score["scores"] if score else [],
        reference=score["reference"] if score else None,
        latencies={key: _latency(turns[key], lengths[key]) for key in lengths if key in turns},
        load_seconds=_median(loads, "load_seconds"),
        start_seconds=_median(loads, "start_seconds"),
        file_bytes=loads[0]["file_bytes"] if loads else None,
        peak_bytes=max(peaks) if peaks else None,
        isa=loads[0]["isa"] if loads else None,
    )


def _latency(turns: Sequence[Record], lengths: Sequence[Sequence[int]]) -> Latency:
    passes = np.concatenate([np.reshape(turn["seconds"], (-1, len(lengths))) for turn in turns])
    calls = passes.ravel()
    middles = [float(np.median(turn["seconds"])) for turn in turns]
    tokens = sum(map(sum, lengths))
    joules = [turn["joules"] for turn in turns if turn["joules"] is not None]
    return Latency(
        median=float(np.median(calls)),
        p90=float(np.percentile(calls, 90)),
        low=min(middles),
        high=max(middles),
        tokens_per_second=tokens / float(np.median(passes, axis=0).sum()),
        joules_per_token=sum(joules) / (tokens * len(passes)) if len(joules) == len(turns) else None,
        calls=len(calls),
        rounds=len(turns),
    )


def _median(records: Sequence[Record], name: str) -> float | None:
    values: list[Any] = [record[name] for record in records]
    return float(median(values)) if values else None
