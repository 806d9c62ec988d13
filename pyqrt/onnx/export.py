"""A model file as a standard ONNX graph with QuantizeLinear and DequantizeLinear.

Weights, scales and roundings to 8 and 16 bits are the file's. Between them the operators are float:
Softmax, LayerNormalization and Gelu are exact where the integer program has polynomials, and an
accumulator is rounded once per quantization. So the results are close to the integers', not equal,
and depend on the runtime; `compare` measures how close. Batches are padded; the mask keeps padding
out of attention and pooling.

A quantized value stands in the graph in the program's own units: QuantizeLinear with scale 1 and the
tensor's zero point. Real scales, which differ per channel, are in the weights' scales.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import onnx
from pyqrt.errors import ModelError
from pyqrt.onnx.attention import attention, positions, rotary
from pyqrt.onnx.graph import GraphBuilder, axes, scalar
from pyqrt.program import Node, Program
from pyqrt.runtime.format import ModelFile
from pyqrt.weight_layout import unpack_weight

_LAYER_NORM_BITS = ((1024, 10), (1 << 14, 9))  # fraction bits up to a width: layernorm.h
_UNIT = 2.0**30  # of normalize's output
_GELU_UNIT = 2.0**10
# Attributes and tensors that the graph expresses: whatever else a node has, it does not.
_KNOWN = {
    "embedding": {"shift", "position_offset"}
    | {f"{table}{part}" for table in ("word", "position", "type") for part in ("", "_multiplier")},
    "linear": {
        "epilogue",
        "in_features",
        "out_features",
        "pre_shift",
        "zero_point",
        "gelu_shift",
        "polynomial",
    }
    | {"residual_multiplier", "residual_shift", "weight", "weight_sum", "bias", "multiplier", "shift"}
    | {"gelu_multiplier"},
    "attention": {"num_heads", "head_dim", "zero_point", "polynomial", "window", "relative_rows"}
    | {"relative_reach", "score_multiplier", "output_multiplier", "output_exponent", "relative_index"}
    | {"relative_bias", "relative_key", "relative_query", "block", "block_beyond", "block_bias"}
    | {"global_score_multiplier", "global_output_multiplier", "global_output_exponent"}
    | {"global_until", "global_after"},
    "rotary": {"num_heads", "head_dim", "pairs", "shift", "cosine", "sine"},
    "multiply": {"zero_point", "multiplier", "shift"},
    "neighbours": {"reach"},
    "layernorm": {
        "epsilon",
        "normalize",
        "exact_mean",
        "shift8",
        "shift16",
        "gain8",
        "bias8",
        "gain16",
        "bias16",
    },
    "lookup": {"table"},
    "pool": {"kind", "token"},
    "match": {"shift"},
    "normalize": set[str](),
}
_QUANTIZED = {"s8": np.int8, "s16": np.int16}


def export_onnx(file: ModelFile, path: str | Path) -> None:
    """Writes `file` to `path` as an ONNX model, opset 21, checked by `onnx.checker`.

    Inputs: input_ids, attention_mask and, if the model has token types, token_type_ids, int64 [batch,
    sequence], padding on the right. Outputs: the program's, float32, by name, [batch, width] or
    [batch, sequence, width]. Raises ModelError for a node that has no ONNX form.
    """
    model = _Exporter(file).model()
    onnx.checker.check_model(model, full_check=True)
    Path(path).write_bytes(model.SerializeToString())


@dataclass(frozen=True)
class _Value:
    """A buffer's value: float integers, less the zero point."""

    name: str
    zero_point: int = 0


class _Exporter:
    def __init__(self, file: ModelFile) -> None:
        self.file = file
        self.program: Program = file.program
        self.graph = GraphBuilder()
        self.values: dict[int, _Value] = {}

    def model(self) -> onnx.ModelProto:
        graph, shape = self.graph, ("batch", "sequence")
        self.ids = graph.input("input_ids", shape)
        mask = graph.input("attention_mask", shape)
        self.types = graph.input("token_type_ids", shape) if self.program.limits.type_vocab_size > 1 else None
        graph.scope("mask")
        self.kept = graph.op("Cast", mask, to=onnx.TensorProto.FLOAT)
        self.absent = graph.op("Unsqueeze", graph.op("Sub", scalar(1.0), self.kept), axes(1, 2))
        emit: dict[str, Callable[[Node], None]] = {
            "embedding": self.embedding,
            "linear": self.linear,
            "attention": self.attention,
            "rotary": self.rotary,
            "multiply": self.multiply,
            "neighbours": self.neighbours,
            "layernorm": self.layernorm,
            "lookup": self.lookup,
            "pool": self.pool,
            "match": self.match,
            "normalize": self.normalize,
        }
        for node in self.program.nodes:
            if node.op not in emit:
                raise ModelError(f"{node.name}: {node.op} has no ONNX form; pyqrt runs it, export cannot")
            if strange := {*node.attributes, *node.tensors} - _KNOWN[node.op]:
                raise ModelError(f"{node.name}: {', '.join(sorted(strange))} of {node.op} has no ONNX form")
            graph.scope(node.name)
            emit[node.op](node)
        graph.scope("outputs")
        for output in self.program.outputs:
            buffer = self.program.buffers[output.buffer]
            rows = shape if buffer.rows == "tokens" else shape[:1]
            real = graph.op("Mul", self.values[output.buffer].name, scalar(output.scale))
            graph.output(output.name, real, (*rows, buffer.width))
        return graph.model("pyqrt", {"header_digest": self.file.header_digest})

    def tensor(self, node: Node, role: str, count: int | None = None) -> NDArray[Any]:
        """A constant of the node without the file's padding."""
        tensor = self.file.tensors[node.tensors[role]]
        return tensor if count is None else tensor[:count]

    def integer(self, node: Node, key: str) -> int:
        return int(node.attributes[key])

    def quantize(self, value: str, number: int, zero_point: int = 0) -> None:
        """Rounds `value` as buffer `number` holds it."""
        dtype = self.program.buffers[number].dtype
        if dtype in _QUANTIZED:
            scale, zero = scalar(1.0), np.array(zero_point, _QUANTIZED[dtype])
            value = self.graph.op("QuantizeLinear", value, scale, zero)
            value = self.graph.op("DequantizeLinear", value, scale, zero)
        self.values[number] = _Value(value, zero_point)

    def embedding(self, node: Node) -> None:
        graph = self.graph
        offset = np.array(self.integer(node, "position_offset"), np.int64)
        zeros = graph.op("Mul", self.ids, np.array(0, np.int64))
        index = {
            "word": self.ids,
            "position": graph.op("Add", positions(graph, self.ids), offset),
            "type": self.types or zeros,
        }
        rows = []
        for role, ids in index.items():
            if role in node.tensors:
                table = graph.constant(self.tensor(node, role), role)
                scale = self.tensor(node, f"{role}_multiplier") * 2.0 ** -self.integer(node, "shift")
                row = graph.op("Cast", graph.op("Gather", table, ids), to=onnx.TensorProto.FLOAT)
                scales = graph.constant(scale.astype(np.float32)[:, None], f"{role}_scale")
                rows.append(graph.op("Mul", row, graph.op("Gather", scales, ids)))
        total = rows[0]
        for row in rows[1:]:
            total = graph.op("Add", total, row)
        self.quantize(total, node.outputs[0])

    def linear(self, node: Node) -> None:
        graph, source = self.graph, self.values[node.inputs[0]]
        n, k = self.integer(node, "out_features"), self.integer(node, "in_features")
        weight = unpack_weight(self.tensor(node, "weight"), n, k)
        ratio = self.tensor(node, "multiplier", n) * np.exp2(-self.tensor(node, "shift", n).astype(float))
        bias = self.tensor(node, "bias", n).astype(float)
        bias += source.zero_point * self.tensor(node, "weight_sum", n)
        pre_scale = 2.0 ** -self.integer(node, "pre_shift")
        matrix = graph.op(
            "DequantizeLinear",
            graph.constant(weight.T, "weight"),
            graph.constant((ratio * pre_scale).astype(np.float32), "weight_scale"),
            graph.constant(np.zeros(n, np.int8), "weight_zero_point"),
            axis=1,
        )
        value = graph.op("MatMul", source.name, matrix)
        value = graph.op("Add", value, graph.constant((bias * ratio).astype(np.float32), "bias"))
        epilogue = str(node.attributes["epilogue"])
        if epilogue.startswith("gelu"):
            value = graph.op("Mul", value, scalar(1 / _GELU_UNIT))
            value = graph.op("Gelu", value)
            scale = np.array([1.0])
            if epilogue == "gelu_s8":
                scale = self.tensor(node, "gelu_multiplier", n) * 2.0 ** -self.integer(node, "gelu_shift")
            value = graph.op(
                "Mul", value, graph.constant((scale * _GELU_UNIT).astype(np.float32), "gelu_scale")
            )
        if epilogue == "residual_s16":
            share = self.integer(node, "residual_multiplier") * 2.0 ** -self.integer(node, "residual_shift")
            residual = graph.op("Mul", self.values[node.inputs[1]].name, scalar(share))
            value = graph.op("Add", value, residual)
        self.quantize(value, node.outputs[0], self.integer(node, "zero_point"))

    def attention(self, node: Node) -> None:
        inputs = [self.values[buffer].name for buffer in node.inputs]
        value = attention(self.graph, node, partial(self.tensor, node), inputs, self.ids, self.absent)
        self.quantize(value, node.outputs[0], self.integer(node, "zero_point"))

    def rotary(self, node: Node) -> None:
        source = self.values[node.inputs[0]].name
        self.quantize(rotary(self.graph, node, partial(self.tensor, node), source, self.ids), node.outputs[0])

    def multiply(self, node: Node) -> None:
        graph, width = self.graph, self.program.buffers[node.outputs[0]].width
        first, second = (self.values[buffer].name for buffer in node.inputs)
        shift = self.tensor(node, "shift", width).astype(float)
        scale = (self.tensor(node, "multiplier", width) * np.exp2(-shift)).astype(np.float32)
        value = graph.op("Mul", graph.op("Mul", first, second), graph.constant(scale, "scale"))
        self.quantize(value, node.outputs[0], self.integer(node, "zero_point"))

    def neighbours(self, node: Node) -> None:
        graph, reach = self.graph, self.integer(node, "reach")
        kept = graph.op("Unsqueeze", self.kept, axes(2))
        inside = graph.op("Mul", self.values[node.inputs[0]].name, kept)
        padded = graph.op("Pad", inside, np.array([0, reach, 0, 0, reach, 0], np.int64))
        length = graph.op("Shape", self.ids, start=1, end=2)
        starts = [np.array([start], np.int64) for start in range(2 * reach, -1, -1)]
        blocks = [
            graph.op("Slice", padded, start, graph.op("Add", length, start), axes(1)) for start in starts
        ]
        self.quantize(graph.op("Concat", *blocks, axis=2), node.outputs[0])

    def layernorm(self, node: Node) -> None:
        width = self.program.buffers[node.inputs[0]].width
        normalize = int(node.attributes.get("normalize", 1))
        bits = next(bits for most, bits in _LAYER_NORM_BITS if width <= most) if normalize else 0
        epsilon = self.integer(node, "epsilon") / width**2
        for number in node.outputs:
            suffix = {"s8": "8", "s16": "16"}[self.program.buffers[number].dtype]
            unit = 2.0 ** -self.integer(node, f"shift{suffix}")
            gain = self.tensor(node, f"gain{suffix}", width) * unit * 2.0**bits
            bias = self.tensor(node, f"bias{suffix}", width) * unit
            inputs = (
                self.values[node.inputs[0]].name,
                self.graph.constant(gain.astype(np.float32), f"gain{suffix}"),
                self.graph.constant(bias.astype(np.float32), f"bias{suffix}"),
            )
            if normalize:
                value = self.graph.op("LayerNormalization", *inputs, axis=-1, epsilon=epsilon)
            else:
                value = self.graph.op("Add", self.graph.op("Mul", *inputs[:2]), inputs[2])
            self.quantize(value, number)

    def lookup(self, node: Node) -> None:
        graph = self.graph
        table = graph.constant(self.tensor(node, "table", 513).astype(np.float32), "table")
        place = graph.op(
            "Mul", graph.op("Add", self.values[node.inputs[0]].name, scalar(32768)), scalar(1 / 128)
        )
        whole = graph.op("Floor", place)
        index = graph.op("Cast", whole, to=onnx.TensorProto.INT64)
        low = graph.op("Gather", table, index)
        high = graph.op("Gather", table, graph.op("Add", index, np.array(1, np.int64)))
        slope = graph.op("Mul", graph.op("Sub", high, low), graph.op("Sub", place, whole))
        self.quantize(graph.op("Add", low, slope), node.outputs[0])

    def pool(self, node: Node) -> None:
        graph, source, kind = self.graph, self.values[node.inputs[0]].name, node.attributes["kind"]
        if kind == "first":
            value = graph.op("Gather", source, np.array(0, np.int64), axis=1)
        elif kind == "last":
            length = graph.op("ReduceSum", self.kept, axes(1), keepdims=1)
            last = graph.op("Cast", graph.op("Sub", length, scalar(1.0)), to=onnx.TensorProto.INT64)
            value = graph.op("GatherND", source, last, batch_dims=1)
        elif kind == "token":
            there = graph.op("Equal", self.ids, np.array(self.integer(node, "token"), np.int64))
            found = graph.op("Mul", graph.op("Cast", there, to=onnx.TensorProto.FLOAT), self.kept)
            first = graph.op("ArgMax", found, axis=1, keepdims=1)  # of equals; 0 where there is none
            value = graph.op("GatherND", source, first, batch_dims=1)
        elif kind == "max":
            below = graph.op("Mul", graph.op("Transpose", self.absent, perm=[0, 3, 1, 2]), scalar(1e5))
            lowered = graph.op("Sub", source, graph.op("Squeeze", below, axes(3)))
            value = graph.op("ReduceMax", lowered, axes(1), keepdims=0)
        else:
            kept = graph.op("Unsqueeze", self.kept, axes(2))
            total = graph.op("ReduceSum", graph.op("Mul", source, kept), axes(1), keepdims=0)
            value = graph.op("Div", total, graph.op("ReduceSum", self.kept, axes(1), keepdims=1))
        self.quantize(value, node.outputs[0])

    def match(self, node: Node) -> None:
        graph, columns = self.graph, []
        for tokens, rows in zip(node.inputs[::2], node.inputs[1::2], strict=True):
            row = graph.op("Unsqueeze", self.values[rows].name, axes(2))
            columns.append(graph.op("MatMul", self.values[tokens].name, row))
        logits = graph.op("Concat", *columns, axis=2)
        self.quantize(graph.op("Mul", logits, scalar(2.0 ** -self.integer(node, "shift"))), node.outputs[0])

    def normalize(self, node: Node) -> None:
        value = self.graph.op("LpNormalization", self.values[node.inputs[0]].name, axis=-1, p=2)
        self.quantize(self.graph.op("Mul", value, scalar(_UNIT)), node.outputs[0])
