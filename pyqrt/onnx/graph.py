"""An ONNX graph under construction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import onnx
from onnx import helper, numpy_helper

OPSET = 21  # the first whose QuantizeLinear has 16 bits
IR_VERSION = 10


class GraphBuilder:
    """Appends operators; a value is its name, a numpy array becomes an initializer."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._prefix = ""

    def scope(self, name: str) -> None:
        """The prefix of every name from now on."""
        self._prefix = f"{name}/"

    def constant(self, value: NDArray[Any], role: str | None = None) -> str:
        """The name of `value` among the initializers; equal small constants are one."""
        if role is None:
            kind = f"{value.dtype}{list(value.shape)}"
            name = f"constant/{kind}/{value.tobytes().hex()}" if value.size <= 2 else self._unique("constant")
        else:
            name = self._prefix + role
        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
        return name

    def op(self, kind: str, *inputs: str | NDArray[Any], **attributes: Any) -> str:
        """Appends one operator with one output; returns its name."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, count: int, *inputs: str | NDArray[Any], **attributes: Any) -> list[str]:
        """Appends one operator with `count` outputs; returns their names."""
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        own = self._unique(kind)
        outputs = [own if count == 1 else f"{own}:{i}" for i in range(count)]
        self._nodes.append(helper.make_node(kind, names, outputs, name=own, **attributes))
        return outputs

    def input(self, name: str, shape: Sequence[str]) -> str:
        """Declares an int64 input of the graph."""
        self._inputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.INT64, list(shape)))
        return name

    def output(self, name: str, value: str, shape: Sequence[str | int]) -> None:
        """Declares `value` a float output of the graph, called `name`."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name=f"output/{name}"))
        self._outputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(shape)))

    def model(self, name: str, metadata: dict[str, str]) -> onnx.ModelProto:
        """The finished model."""
        graph = helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, list(self._initializers.values())
        )
        model = helper.make_model(
            graph,
            producer_name="pyqrt",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        helper.set_model_props(model, metadata)
        return model

    def _unique(self, kind: str) -> str:
        return f"{self._prefix}{kind}_{len(self._nodes)}_{len(self._initializers)}"


def scalar(value: float) -> NDArray[np.float32]:
    """A scalar for `GraphBuilder.op`."""
    return np.array(value, np.float32)


def axes(*numbers: int) -> NDArray[np.int64]:
    """A list of axes for `GraphBuilder.op`."""
    return np.array(numbers, np.int64)
