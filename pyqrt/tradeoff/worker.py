"""One candidate in a process of its own: memory, threads and libraries are its alone.

Reads one JSON object a line: first the job, then commands {"do": NAME, ...}; answers each with one on
standard output, and reports of progress before it. It ends when its input does, so also when the process
that started it was killed. What libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from pyqrt.errors import ModelError
from pyqrt.tradeoff.energy import find_meter
from pyqrt.tradeoff.systems import new_system
from pyqrt.tradeoff.systems.base import Job
from pyqrt.tradeoff.workloads import PADDED, Workload

MOST_CALLS = 64  # of a turn, unless one pass over the workload has more
QUIET_SHARE = 0.1  # of a CPU: below it a process is at rest
QUIET_WAIT = 0.02  # seconds between two looks
QUIET_LIMIT = 1.0


class Worker:
    """Answers commands; their names are its public methods, their arguments the objects' other fields."""

    def __init__(self, job: Job, report: Callable[[int, int], None]) -> None:
        self._job, self._report = job, report
        self._system = new_system(job)
        self._arranged: dict[str, list[Any]] = {}

    def prepare(self) -> dict[str, Any]:
        """Makes what `load` reads."""
        self._system.prepare()
        return {}

    def load(self, workloads: list[dict[str, Any]], started: float) -> dict[str, Any]:
        """Opens the model and arranges the workloads; the first call of the first ends the start.

        started: `time.time()` when this process was started.
        """
        before = time.perf_counter()
        self._system.load()
        seconds = time.perf_counter() - before
        for fields in workloads:
            workload = Workload(**fields)
            padded = workload.batching == PADDED
            self._arranged[workload.key] = [
                self._system.arrange(batch, padded=padded) for batch in workload.batches
            ]
        first = next(iter(self._arranged.values()))
        self._system.call(first[0])
        answer = {
            "load_seconds": seconds,
            "start_seconds": time.time() - started,
            "file_bytes": sum(path.stat().st_size for path in self._system.files()),
            "isa": self._system.isa(),
        }
        for batches in self._arranged.values():
            for batch in batches:  # shapes that a library has not met it may compile for
                self._system.call(batch)
        self._meter = find_meter(self._job.device)
        return answer

    def turn(self, workload: str, seconds: float) -> dict[str, Any]:
        """Times passes over a workload until `seconds` are over or there were `MOST_CALLS` calls."""
        batches, call = self._arranged[workload], self._system.call
        for _ in range(2):  # others have had the caches
            call(batches[0])
        times: list[float] = []
        energy = self._meter() if self._meter else 0.0
        begin = time.perf_counter()
        while not times or (time.perf_counter() - begin < seconds and len(times) < MOST_CALLS):
            for batch in batches:
                start = time.perf_counter()
                call(batch)
                times.append(time.perf_counter() - start)
        joules = self._meter() - energy if self._meter else None
        _come_to_rest()
        return {
            "seconds": [float(f"{value:.4g}") for value in times],
            "joules": joules,
            "peak_bytes": _peak_bytes(),
        }

    def score(
        self,
        task: str,
        data: str,
        rows: str,
        labels: list[str] | None,
        truncate: bool,
        limit: int | None,
    ) -> dict[str, Any]:
        """Evaluates the candidate; writes the examples' rows to the file `rows`."""
        from pyqrt.eval.api import rows_of
        from pyqrt.eval.predict import Predictor
        from pyqrt.eval.tasks import label_names
        from pyqrt.eval.tasks import task as task_of
        from pyqrt.runtime import load

        self._system.load()
        template = load(self._job.model, threads=1)
        of_task = task_of(task)
        examples = of_task.read(Path(data))[:limit]
        reading = of_task.check(template.task, label_names(labels, template.task), examples)
        predictor = Predictor(template, self._system.run, truncate=truncate)
        found = rows_of(
            of_task,
            examples,
            reading,
            {"": predictor},
            progress=lambda _, done, of: self._report(done, of),
        )
        new = Path(f"{rows}.new.npy")
        np.save(new, found[""])
        new.rename(rows)
        return {"examples": len(examples), "truncated": predictor.truncated}


def _come_to_rest() -> None:
    """Waits until threads that spin for more work have given up, so that they cost the next nothing."""
    end = time.perf_counter() + QUIET_LIMIT
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(QUIET_WAIT)
        if time.process_time() - before < QUIET_SHARE * QUIET_WAIT:
            return


def _peak_bytes() -> int | None:
    """The most memory this process has had resident; None where the system does not tell.

    Not getrusage's, which on Linux begins with what the starting process had.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def main() -> None:
    """Answers until the input ends."""
    answers: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print where they should not

    def answer(fields: dict[str, Any]) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    worker: Worker | None = None
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if worker is None:
                worker = Worker(Job(**message), lambda done, of: answer({"progress": [done, of]}))
                answer({})
            else:
                answer(getattr(worker, message.pop("do"))(**message))
        except ModelError as error:
            answer({"error": str(error)})
        except Exception as error:
            # A peer may fail in any way; the harness says so and goes on without it.
            answer({"error": f"{type(error).__name__}: {error}"})
