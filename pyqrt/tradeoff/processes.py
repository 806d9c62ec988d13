"""The processes of candidates, from the outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.tradeoff.systems.base import Job

Report = Callable[[int, int], None]

# Without the working folder on the path: what lies there may be called like a library.
_PROGRAM = (
    "import sys; sys.path[:] = [folder for folder in sys.path if folder]; "
    "from pyqrt.tradeoff.worker import main; main()"
)


class WorkerError(ModelError):
    """What a candidate's process said before it gave up, or that it died."""


class Process:
    """A candidate's process. Use as a context."""

    def __init__(self, job: Job, log: Path) -> None:
        """Starts it. log: where what it prints is appended."""
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self.started = time.time()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=_environment(job.threads),
                text=True,
                encoding="utf-8",
            )
        self._ask(job.to_json())

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, command: str, report: Report | None = None, **fields: Any) -> dict[str, Any]:
        """Its answer to a command of `worker`. Raises WorkerError if it fails or dies."""
        return self._ask(json.dumps({"do": command, **fields}), report)

    def _ask(self, line: str, report: Report | None = None) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # its end shows below
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        while True:
            text = self._process.stdout.readline()
            if not text:
                status = self._process.wait()
                raise WorkerError(f"its process ended with status {status}; {self._log} may say why")
            answer: dict[str, Any] = json.loads(text)
            if "progress" in answer:
                if report is not None:
                    report(*answer["progress"])
            elif "error" in answer:
                raise WorkerError(answer["error"])
            else:
                return answer

    def close(self) -> None:
        """Ends it."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _environment(threads: int) -> dict[str, str]:
    """This process's, with the number of threads as libraries read it, and without their downloads."""
    numbers = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"), "1")
    return {**os.environ, **numbers, **offline, "TOKENIZERS_PARALLELISM": "false"}
