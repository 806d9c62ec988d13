"""Latency of a model file on this machine, and how far it is from what the machine can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import pyqrt
from pyqrt.bench import machine
from pyqrt.bench.timing import Timing, interleave
from pyqrt.bench.work import multiply_accumulates, weight_bytes
from pyqrt.errors import ModelError
from pyqrt.runtime import Model, Parallel, load

SCHEMA = 1
SHORTEST_MIXED = 4  # tokens


@dataclass(frozen=True)
class Workload:
    """A batch of sequences of these lengths, in tokens."""

    name: str
    lengths: tuple[int, ...]


def measure(
    path: str | Path,
    *,
    lengths: Sequence[int] = (16, 64, 128),
    batches: Sequence[int] = (1, 8),
    mixed: int = 32,
    threads: Sequence[int] = (1,),
    parallel: Sequence[Parallel] = ("rows",),
    seconds: float = 2.0,
) -> dict[str, Any]:
    """Time a model file; returns the report that README.md of this folder describes.

    lengths, batches: every length is run in a batch of every size. mixed: sequences of one further
    batch, of lengths spread evenly from 4 tokens to the longest of `lengths`; 0: none. threads: every
    workload is run with each number of them. parallel: and with each way to share work out to threads
    (`pyqrt.load`). seconds: for each combination; all take turns, and the
    measurements of the machine with them. Raises ModelError if the file is not a sound model or takes
    no sequence of such a length, or an option is out of range.
    """
    _check(lengths, batches, mixed, threads, parallel, seconds)
    models = {
        (count, way): load(path, threads=count, parallel=way) for count, way in product(threads, parallel)
    }
    model = models[threads[0], parallel[0]]
    workloads = _workloads(lengths, batches, mixed)
    longest = max(lengths)
    if longest > model.limits.max_length:
        raise ModelError(
            f"{path}: a length is {longest} tokens; the model takes at most {model.limits.max_length}"
        )
    isa = model.describe()["isa"]
    weights = weight_bytes(model.program)
    probes = {}
    for count in threads:
        probes[f"multiply_accumulate t{count}"] = machine.arithmetic_probe(isa, count)
        probes[f"read t{count}"] = machine.memory_probe(isa, count, weights)
    candidates: dict[str, Callable[[], object]] = {name: probe.call for name, probe in probes.items()}
    runs = list(product(threads, parallel, workloads))
    for count, way, workload in runs:
        candidates[f"{workload.name} t{count} {way}"] = _call(models[count, way], workload)
    state = machine.describe()
    timings = interleave(candidates, seconds=seconds)

    def rate(name: str) -> float:
        return probes[name].amount / timings[name].p10

    limits = {
        count: {
            "threads": count,
            "macs_per_second": rate(f"multiply_accumulate t{count}"),
            "read_bytes_per_second": rate(f"read t{count}"),
        }
        for count in threads
    }
    return {
        "schema": SCHEMA,
        "pyqrt": pyqrt.__version__,
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": {
            "path": str(path),
            "header_digest": model.describe()["header_digest"],
            "weight_bytes": weights,
        },
        "isa": isa,
        "kernels": _kernels(model),
        "machine": state,
        "seconds": seconds,
        "limits": list(limits.values()),
        "results": [
            _result(model, workload, way, limits[count], weights, timings[f"{workload.name} t{count} {way}"])
            for count, way, workload in runs
        ],
    }


def _check(
    lengths: Sequence[int],
    batches: Sequence[int],
    mixed: int,
    threads: Sequence[int],
    parallel: Sequence[str],
    seconds: float,
) -> None:
    for name, numbers in (("lengths", lengths), ("batch", batches), ("threads", threads)):
        if not numbers or min(numbers) < 1:
            raise ModelError(f"{name} is {list(numbers)}; give one or more numbers, each at least 1")
        if len(set(numbers)) != len(numbers):
            raise ModelError(f"{name} is {list(numbers)}; give each number once")
    if not parallel or len(set(parallel)) != len(parallel):
        raise ModelError(f"parallel is {list(parallel)}; give one or more of rows and texts, each once")
    if mixed < 0:
        raise ModelError(f"mixed is {mixed}; give a number of sequences, or 0 for no mixed batch")
    if not 0 < seconds < float("inf"):
        raise ModelError(f"seconds is {seconds}; give a positive number")


def _workloads(lengths: Sequence[int], batches: Sequence[int], mixed: int) -> list[Workload]:
    workloads = [Workload(f"{b} x {n}", (n,) * b) for b, n in product(batches, lengths)]
    if mixed:
        longest = max(lengths)
        shortest = min(SHORTEST_MIXED, longest)
        spread = np.linspace(shortest, longest, mixed).round().astype(int).tolist()
        workloads.append(Workload(f"{mixed} mixed", tuple(spread)))
    return workloads


def _call(model: Model, workload: Workload) -> Callable[[], object]:
    random = np.random.default_rng(0)
    size = model.limits.vocab_size
    sequences = [random.integers(0, size, length, dtype=np.int32) for length in workload.lengths]
    return lambda: model.run(sequences)


def _kernels(model: Model) -> dict[str, str]:
    """The variant that each op of the model runs."""
    return {node["op"]: node["variant"] for node in model.describe()["nodes"]}


def _result(
    model: Model,
    workload: Workload,
    parallel: Parallel,
    limits: dict[str, Any],
    weights: int,
    timing: Timing,
) -> dict[str, Any]:
    tokens = sum(workload.lengths)
    macs = multiply_accumulates(model.program, workload.lengths)
    arithmetic = macs / limits["macs_per_second"]
    memory = weights / limits["read_bytes_per_second"]
    limit = max(arithmetic, memory)
    return {
        "workload": workload.name,
        "threads": limits["threads"],
        "parallel": parallel,
        "lengths": list(workload.lengths),
        "tokens": tokens,
        "macs": macs,
        "seconds": asdict(timing),
        "tokens_per_second": tokens / timing.median,
        "limit_seconds": limit,
        "limited_by": "arithmetic" if arithmetic >= memory else "memory",
        "ratio_to_limit": {"median": timing.median / limit, "p10": timing.p10 / limit},
    }
