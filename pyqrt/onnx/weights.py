"""The weights of an exported float encoder, by the parameter names of `pyqrt.nn.Encoder`.

Exporters keep some names and lose others: constants that were folded or transposed get numbers. So a
parameter is found by its checkpoint name; else, the weight of a linear layer, by its bias's name; else
by its place in the graph: every Softmax is an attention, the products before and after it are what
they must be, and each is checked by its shape later on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyqrt.errors import ModelError
from pyqrt.onnx.reader import Graph, Linear, Norm, contiguous

Floats = NDArray[np.float32]


def read_weights(
    path: Path, names: Mapping[str, Sequence[str]], shapes: Mapping[str, Sequence[int]]
) -> dict[str, Floats]:
    """Float32 arrays of the ONNX file at `path`, by checkpoint name.

    names: of every encoder parameter, the checkpoint tensors that may hold it. shapes: of every
    parameter. What is not found is not in the result. Raises ModelError for a file that is damaged,
    quantized, or whose attention cannot be told from its graph when names do not suffice.
    """
    graph = Graph(path)
    found: dict[str, Floats] = {}
    by_bias = {linear.bias: linear for linear in graph.linears if linear.bias}
    for alternatives in names.values():
        for name in alternatives:
            value = _by_name(graph, by_bias, name)
            if value is not None:
                found[name] = value
                break
    absent = [p for p, alternatives in names.items() if not any(name in found for name in alternatives)]
    if absent:
        by_place = _Structure(graph, path).parameters(shapes)
        for parameter in absent:
            if parameter in by_place:
                found[names[parameter][0]] = by_place[parameter]
    return found


def _by_name(graph: Graph, by_bias: Mapping[str, Linear], name: str) -> Floats | None:
    stem, _, kind = name.rpartition(".")
    for constant, value in graph.constants.items():
        if (constant == name or constant.endswith(f".{name}")) and value.dtype.kind == "f":
            return contiguous(value)
        is_bias = constant == f"{stem}.bias" or constant.endswith(f".{stem}.bias")
        if kind == "weight" and is_bias and constant in by_bias:
            return contiguous(by_bias[constant].weight)
    return None


class _Structure:
    """Parameters by their place in the graph of a post-norm encoder with separate Q, K and V."""

    def __init__(self, graph: Graph, path: Path) -> None:
        self.graph = graph
        self.path = path
        self.made_by = {linear.output: linear for linear in graph.linears}

    def parameters(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, Floats]:
        graph, found = self.graph, self._embeddings(shapes)
        last, first = -1, None
        softmaxes = [place for place, node in enumerate(graph.nodes) if node.op_type == "Softmax"]
        for number, place in enumerate(softmaxes):
            layer = f"layers.{number}"
            query, key, value, mixed = self._attention(place)
            first = min(query.first, key.first, value.first) if first is None else first
            output = self._next_linear(mixed)
            up = self._next_linear(output.last)
            down = self._next_linear(up.last)
            linears = {"query": query, "key": key, "value": value, "output": output}
            for role, linear in linears.items():
                self._put_linear(found, f"{layer}.attention.{role}", linear)
            self._put_norm(found, f"{layer}.attention.norm", output.last)
            self._put_linear(found, f"{layer}.ffn.up", up)
            self._put_linear(found, f"{layer}.ffn.down", down)
            self._put_norm(found, f"{layer}.ffn.norm", down.last)
            last = down.last
        if first is not None:
            before = [norm for norm in graph.norms if norm.last < first]
            if before:
                self._put(found, "embeddings.norm", before[-1])
            for linear in graph.linears:
                if linear.last < first:
                    self._put_linear(found, "embeddings.projection", linear)
        rest = [linear for linear in graph.linears if linear.first > last]
        heads = [name for name in ("head.transform", "head.classifier") if f"{name}.weight" in shapes]
        for name, linear in zip(heads, rest, strict=False):
            self._put_linear(found, name, linear)
        return found

    def _embeddings(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, Floats]:
        """Tables by their number of rows, the word table by what picks its rows."""
        found: dict[str, Floats] = {}
        for table, index in self.graph.tables():
            for role in ("word", "position", "token_type"):
                name = f"embeddings.{role}.weight"
                is_word = index == "input_ids"
                if name in shapes and list(table.shape) == list(shapes[name]) and is_word == (role == "word"):
                    found.setdefault(name, contiguous(table))
        return found

    def _attention(self, softmax: int) -> tuple[Linear, Linear, Linear, int]:
        """Query, key and value of the attention whose Softmax is at that place, and its last product."""
        graph = self.graph
        scores = self._product_before(graph.nodes[softmax].input[0])
        mixed = self._product_after(graph.nodes[softmax].output[0])
        if scores is None or mixed is None:
            raise self._unknown("a Softmax is not between two products")
        query, key = (self._nearest_linear(name) for name in graph.nodes[scores].input)
        value = self._nearest_linear(graph.nodes[mixed].input[1])
        return query, key, value, mixed

    def _is_product(self, place: int) -> bool:
        node = self.graph.nodes[place]
        return node.op_type == "MatMul" and not any(name in self.graph.constants for name in node.input)

    def _product_before(self, value: str) -> int | None:
        return next((place for place in self.graph.sources(value) if self._is_product(place)), None)

    def _product_after(self, value: str) -> int | None:
        waiting = [value]
        while waiting:
            places = sorted({p for name in waiting for p in self.graph.consumers.get(name, [])})
            product = next((place for place in places if self._is_product(place)), None)
            if product is not None:
                return product
            waiting = [name for place in places for name in self.graph.nodes[place].output]
        return None

    def _nearest_linear(self, value: str) -> Linear:
        if value in self.made_by:
            return self.made_by[value]
        for place in self.graph.sources(value):
            for name in self.graph.nodes[place].input:
                if name in self.made_by:
                    return self.made_by[name]
        raise self._unknown("a product of attention does not come from a linear layer")

    def _next_linear(self, place: int) -> Linear:
        found = next((linear for linear in self.graph.linears if linear.first > place), None)
        if found is None:
            raise self._unknown("fewer linear layers follow an attention than an encoder has")
        return found

    def _put_linear(self, found: dict[str, Floats], name: str, linear: Linear) -> None:
        found[f"{name}.weight"] = contiguous(linear.weight)
        if linear.bias is not None:
            found[f"{name}.bias"] = contiguous(self.graph.constants[linear.bias])

    def _put_norm(self, found: dict[str, Floats], name: str, after: int) -> None:
        norm = next((norm for norm in self.graph.norms if norm.last > after), None)
        if norm is None:
            raise self._unknown(f"no layer norm follows where {name} should be")
        self._put(found, name, norm)

    def _put(self, found: dict[str, Floats], name: str, norm: Norm) -> None:
        found[f"{name}.weight"] = contiguous(self.graph.constants[norm.weight])
        found[f"{name}.bias"] = contiguous(self.graph.constants[norm.bias])

    def _unknown(self, what: str) -> ModelError:
        return ModelError(
            f"{self.path}: names of weights were lost in the export and the graph is not an encoder's as "
            f"known here: {what}; convert the checkpoint itself, or export it with its names"
        )
