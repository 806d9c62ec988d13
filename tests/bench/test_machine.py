"""The machine's limits: the peak loops do what they say they did, on every variant there is."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from pyqrt import _ops, _runtime
from pyqrt.bench import machine
from pyqrt.errors import ModelError

ISAS = [str(isa["name"]) for isa in _runtime.isas() if isa["supported"]]
STEP = 3 << 16


@pytest.mark.parametrize("isa", ISAS)
def test_multiply_accumulates_are_counted(isa: str) -> None:
    assert [_ops.multiply_accumulate(steps, isa) for steps in (0, 1, 5)] == [0, STEP, 5 * STEP]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("size", "read"), [(0, 0), (255, 0), (256, 256), (1000, 768)])
def test_bytes_are_counted(isa: str, size: int, read: int) -> None:
    assert _ops.read_memory(np.ones(size, np.uint8), 3, isa) == 3 * read


def test_unknown_instruction_set() -> None:
    with pytest.raises(ModelError, match="unknown instruction set 'sse'"):
        _ops.multiply_accumulate(1, "sse")
    with pytest.raises(ModelError, match="unknown instruction set 'sse'"):
        _ops.read_memory(np.ones(256, np.uint8), 1, "sse")


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("isa", ISAS)
def test_probes(isa: str, threads: int) -> None:
    arithmetic = machine.arithmetic_probe(isa, threads)
    memory = machine.memory_probe(isa, threads, 100_000)
    assert arithmetic.amount > 0
    assert arithmetic.amount % (threads * STEP) == 0
    share = -(-100_000 // threads)
    assert memory.amount % (threads * (share // 256 * 256)) == 0
    arithmetic.call()
    memory.call()


def test_probe_uses_its_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(4, timeout=60)
    probing = False

    def work(steps: int, isa: str) -> int:
        if probing:
            together.wait()  # breaks, and the call fails, unless four threads come
        return steps

    monkeypatch.setattr(_ops, "multiply_accumulate", work)
    monkeypatch.setattr(machine, "CALL_SECONDS", 0.0)
    probe = machine.arithmetic_probe("reference", 4)
    probing = True
    probe.call()
    probe.call()


def test_description() -> None:
    state = machine.describe()
    assert state["available_cpus"] == _runtime.available_cpus()
    assert len(state["load_average"]) == 3
    assert set(state) == {
        *("cpu", "cpus", "available_cpus", "governor", "load_average", "platform", "python", "numpy")
    }


ARM_CPUINFO = """processor\t: 0
CPU implementer\t: 0x41
CPU part\t: 0xd05

processor\t: 1
CPU implementer\t: 0x41
CPU part\t: 0xd0b
"""


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/proc/cpuinfo": "processor : 0\nmodel name : A CPU: fast\n"}, "A CPU: fast"),
        ({"/proc/cpuinfo": ARM_CPUINFO}, "implementer 0x41 part 0xd05, implementer 0x41 part 0xd0b"),
        (
            {"/proc/cpuinfo": ARM_CPUINFO.split("\n\n")[0], "/proc/device-tree/model": "A board\0"},
            "A board: implementer 0x41 part 0xd05",
        ),
    ],
)
def test_the_cpu_is_named(monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: str) -> None:
    monkeypatch.setattr(machine, "_read", files.get)
    assert machine.describe()["cpu"] == expected
