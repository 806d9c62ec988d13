"""A program under construction: numbered buffers, nodes, padded constants."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyqrt.grids import Grid
from pyqrt.program import Buffer, DType, Limits, Node, Output, Program, Rows

Tensor = NDArray[np.integer]

_ALIGNMENT = 64  # bytes; every tensor of the file is a multiple


@dataclass(frozen=True)
class Tapped:
    """Where the program holds what a tap of the float encoder sees.

    grid: of int8 values; a float is the scale of int16 values. The tap's columns begin at `column`; order:
    the place of each behind that, None where they stand as the tap has them.
    """

    buffer: int
    grid: Grid | float
    column: int = 0
    order: NDArray[np.intp] | None = None

    def columns(self, width: int) -> slice | NDArray[np.intp]:
        """The buffer's columns for those of a tap of `width`."""
        if self.order is None:
            return slice(self.column, self.column + width)
        return self.column + self.order


@dataclass(frozen=True)
class TappedTable:
    """Which constant holds what a tap of the float encoder sees of its parameters alone.

    tensor: int8 rows on `grid`, of the tap's rows those from `first` on, `rows` of them.
    """

    tensor: str
    grid: Grid
    first: int
    rows: int


class ProgramBuilder:
    """Collects nodes in the order they run, and their constants in the file's layout."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffers: list[Buffer] = []
        self._nodes: list[Node] = []
        self._outputs: list[Output] = []
        self.tensors: dict[str, Tensor] = {}
        self._weights: dict[tuple[tuple[int, ...], bytes], str] = {}  # shape and digest -> name
        self.taps: dict[str, list[Tapped]] = {}
        self.tables: dict[str, list[TappedTable]] = {}

    def buffer(self, dtype: DType, rows: Rows, width: int) -> int:
        """A new buffer's number."""
        self._buffers.append(Buffer(dtype, rows, width))
        return len(self._buffers) - 1

    def spec(self, number: int) -> Buffer:
        """What buffer `number` holds."""
        return self._buffers[number]

    def node(
        self,
        op: str,
        name: str,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        attributes: Mapping[str, int | str],
        tensors: Mapping[str, Tensor],
    ) -> None:
        """Appends a node; its tensors are stored as `NAME.ROLE`, one-dimensional ones padded.

        A weight or a table of angles equal to one that is there already, as of layers that share theirs, is
        not stored again.
        """
        names = {}
        for role, tensor in tensors.items():
            names[role] = f"{name}.{role}"
            padded = _pad(tensor)
            if role in ("weight", "cosine", "sine"):
                digest = hashlib.sha256(padded.data).digest()
                names[role] = self._weights.setdefault((padded.shape, digest), names[role])
            self.tensors[names[role]] = padded
        self._nodes.append(Node(op, name, inputs, outputs, dict(attributes), names))

    def tap(
        self,
        name: str,
        buffer: int,
        grid: Grid | float,
        column: int = 0,
        order: NDArray[np.intp] | None = None,
    ) -> None:
        """Notes that `buffer` holds what tap `name` sees; a layer norm's output is held twice."""
        self.taps.setdefault(name, []).append(Tapped(buffer, grid, column, order))

    def tap_table(self, name: str, table: TappedTable) -> None:
        """Notes that a constant holds what tap `name` sees."""
        self.tables.setdefault(name, []).append(table)

    def output(self, name: str, buffer: int, scale: float) -> None:
        """Declares a result: integers of `buffer` times `scale`."""
        self._outputs.append(Output(name, buffer, scale))

    def program(self) -> Program:
        """The finished program."""
        return Program(self._limits, tuple(self._buffers), tuple(self._nodes), tuple(self._outputs))


def _pad(tensor: Tensor) -> Tensor:
    """Zeros at the end of the first axis until the size is a multiple of 64 bytes; starts on 64."""
    row_bytes = tensor.itemsize * int(np.prod(tensor.shape[1:], dtype=np.int64))
    rows = tensor.shape[0]
    while rows * row_bytes % _ALIGNMENT:
        rows += 1
    memory = np.zeros(rows * row_bytes + _ALIGNMENT, dtype=np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    padded = memory[start : start + rows * row_bytes].view(tensor.dtype).reshape(rows, *tensor.shape[1:])
    padded[: tensor.shape[0]] = tensor
    return padded
