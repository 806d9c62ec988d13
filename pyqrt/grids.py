"""Grids: which real number an integer stands for, everywhere the integer program stores one.

`pyqrt.quantize` chooses them from what calibration saw; `pyqrt.lower` turns them, with the float
weights, into an integer program. Nothing else passes between the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyqrt.arithmetic import POLYNOMIALS, Polynomial

Vector = NDArray[np.float64]

MAX_S8 = 127
MAX_S16 = 32767
GELU_SCALE = 2.0**-10  # of the fused GELU's input and int16 output, Q5.10: csrc/ops/gelu/gelu.h


@dataclass(frozen=True)
class Grid:
    """int8 values of one tensor: ``real[c] = (q[c] - zero_point) * scale[c] + shift[c]``.

    scale, shift: float64 [width]; zero_point in [-127, 127].
    """

    scale: Vector
    shift: Vector
    zero_point: int

    def quantize(self, real: NDArray[np.floating]) -> NDArray[np.int8]:
        """Nearest integers of `real` [..., width], saturated."""
        q = np.floor((real - self.shift) / self.scale + 0.5) + self.zero_point
        return np.asarray(np.clip(q, -MAX_S8, MAX_S8), dtype=np.int8)

    def dequantize(self, q: NDArray[np.int8]) -> Vector:
        """Real values of `q` [..., width]."""
        return (q.astype(np.float64) - self.zero_point) * self.scale + self.shift


def single(values: Vector) -> Vector:
    """`values` rounded to single precision, the precision that scales are stored with."""
    return values.astype(np.float32).astype(np.float64)


def asymmetric_grid(low: float, high: float, factor: Vector, shift: Vector) -> Grid:
    """A grid over [low, high] of ``(real - shift) / factor``, widened to contain 0.

    The zero point is an integer of the grid, so the ends move by at most half a step.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    step = max(high - low, 1e-30) / (2 * MAX_S8)
    zero_point = int(np.clip(round(-MAX_S8 - low / step), -MAX_S8, MAX_S8))
    return Grid(scale=single(factor * step), shift=single(shift), zero_point=zero_point)


def symmetric_grid(limit: Vector, shift: Vector) -> Grid:
    """A grid over [-limit[c], limit[c]] of ``real - shift``, without a zero point."""
    return Grid(scale=single(np.maximum(limit, 1e-30) / MAX_S8), shift=single(shift), zero_point=0)


@dataclass(frozen=True)
class Scales:
    """Every number the quantizer decides.

    grids: int8 tensors, by tap name (`pyqrt.nn.Encoder.taps`).
    wide: int16 tensors, by tap name: ``real = q * wide[name]``.
    All are single-precision numbers, so that saving loses nothing.
    polynomial: of the fused GELU and of softmax (`csrc/fixed/README.md`).
    exact_mean: layer norms subtract the mean itself, not the nearest integer (`csrc/ops/layernorm`).
    """

    grids: dict[str, Grid]
    wide: dict[str, float]
    polynomial: Polynomial = "minimax"
    exact_mean: bool = False

    def save(self, path: Path) -> None:
        """Writes safetensors: tensors `scale/NAME`, `shift/NAME`, ..., all float32; the rest as metadata."""
        from safetensors.numpy import save_file

        tensors: dict[str, NDArray[np.float32]] = {}
        for name, grid in self.grids.items():
            tensors[f"scale/{name}"] = grid.scale.astype(np.float32)
            tensors[f"shift/{name}"] = grid.shift.astype(np.float32)
            tensors[f"zero_point/{name}"] = np.array([grid.zero_point], dtype=np.float32)
        for name, scale in self.wide.items():
            tensors[f"wide/{name}"] = np.array([scale], dtype=np.float32)
        save_file(tensors, path, {"polynomial": self.polynomial, "exact_mean": str(int(self.exact_mean))})

    @staticmethod
    def load(path: Path) -> Scales:
        """The inverse of `save`. Raises KeyError when a grid is incomplete or the polynomial unknown."""
        from safetensors import safe_open

        with safe_open(path, "np") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
            metadata = file.metadata() or {}
        names = [key.removeprefix("scale/") for key in tensors if key.startswith("scale/")]
        grids = {
            name: Grid(
                scale=tensors[f"scale/{name}"].astype(np.float64),
                shift=tensors[f"shift/{name}"].astype(np.float64),
                zero_point=int(tensors[f"zero_point/{name}"][0]),
            )
            for name in names
        }
        wide = {
            key.removeprefix("wide/"): float(value[0])
            for key, value in tensors.items()
            if key.startswith("wide/")
        }
        known = {polynomial: polynomial for polynomial in POLYNOMIALS}
        exact_mean = metadata.get("exact_mean", "0") == "1"
        return Scales(grids, wide, known[metadata.get("polynomial", "minimax")], exact_mean)
