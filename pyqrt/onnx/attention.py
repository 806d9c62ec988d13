"""Attention of a model file as ONNX operators: relative positions, windows, rotary positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import onnx
from pyqrt.onnx.graph import GraphBuilder, axes, scalar
from pyqrt.program import Node

_EXPONENT_UNIT = 2.0**28  # of the scores' multiplier
_MASKED = -1e30
_ROTARY_UNIT = 2.0**14

Constant = Callable[[str], NDArray[Any]]  # a constant of the node by its role


def attention(
    graph: GraphBuilder, node: Node, constant: Constant, inputs: list[str], ids: str, absent: str
) -> str:
    """The context [batch, sequence, width], in integers of the output without its zero point.

    inputs: the queries, keys and values side by side; or the first two, and the values; or all three, and
    what global tokens use: keys and values, queries. ids [batch,
    sequence]: of the tokens. absent [batch, 1, 1, sequence]: 1 for padding, else 0.
    """
    heads, dim = int(node.attributes["num_heads"]), int(node.attributes["head_dim"])
    apart = graph.constant(np.array([0, 0, heads, dim], np.int64))

    def by_head(value: str, *order: int) -> str:
        return graph.op("Transpose", graph.op("Reshape", value, apart), perm=list(order))

    if len(inputs) == 2:
        (query, key), value = graph.ops("Split", 2, inputs[0], axis=2, num_outputs=2), inputs[1]
    else:
        query, key, value = graph.ops("Split", 3, inputs[0], axis=2, num_outputs=3)
    query, columns = by_head(query, 0, 2, 1, 3), by_head(key, 0, 2, 3, 1)
    scores, padding = graph.op("MatMul", query, columns), absent
    if "relative_index" in node.tensors or "window" in node.attributes:
        distance = _distance(graph, ids)
        if "relative_index" in node.tensors:
            scores = _add_relative(graph, node, constant, scores, query, by_head(key, 0, 2, 1, 3), distance)
        if "window" in node.attributes:
            reach = np.array(int(node.attributes["window"]), np.int64)
            beyond = graph.op("Greater", graph.op("Abs", distance), reach)
            if len(inputs) == 3:
                others = graph.op("Unsqueeze", _others(graph, node, ids), axes(1, 2))
                beyond = graph.op("And", beyond, others)
            absent = graph.op("Max", absent, graph.op("Cast", beyond, to=onnx.TensorProto.FLOAT))

    if "block" in node.attributes:
        unseen, biased = _blocks(graph, node, ids, absent)
        absent = graph.op("Max", absent, unseen)
        bias = graph.constant(_per_head(constant("block_bias")[:heads]), "block_bias")
        scores = graph.op("Add", scores, graph.op("Mul", biased, bias))

    def score_scale(role: str) -> NDArray[np.floating[Any]]:
        scale: NDArray[np.floating[Any]] = constant(role)[:heads] / _EXPONENT_UNIT * np.log(2.0)
        return scale

    def mixed(scores: str, absent: str, value: str, role: str = "") -> str:
        scores = graph.op("Add", scores, graph.op("Mul", absent, scalar(_MASKED)))
        exponent = constant(f"{role}output_exponent")[:heads].astype(float) - 14
        ratio = np.repeat(constant(f"{role}output_multiplier")[:heads] * np.exp2(exponent), dim)
        scale = graph.constant(ratio.astype(np.float32), f"{role}output_scale")
        value = by_head(graph.op("Mul", value, scale), 0, 2, 1, 3)
        context = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), value)
        context = graph.op("Transpose", context, perm=[0, 2, 1, 3])
        return graph.op("Reshape", context, np.array([0, 0, heads * dim], np.int64))

    scale = graph.constant(_per_head(score_scale("score_multiplier")), "score_scale")
    context = mixed(graph.op("Mul", scores, scale), absent, value)
    if len(inputs) < 3:
        return context
    key, value = graph.ops("Split", 2, inputs[1], axis=2, num_outputs=2)
    # Scaled before a change of shape, which right behind a rounding ONNX Runtime 1.32 fails at.
    scales = np.repeat(score_scale("global_score_multiplier"), dim).astype(np.float32)
    query = graph.op("Mul", inputs[2], graph.constant(scales, "global_score_scale"))
    several = "global_until" in node.attributes or "global_after" in node.attributes
    query = (
        by_head(query, 0, 2, 1, 3)
        if several
        else graph.op("Reshape", query, np.array([0, heads, 1, dim], np.int64))
    )
    own = mixed(graph.op("MatMul", query, by_head(key, 0, 2, 3, 1)), padding, value, "global_")
    if several:
        return graph.op("Where", graph.op("Unsqueeze", _others(graph, node, ids), axes(2)), context, own)
    end = np.array([np.iinfo(np.int64).max], np.int64)
    others = graph.op("Slice", context, np.array([1], np.int64), end, axes(1))
    return graph.op("Concat", own, others, axis=1)


def rotary(graph: GraphBuilder, node: Node, constant: Constant, source: str, ids: str) -> str:
    """Turned queries and keys [batch, sequence, width], in integers of the output."""
    heads, dim = int(node.attributes["num_heads"]), int(node.attributes["head_dim"])
    pairs, shift = int(node.attributes["pairs"]), int(node.attributes["shift"])
    places = positions(graph, ids)

    def angles(role: str) -> str:
        flat = constant(role)
        table = flat[: len(flat) // pairs * pairs].reshape(-1, 1, pairs) / _ROTARY_UNIT
        return graph.op("Gather", graph.constant(table.astype(np.float32), role), places)

    cosine, sine = angles("cosine"), angles("sine")
    rows = graph.op("Reshape", source, np.array([0, 0, heads, dim], np.int64))
    sizes = [pairs, pairs, dim - 2 * pairs] if dim > 2 * pairs else [pairs, pairs]
    first, second, *rest = graph.ops("Split", len(sizes), rows, np.array(sizes, np.int64), axis=3)

    def product(a: str, b: str) -> str:
        return graph.op("Mul", a, b)

    turned = [
        graph.op("Sub", product(first, cosine), product(second, sine)),
        graph.op("Add", product(second, cosine), product(first, sine)),
    ]
    joined = graph.op("Concat", *turned, *rest, axis=3)
    joined = graph.op("Reshape", joined, np.array([0, 0, heads * dim], np.int64))
    return graph.op("Mul", joined, scalar(_ROTARY_UNIT * 2.0**-shift))


def positions(graph: GraphBuilder, ids: str) -> str:
    """0, 1, ... for every token of a sequence; int64 [sequence]."""
    length = graph.op("Squeeze", graph.op("Shape", ids, start=1, end=2), axes(0))
    return graph.op("Range", np.array(0, np.int64), length, np.array(1, np.int64))


def _others(graph: GraphBuilder, node: Node, ids: str) -> str:
    """Which tokens are not global, bool [batch or 1, sequence]."""
    bound = node.attributes.get("global_until", node.attributes.get("global_after"))
    if bound is None:
        later = graph.op("Cast", positions(graph, ids), to=onnx.TensorProto.BOOL)
        return graph.op("Unsqueeze", later, axes(0))

    def passed(there: str) -> str:
        """How many of a sequence's tokens up to each are `there`."""
        count = graph.op("Cast", there, to=onnx.TensorProto.INT64)
        return graph.op("CumSum", count, np.array(1, np.int64))

    separators = passed(graph.op("Equal", ids, np.array(int(bound), np.int64)))
    behind = graph.op("Cast", separators, to=onnx.TensorProto.BOOL)
    if "global_until" in node.attributes:
        return behind
    # the first separator is the first token behind, global are those from the third on
    return graph.op("Less", passed(behind), np.array(3, np.int64))


def _blocks(graph: GraphBuilder, node: Node, ids: str, absent: str) -> tuple[str, str]:
    """Which keys queries do not see for their blocks, and which are biased, [batch, 1, sequence, sequence].

    Floats, 1 or 0. The last block is a sequence's own, so that padding changes nothing.
    """
    size, beyond = (np.array(int(node.attributes[name]), np.int64) for name in ("block", "block_beyond"))
    one = np.array(1, np.int64)
    kept = graph.op("Sub", scalar(1.0), absent)
    length = graph.op("Cast", graph.op("ReduceSum", kept, axes(3)), to=onnx.TensorProto.INT64)
    last = graph.op("Div", graph.op("Sub", length, one), size)  # [batch, 1, 1, 1]
    block = graph.op("Div", positions(graph, ids), size)
    by_query, by_key = (graph.op("Unsqueeze", block, axes(*to)) for to in ((0, 1, 3), (0, 1, 2)))
    first = graph.op("Equal", by_key, np.array(0, np.int64))
    short = graph.op("Not", graph.op("Greater", length, beyond))

    def at_an_end(block: str) -> str:
        return graph.op("Or", graph.op("Equal", block, np.array(0, np.int64)), graph.op("Equal", block, last))

    everything = graph.op("Or", at_an_end(by_query), short)
    far = graph.op("Greater", graph.op("Abs", graph.op("Sub", by_query, by_key)), one)
    far = graph.op("And", far, graph.op("Not", at_an_end(by_key)))
    others = graph.op("Not", everything)
    return tuple(  # type: ignore[return-value]
        graph.op("Cast", graph.op("And", others, keys), to=onnx.TensorProto.FLOAT) for keys in (far, first)
    )


def _distance(graph: GraphBuilder, ids: str) -> str:
    """i - j, int64 [sequence, sequence]."""
    places = positions(graph, ids)
    return graph.op("Sub", graph.op("Unsqueeze", places, axes(1)), graph.op("Unsqueeze", places, axes(0)))


def _add_relative(
    graph: GraphBuilder, node: Node, constant: Constant, scores: str, query: str, key: str, distance: str
) -> str:
    """The scores with the terms that depend on the distance of two tokens."""
    heads, dim = int(node.attributes["num_heads"]), int(node.attributes["head_dim"])
    reach, rows = int(node.attributes["relative_reach"]), int(node.attributes["relative_rows"])
    limits = (np.array(-reach, np.int64), np.array(reach, np.int64))
    place = graph.op("Add", graph.op("Clip", distance, *limits), np.array(reach, np.int64))
    index = constant("relative_index")[: 2 * reach + 1].astype(np.int64)
    row = graph.op("Gather", graph.constant(index, "relative_index"), place)
    if "relative_bias" in node.tensors:
        table = constant("relative_bias")[: heads * rows].reshape(heads, rows).astype(np.float32)
        scores = graph.op(
            "Add", scores, graph.op("Gather", graph.constant(table, "relative_bias"), row, axis=1)
        )
    everywhere = graph.op("Shape", scores)

    def picked(role: str, values: str, chosen: str) -> str:
        table = constant(role)[:rows].reshape(rows, heads, dim).transpose(1, 2, 0)
        products = graph.op("MatMul", values, graph.constant(table.astype(np.float32), role))
        return graph.op("GatherElements", products, graph.op("Expand", chosen, everywhere), axis=3)

    if "relative_key" in node.tensors:
        scores = graph.op("Add", scores, picked("relative_key", query, row))
    if "relative_query" in node.tensors:
        by_key = picked("relative_query", key, graph.op("Transpose", row, perm=[1, 0]))
        scores = graph.op("Add", scores, graph.op("Transpose", by_key, perm=[0, 1, 3, 2]))
    return scores


def _per_head(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    return values.astype(np.float32)[:, None, None]
