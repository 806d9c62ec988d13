"""The weights of an exported float encoder, by the parameter names of `pyqrt.nn.Encoder`.

Exporters keep some names and lose others: constants that were folded or transposed get numbers. So a
parameter is found by its checkpoint name, behind whatever the exporter put first; else, the weight of a
linear layer, by its bias's name; else by its place in the graph: every Softmax is an attention, the
products before and after it are what they must be, and each is checked by its shape later on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyqrt.errors import ModelError
from pyqrt.onnx.reader import Array, Graph, Linear, Norm, contiguous

Floats = NDArray[np.float32]


def read_weights(
    path: Path,
    names: Mapping[str, Sequence[str]],
    shapes: Mapping[str, Sequence[int]],
    layer_order: Sequence[int],
) -> dict[str, Floats]:
    """Float32 arrays of the ONNX file at `path`, by checkpoint name.

    names: of every encoder parameter, the checkpoint tensors that may hold it. shapes: of every
    parameter. layer_order: `EncoderConfig.layer_order`. What is not found is not in the result. Raises
    ModelError for a file that is damaged or quantized, for a name that two constants may have, and, when
    names do not suffice, for attention that cannot be told from the graph, or differs where it is shared.
    """
    graph = Graph(path)
    found = _by_name(graph, path, dict.fromkeys(name for entry in names.values() for name in entry))
    first = {entry[0]: entry for entry in names.values()}
    # Without other parameters' tensors, which stand in for what a checkpoint may lack: a graph has it all.
    own = {
        parameter: [name for name in entry if first.get(name, entry) == entry]
        for parameter, entry in names.items()
    }
    absent = [parameter for parameter, entry in own.items() if not any(name in found for name in entry)]
    if absent:
        by_place = _Structure(graph, path).parameters(shapes, layer_order)
        for parameter in absent:
            name = names[parameter][0]
            if parameter in by_place:
                _put_once(found, name, by_place[parameter], path)
            elif any(other in found for other in names[parameter] if other not in own[parameter]):
                raise ModelError(
                    f"{path}: {name} was lost in the export; convert the checkpoint itself, or export it "
                    "with its names"
                )
    return found


def _put_once(found: dict[str, Floats], name: str, value: Array, path: Path) -> None:
    """Puts `value` under `name`. Raises ModelError if that is something else already."""
    if name in found and not np.array_equal(found[name], value):
        raise ModelError(
            f"{path}: names of weights were lost in the export, and two places of the graph that should have "
            f"the same {name} differ; convert the checkpoint itself, or export it with its names"
        )
    found[name] = contiguous(value)


def _by_name(graph: Graph, path: Path, known: Collection[str]) -> dict[str, Floats]:
    """What constants, or linear layers by their biases, have of the known names."""
    named: dict[str, list[str]] = {}
    for constant, value in graph.constants.items():
        name = next((end for end in _ends(constant) if end in known), None)
        if name is not None and value.dtype.kind == "f":
            named.setdefault(name, []).append(constant)
    found: dict[str, Floats] = {}
    for name in known:
        constants = named.get(name, [])
        values = [graph.constants[constant] for constant in constants]
        if not _all_equal(values):
            raise ModelError(
                f"{path}: {' and '.join(constants)} may both be {name}; export one encoder, as config.json "
                "describes it"
            )
        stem, _, kind = name.rpartition(".")
        if not values and kind == "weight":
            biases = named.get(f"{stem}.bias", [])
            values = [linear.weight for linear in graph.linears if linear.bias in biases]
        # Exporters keep one of several equal biases: then it does not say which of its layers this is.
        if values and _all_equal(values):
            found[name] = contiguous(values[0])
    return found


def _ends(name: str) -> Iterator[str]:
    """The name, and what is left of it without its first parts, the longest first."""
    while name:
        yield name
        name = name.partition(".")[2]


def _all_equal(values: Sequence[Array]) -> bool:
    return all(np.array_equal(values[0], value) for value in values[1:])


class _Structure:
    """Parameters by their place in the graph of a post-norm encoder with separate Q, K and V."""

    def __init__(self, graph: Graph, path: Path) -> None:
        self.graph = graph
        self.path = path
        self.made_by = {linear.output: linear for linear in graph.linears}

    def parameters(
        self, shapes: Mapping[str, Sequence[int]], layer_order: Sequence[int]
    ) -> dict[str, Floats]:
        graph, found = self.graph, self._embeddings(shapes)
        last, first = -1, None
        softmaxes = [place for place, node in enumerate(graph.nodes) if node.op_type == "Softmax"]
        if len(softmaxes) != len(layer_order):
            raise self._unknown(
                f"it has {len(softmaxes)} attentions, by config.json there are {len(layer_order)}"
            )
        for index, place in zip(layer_order, softmaxes, strict=True):
            layer = f"layers.{index}"
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
                if linear.last < first and "embeddings.projection.weight" in shapes:
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
        _put_once(found, f"{name}.weight", linear.weight, self.path)
        if linear.bias is not None:
            _put_once(found, f"{name}.bias", self.graph.constants[linear.bias], self.path)

    def _put_norm(self, found: dict[str, Floats], name: str, after: int) -> None:
        norm = next((norm for norm in self.graph.norms if norm.last > after), None)
        if norm is None:
            raise self._unknown(f"no layer norm follows where {name} should be")
        self._put(found, name, norm)

    def _put(self, found: dict[str, Floats], name: str, norm: Norm) -> None:
        _put_once(found, f"{name}.weight", self.graph.constants[norm.weight], self.path)
        _put_once(found, f"{name}.bias", self.graph.constants[norm.bias], self.path)

    def _unknown(self, what: str) -> ModelError:
        return ModelError(
            f"{self.path}: names of weights were lost in the export and the graph is not an encoder's as "
            f"known here: {what}; convert the checkpoint itself, or export it with its names"
        )
