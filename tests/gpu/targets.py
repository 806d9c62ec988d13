"""Where CUDA kernels are run by the tests: an emulated GPU in several guises, and a real one.

The emulated GPU runs the kernels' own text (csrc/cuda/emulator): with products of sm_75, of sm_80 and of
sm_90, with threads of a block in three orders, on memory that ends where an unreadable page begins.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Target:
    """A GPU to run kernels on; `capability` and `order` are the emulated one's."""

    name: str
    package: str  # of the modules: pyqrt.<package> and pyqrt.<package>_ops
    capability: int = 0
    order: str = ""

    def modules(self) -> tuple[ModuleType, ModuleType]:
        """(models, ops), ready to run. Skips the test where there is no such GPU."""
        try:
            models = importlib.import_module(f"pyqrt.{self.package}")
            ops = importlib.import_module(f"pyqrt.{self.package}_ops")
        except ImportError as error:
            self.missing(f"this build has no {self.name}: {error}")
        if self.capability:
            for module in (models, ops):
                module.emulate(self.capability, self.order)
        else:
            why = missing_gpu(models)
            if why:
                self.missing(why)
        return models, ops

    def missing(self, why: str) -> NoReturn:
        """Skips the test, or fails it where a real GPU must be there (tools/gpu_check.py)."""
        if self.capability == 0 and os.environ.get("PYQRT_REQUIRE_GPU"):
            pytest.fail(why)
        pytest.skip(why)

    def has_warpgroup(self) -> bool:
        """Whether its kernels have the products of compute capability 9.0."""
        models, _ = self.modules()
        return bool(models.devices()[0]["warpgroups"])

    def place(self, array: Array) -> Any:
        """`array` in the GPU's memory, its rows as far apart as they are."""
        if self.capability == 0:
            import torch

            return torch.from_numpy(array).cuda()
        _, ops = self.modules()
        rows = array if array.ndim == 2 else array.reshape(1, -1)
        pitch = rows.strides[0] if rows.ndim == 2 and rows.shape[0] > 1 else rows.shape[-1] * rows.itemsize
        used = (rows.shape[0] - 1) * pitch + rows.shape[1] * rows.itemsize if rows.size else 0
        memory = ops.guarded(used)
        copy = np.ndarray(rows.shape, rows.dtype, buffer=memory, strides=(pitch, rows.itemsize))
        copy[...] = rows
        return copy if array.ndim == 2 else copy.reshape(array.shape)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Memory for results, holding a pattern that no kernel writes by chance everywhere."""
        return self.place(np.full(shape, 0x55, dtype))

    def read(self, array: Any) -> Array:
        return array.cpu().numpy() if self.capability == 0 else np.array(array)

    def stream(self) -> int:
        if self.capability:
            return 0
        import torch

        return torch.cuda.current_stream().cuda_stream


def missing_gpu(models: ModuleType) -> str:
    """Why there is no GPU to test on; empty when there is one."""
    from pyqrt import ModelError

    try:
        models.devices()
        import torch
    except (ModelError, ImportError) as error:
        return f"no GPU: {error}"
    return "" if torch.cuda.is_available() else "no GPU that torch can use"


EMULATED = [
    Target("emulated sm_75, threads backwards", "_cuda_emulator", 75, "descending"),
    Target("emulated sm_80", "_cuda_emulator", 80, "ascending"),
    Target("emulated sm_80, threads shuffled", "_cuda_emulator", 80, "shuffled"),
    Target("emulated sm_90", "_cuda_emulator", 90, "ascending"),
    Target("emulated sm_90, threads shuffled", "_cuda_emulator", 90, "shuffled"),
]
TARGETS = [*EMULATED, Target("GPU", "_cuda")]


@pytest.fixture(params=TARGETS, ids=lambda target: target.name.replace(" ", "-").replace(",", ""))
def target(request: pytest.FixtureRequest) -> Target:
    chosen: Target = request.param
    chosen.modules()
    return chosen
