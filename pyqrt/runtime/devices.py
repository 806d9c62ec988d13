"""Where a model runs: the module of native code, and what it is told, behind each device name."""

from __future__ import annotations

import importlib
import re
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from pyqrt import _runtime
from pyqrt.errors import ModelError

Parallel = Literal["rows", "texts"]

# The emulated GPU runs the CUDA kernels on the CPU, lane by lane: to prove them, and only in builds for
# development.
_GPU_MODULES = {"cuda": "_cuda", "cuda-emulator": "_cuda_emulator"}
_CPU = "cpu"


class Device(NamedTuple):
    """A device that is there. `new_model` and `new_session` wrap classes of its module."""

    name: str
    module: ModuleType
    isa: str  # of the kernels
    session_arguments: tuple[Any, ...]  # the CPU's threads and how they share; the number of the GPU

    @property
    def is_cpu(self) -> bool:
        return self.name == _CPU

    def new_model(self, program: dict[str, Any], tensors: dict[str, Any]) -> Any:
        return self.module.Model(program, tensors, self.isa if self.is_cpu else "")

    def new_session(self, model: Any) -> Any:
        return self.module.Session(model, *self.session_arguments)

    def describe(self, model: Any) -> dict[str, Any]:
        """What the native model says of itself, with the kernels this device runs."""
        description: dict[str, Any] = {"device": self.name, **model.describe()}
        if not self.is_cpu:
            description["isa"] = self.isa
            for node in description["nodes"]:
                node["variant"] = self.isa
        return description


def find_device(
    name: str, *, threads: int | None = None, parallel: Parallel = "rows", isa: str | None = None
) -> Device:
    """The device of that name: "cpu", "cuda", or "cuda:N" for the GPU that is number N.

    threads, parallel, isa: as for `pyqrt.load`; they are the CPU's.
    Raises ModelError when this build or this machine does not have it, saying why, and for an argument
    that does not belong to it.
    """
    if not isinstance(name, str):
        raise _unknown_device(name)
    if name == _CPU:
        _check_threads(threads)
        _check_isa(isa)
        if parallel not in get_args(Parallel):
            raise ModelError(f"parallel is {parallel!r}; give 'rows' or 'texts'")
        # A bad environment variable is not the file's fault: ask for it here.
        return Device(name, _runtime, isa or _runtime.default_isa(), (threads or 0, parallel))
    match = re.fullmatch(r"(cuda|cuda-emulator)(?::(\d{1,9}))?", name)
    if match is None:
        raise _unknown_device(name)
    given = {"threads": threads is not None, "parallel": parallel != "rows", "isa": isa is not None}
    for argument, is_given in given.items():
        if is_given:
            raise ModelError(f"{argument} is for device='cpu'; leave it out for {name!r}")
    kind, number = match[1], int(match[2] or 0)
    module = _gpu_module(kind)
    devices = module.devices()
    if number >= len(devices):
        raise ModelError(f"there is no device {name!r}; this process can use {len(devices)} GPUs")
    return Device(name, module, f"{kind} sm_{devices[number]['code_capability']}", (number,))


def _unknown_device(name: object) -> ModelError:
    return ModelError(f"unknown device {name!r}; known: cpu, cuda, cuda:0, cuda:1 and so on")


def _check_threads(threads: object) -> None:
    whole = isinstance(threads, (int, np.integer)) and not isinstance(threads, bool)
    if threads is not None and not (whole and threads in range(1, _runtime.MAX_THREADS + 1)):
        raise ModelError(
            f"threads is {threads!r}; give a whole number from 1 to {_runtime.MAX_THREADS}, "
            "or None for all CPUs"
        )


def _check_isa(isa: object) -> None:
    if isa is not None and not isinstance(isa, str):
        names = ", ".join(item["name"] for item in _runtime.isas() if item["supported"])
        raise ModelError(f"isa is {isa!r}; give one of {names}, or None")


def gpus() -> list[dict[str, Any]]:
    """The GPUs that `device="cuda"` could use. Raises ModelError saying why there are none."""
    devices: list[dict[str, Any]] = _gpu_module("cuda").devices()
    return devices


def _gpu_module(kind: str) -> ModuleType:
    name = f"pyqrt.{_GPU_MODULES[kind]}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ModelError(
            f"this build of pyqrt has no device {kind!r}: it was made without nvcc or with -DPYQRT_CUDA=OFF. "
            "Build it where nvcc is found (pip install -C cmake.define.PYQRT_CUDA=ON .), or use device='cpu'"
        ) from None
