"""The machine: what it is, what state it is in, and the most it can do in integers."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyqrt import _ops, _runtime

CALL_SECONDS = 0.01  # long against starting a thread, short against a round
CACHE_LINE = 64
SMALLEST_BUFFER = 4096


def describe() -> dict[str, Any]:
    """The CPU's model, CPUs, frequency governor and load: what a latency depends on besides pyqrt.

    What the operating system does not tell is None.
    """
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "available_cpus": _runtime.available_cpus(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _cpu_model() -> str | None:
    """The CPU's name; on AArch64, where Linux gives numbers instead, the board's name and those.

    0x41 is Arm, part 0xd08 the Cortex-A72 (Arm's MIDR_EL1). Cores of several kinds are all named.
    """
    lines = [line.partition(":") for line in (_read("/proc/cpuinfo") or "").splitlines()]
    values: dict[str, list[str]] = {}
    for name, _, value in lines:
        values.setdefault(name.strip(), []).append(value.strip())
    if "model name" in values:
        return values["model name"][0]
    if "CPU part" in values:
        board = (_read("/proc/device-tree/model") or "").rstrip("\0")
        cores = sorted(set(zip(values.get("CPU implementer", []), values["CPU part"], strict=False)))
        named = ", ".join(f"implementer {implementer} part {part}" for implementer, part in cores)
        return f"{board}: {named}" if board else named
    return platform.processor() or None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


@dataclass(frozen=True)
class Probe:
    """A measurement of the machine, to be timed: `amount` multiply-accumulates or bytes a call."""

    call: Callable[[], object]
    amount: int


def arithmetic_probe(isa: str, threads: int) -> Probe:
    """Multiply-accumulates of 8-bit integers in registers, on `threads` threads at once."""

    def work(steps: int) -> int:
        return _ops.multiply_accumulate(steps, isa)

    steps = _count_that_takes(work)
    return Probe(_on_threads(lambda _: work(steps), threads), threads * work(steps))


def memory_probe(isa: str, threads: int, size: int) -> Probe:
    """Reads of a buffer of `size` bytes, shared out to `threads` threads, again and again.

    A buffer that fits a cache is read from it, like weights of that size in a model that is called
    again and again.
    """
    share = max(-(-size // threads), SMALLEST_BUFFER)
    buffers = [_aligned(share) for _ in range(threads)]

    def work(thread: int, times: int) -> int:
        return _ops.read_memory(buffers[thread], times, isa)

    times = _count_that_takes(lambda count: work(0, count))
    return Probe(_on_threads(lambda thread: work(thread, times), threads), threads * work(0, times))


def _aligned(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    memory = np.ones(size + CACHE_LINE, np.uint8)  # written: untouched pages would all be one page
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + size]


def _count_that_takes(call: Callable[[int], object]) -> int:
    """A power of two for which `call` takes about CALL_SECONDS."""
    count = 1
    while True:
        start = time.perf_counter()
        call(count)
        if time.perf_counter() - start >= CALL_SECONDS / 2:
            return count
        count *= 2


def _on_threads(work: Callable[[int], object], threads: int) -> Callable[[], object]:
    """A call that does work(0) ... work(threads - 1) at once; they must release the GIL."""
    if threads == 1:
        return lambda: work(0)
    pool = ThreadPoolExecutor(threads - 1)

    def call() -> None:
        others = [pool.submit(work, thread) for thread in range(1, threads)]
        work(0)
        for other in others:
            other.result()

    return call
