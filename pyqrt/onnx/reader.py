"""A float ONNX graph, read: constants, linear layers and layer norms wherever the exporter left them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

import onnx
from onnx import helper, numpy_helper
from pyqrt.errors import ModelError

Array = NDArray[Any]

_QUANTIZED = {"DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul"}
_FUSED = "com.microsoft"
_PLAIN_GEMM = {"alpha": 1.0, "beta": 1.0, "transA": 0}  # with which a Gemm is a linear layer


@dataclass(frozen=True)
class Linear:
    """A product with a constant matrix: weight [out, in], the bias's name if one is added.

    first, last: places of its nodes in the graph; source, output: the values it reads and makes.
    """

    weight: Array
    bias: str | None
    first: int
    last: int
    source: str
    output: str


@dataclass(frozen=True)
class Norm:
    """A layer norm: names of its gain and bias, place of its last node."""

    weight: str
    bias: str
    last: int


class Graph:
    """Constants by name, and the operators around them. Raises ModelError for what is not a float graph."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            model = onnx.load(path, load_external_data=False)
        except (OSError, ValueError, DecodeError) as error:
            raise ModelError(f"{path}: not a readable ONNX file ({error})") from None
        try:
            onnx.load_external_data_for_model(model, str(path.parent))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise ModelError(
                f"{path}: its weights are in a file beside it that cannot be read ({error}); copy or export "
                "both files again"
            ) from None
        self._graph = model.graph
        self.nodes: list[onnx.NodeProto] = list(self._graph.node)
        self.inputs = {value.name for value in self._graph.input}
        for node in self.nodes:
            if node.op_type in _QUANTIZED:
                raise ModelError(
                    f"{path}: {node.op_type} in the graph: the model is quantized already; export it in float"
                )
            if node.domain == _FUSED:
                raise ModelError(
                    f"{path}: {node.op_type} of {_FUSED} in the graph: the model was optimized for ONNX "
                    "Runtime; use the export before that step"
                )
        self.constants = self._constants()
        self.producer = {name: place for place, node in enumerate(self.nodes) for name in node.output}
        self.consumers: dict[str, list[int]] = {}
        for place, node in enumerate(self.nodes):
            for name in node.input:
                self.consumers.setdefault(name, []).append(place)
        self.linears = list(self._linears())
        self.norms = list(self._norms())

    def _constants(self) -> dict[str, Array]:
        """Initializers, Constant nodes, and what Identity, Cast and Transpose make of them."""
        found = {tensor.name: numpy_helper.to_array(tensor) for tensor in self._graph.initializer}
        for node in self.nodes:
            options = {attribute.name: attribute for attribute in node.attribute}
            if node.op_type == "Constant" and "value" in options:
                found[node.output[0]] = numpy_helper.to_array(options["value"].t)
            elif node.input and node.input[0] in found:
                value = found[node.input[0]]
                if node.op_type in ("Identity", "Cast"):
                    found[node.output[0]] = value
                elif node.op_type == "Transpose":
                    order = list(options["perm"].ints) if "perm" in options else None
                    found[node.output[0]] = value.transpose(order)
        return found

    def vector(self, name: str) -> Array | None:
        """The constant `name` if it is a one-dimensional float array."""
        value = self.constants.get(name)
        return value if value is not None and value.ndim == 1 and value.dtype.kind == "f" else None

    def _matrix(self, name: str) -> Array | None:
        value = self.constants.get(name)
        return value if value is not None and value.ndim == 2 and value.dtype.kind == "f" else None

    def _added(self, name: str) -> tuple[str, int] | None:
        """The vector added to value `name`, and the place of the addition, if that is all that follows."""
        places = self.consumers.get(name, [])
        if len(places) != 1 or self.nodes[places[0]].op_type != "Add":
            return None
        others = [i for i in self.nodes[places[0]].input if i != name]
        if len(others) == 1 and self.vector(others[0]) is not None:
            return others[0], places[0]
        return None

    def _linears(self) -> Iterator[Linear]:
        for place, node in enumerate(self.nodes):
            if node.op_type == "MatMul":
                matrix = self._matrix(node.input[1])
                if matrix is None:
                    continue
                bias = self._added(node.output[0])
                last = place if bias is None else bias[1]
                name = None if bias is None else bias[0]
                yield Linear(matrix.T, name, place, last, node.input[0], self.nodes[last].output[0])
            elif node.op_type == "Gemm":
                matrix = self._matrix(node.input[1])
                if matrix is None:
                    continue
                options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
                for option, plain in _PLAIN_GEMM.items():
                    if (value := options.get(option, plain)) != plain:
                        raise ModelError(
                            f"{self._path}: {option} of a Gemm is {value:g}; implemented is {plain:g}: "
                            "export linear layers without it"
                        )
                weight = matrix if options.get("transB") else matrix.T
                name = node.input[2] if len(node.input) > 2 and node.input[2] else None
                yield Linear(weight, name, place, place, node.input[0], node.output[0])

    def _norms(self) -> Iterator[Norm]:
        for place, node in enumerate(self.nodes):
            if node.op_type == "LayerNormalization" and len(node.input) == 3:
                yield Norm(node.input[1], node.input[2], place)
            elif node.op_type == "Div" and self._is_deviation(node):
                # Older exports spell it out: (x - mean) / sqrt(var + eps), times gain, plus bias.
                scaled = self._times(node.output[0])
                shifted = None if scaled is None else self._added(self.nodes[scaled[1]].output[0])
                if scaled is not None and shifted is not None:
                    yield Norm(scaled[0], shifted[0], shifted[1])

    def _is_deviation(self, node: onnx.NodeProto) -> bool:
        makers = [self.nodes[self.producer[i]].op_type for i in node.input if i in self.producer]
        return makers == ["Sub", "Sqrt"]

    def _times(self, name: str) -> tuple[str, int] | None:
        for place in self.consumers.get(name, []):
            node = self.nodes[place]
            if node.op_type == "Mul":
                for other in node.input:
                    if other != name and self.vector(other) is not None:
                        return other, place
        return None

    def sources(self, name: str) -> Iterator[int]:
        """Places of the nodes that value `name` is made by, nearest first."""
        seen: set[int] = set()
        waiting = [name]
        while waiting:
            place = self.producer.get(waiting.pop(0))
            if place is not None and place not in seen:
                seen.add(place)
                yield place
                waiting += [i for i in self.nodes[place].input if i not in self.constants]

    def tables(self) -> Iterator[tuple[Array, str]]:
        """Embedding tables, float [rows, width], and the value that picks their rows."""
        for node in self.nodes:
            if node.op_type == "Gather":
                table = self._matrix(node.input[0])
                if table is not None:
                    yield table, node.input[1]


def contiguous(array: Array) -> NDArray[np.float32]:
    """A dense float32 copy of `array`."""
    return np.array(array, dtype=np.float32, order="C")
