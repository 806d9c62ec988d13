"""A whole `pyqrt.program.Program` in exact integers, for comparison with the runtime.

`run` gives the outputs of a packed batch; `prove` proves every node's budgets from the parameters
of the model alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle import (
    attention,
    embedding,
    layernorm,
    linear,
    lookup,
    match,
    multiply,
    neighbours,
    normalize,
    pool,
    rotary,
)
from oracle.budget import BudgetError, Ledger
from pyqrt.program import Node, Program

Array = NDArray[Any]
Tensors = Mapping[str, Array]

_DTYPE = {"s8": np.int8, "s16": np.int16, "s32": np.int32}


class _Node:
    """A node with its constants at hand, cut to their logical sizes."""

    def __init__(self, node: Node, tensors: Tensors) -> None:
        self.node = node
        self.tensors = tensors

    def has(self, role: str) -> bool:
        return role in self.node.tensors

    def array(self, role: str, size: int | None = None) -> Array:
        return self.tensors[self.node.tensors[role]][:size]

    def integer(self, name: str, default: int = 0) -> int:
        return int(self.node.attributes.get(name, default))

    def linear(self) -> dict[str, Any]:
        """Keyword arguments that `linear.linear` and `linear.worst_case` share."""
        n = self.integer("out_features")
        epilogue = str(self.node.attributes["epilogue"])
        shared = {
            "bias": self.array("bias", n),
            "multiplier": self.array("multiplier", n),
            "shift": self.array("shift", n),
            "epilogue": epilogue,
        }
        for name in ("pre_shift", "zero_point", "residual_multiplier"):
            shared[name] = self.integer(name)
        for name in ("gelu_shift", "residual_shift"):
            shared[name] = self.integer(name, 1)
        if epilogue == "gelu_s8":
            shared["gelu_multiplier"] = self.array("gelu_multiplier", n)
        if epilogue.startswith("gelu"):
            shared["polynomial"] = self.polynomial()
        return shared

    def weight(self) -> Array:
        """The [n, k] matrix; its packed padding must be zero and weight_sum must be its row sums."""
        n, k = self.integer("out_features"), self.integer("in_features")
        packed = self.array("weight")
        weight = linear.unpack_weight(packed, n, k)
        sums = weight.sum(axis=1, dtype=np.int64)
        if np.count_nonzero(packed) != np.count_nonzero(weight):
            raise ValueError(f"{self.node.name}: the weight's padding is not zero")
        if not np.array_equal(self.array("weight_sum", n), sums):
            raise ValueError(f"{self.node.name}: weight_sum is not the sum of the weights")
        return weight

    def heads(self, prefix: str = "") -> dict[str, Any]:
        roles = ("score_multiplier", "output_multiplier", "output_exponent")
        return {role: self.array(prefix + role, self.integer("num_heads")) for role in roles} | {
            "zero_point": self.integer("zero_point"),
            "polynomial": self.polynomial(),
        }

    def attention(self) -> dict[str, Any]:
        heads, keywords = self.integer("num_heads"), self.heads()
        if "window" in self.node.attributes:
            keywords["window"] = self.integer("window")
        if "block" in self.node.attributes:
            keywords |= {name: self.integer(name) for name in ("block", "block_beyond")}
            keywords["block_bias"] = self.array("block_bias", heads)
        if self.has("relative_index"):
            rows = self.integer("relative_rows")
            keywords["relative_index"] = self.array("relative_index", 2 * self.integer("relative_reach") + 1)
            if self.has("relative_bias"):
                keywords["relative_bias"] = self.array("relative_bias", heads * rows).reshape(heads, rows)
            keywords |= {
                role: self.array(role, rows) for role in ("relative_key", "relative_query") if self.has(role)
            }
        return keywords

    def polynomial(self) -> str:
        return str(self.node.attributes.get("polynomial", "minimax"))

    def layernorm(self, n: int) -> dict[str, Any]:
        keywords: dict[str, Any] = {
            "epsilon": self.integer("epsilon"),
            "normalize": self.integer("normalize", 1) == 1,
            "exact_mean": self.integer("exact_mean", 0) == 1,
        }
        for suffix in ("8", "16"):
            if self.has("gain" + suffix):
                keywords["gain" + suffix] = self.array("gain" + suffix, n)
                keywords["bias" + suffix] = self.array("bias" + suffix, n)
                keywords["shift" + suffix] = self.integer("shift" + suffix)
        return keywords


class _Batch:
    def __init__(
        self, program: Program, ids: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None
    ) -> None:
        types = types if types is not None else [[0] * len(sequence) for sequence in ids]
        lengths = [len(sequence) for sequence in ids]
        if lengths != [len(sequence) for sequence in types]:
            raise ValueError("ids and types differ in length")
        if max(lengths, default=0) > program.limits.max_length:
            raise ValueError(f"a sequence is longer than {program.limits.max_length} tokens")
        self.dtypes = [buffer.dtype for buffer in program.buffers]
        self.offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        self.word = _flat(ids, program.limits.vocab_size)
        self.type = _flat(types, max(1, program.limits.type_vocab_size))
        self.position = _flat([range(length) for length in lengths], program.limits.max_length)


def _flat(rows: Sequence[Sequence[int]], limit: int) -> NDArray[np.int32]:
    values = [value for row in rows for value in row]
    if values and not 0 <= min(values) <= max(values) < limit:
        raise ValueError(f"indices reach [{min(values)}, {max(values)}]; the limit is {limit}")
    return np.array(values, np.int32)


def _embedding(node: _Node, inputs: list[Array], batch: _Batch) -> list[Array]:
    index = {
        "word": batch.word,
        "position": batch.position + np.int32(node.integer("position_offset")),
        "type": batch.type,
    }
    tables = [
        (node.array(role), node.array(role + "_multiplier"), rows)
        for role, rows in index.items()
        if node.has(role)
    ]
    return [embedding.embedding(tables, shift=node.integer("shift"))]


def _linear(node: _Node, inputs: list[Array], batch: _Batch) -> list[Array]:
    residual = inputs[1] if len(inputs) > 1 else None
    return [linear.linear(inputs[0], node.weight(), residual=residual, **node.linear())]


def _attention(node: _Node, inputs: list[Array], batch: _Batch) -> list[Array]:
    if len(inputs) < 3:
        query, key, value = np.split(np.concatenate(inputs, axis=1), 3, axis=1)
        return [attention.attention(query, key, value, batch.offsets, **node.attention())]
    query, key, value = np.split(inputs[0], 3, axis=1)
    bounds = {name: node.node.attributes.get(f"global_{name}") for name in ("until", "after")}
    shared: dict[str, Any] = {"ids": batch.word} | bounds
    context = attention.attention(
        query, key, value, batch.offsets, global_key=True, **shared, **node.attention()
    )
    key, value = np.split(inputs[1], 2, axis=1)
    own = attention.attention(
        inputs[2], key, value, batch.offsets, global_query=True, **shared, **node.heads("global_")
    )
    for begin, end in pairwise(batch.offsets.tolist()):
        chosen = attention.global_tokens(batch.word[begin:end].tolist(), **bounds)
        context[begin:end][chosen] = own[begin:end][chosen]
    return [context]


def _layernorm(node: _Node, inputs: list[Array], batch: _Batch) -> list[Array]:
    outputs = layernorm.layernorm(inputs[0], **node.layernorm(inputs[0].shape[1]))
    return [output for output in outputs if output is not None]


def _rotary(node: _Node, inputs: list[Array], batch: _Batch) -> list[Array]:
    pairs = node.integer("pairs")
    size = (int(batch.position.max()) + 1) * pairs
    cosine, sine = (node.array(role, size).reshape(-1, pairs) for role in ("cosine", "sine"))
    shape = {name: node.integer(name) for name in ("head_dim", "shift")}
    return [rotary.rotary(inputs[0], batch.position, cosine, sine, **shape)]


def _multiply(node: _Node, inputs: list[Array], batch: _Batch) -> list[Array]:
    width, narrow = inputs[0].shape[1], batch.dtypes[node.node.outputs[0]] == "s8"
    constants = [node.array(role, width) for role in ("multiplier", "shift")]
    zero_point = node.integer("zero_point") if narrow else None
    return [multiply.multiply(*inputs, *constants, zero_point=zero_point)]


def _lookup(node: _Node, inputs: list[Array], batch: _Batch) -> list[Array]:
    return [lookup.lookup(inputs[0], node.array("table", 513))]


def _neighbours(node: _Node, inputs: list[Array], batch: _Batch) -> list[Array]:
    return [neighbours.neighbours(inputs[0], batch.offsets, reach=node.integer("reach"))]


def _pool(node: _Node, inputs: list[Array], batch: _Batch) -> list[Array]:
    kind, token = str(node.node.attributes["kind"]), node.integer("token")
    return [pool.pool(inputs[0], batch.offsets, kind=kind, ids=batch.word, token=token)]


def _match(node: _Node, inputs: list[Array], batch: _Batch) -> list[Array]:
    pairs = zip(inputs[::2], inputs[1::2], strict=True)
    columns = [match.match(*pair, batch.offsets, shift=node.integer("shift")) for pair in pairs]
    return [np.stack(columns, axis=1)]


def _normalize(node: _Node, inputs: list[Array], batch: _Batch) -> list[Array]:
    return [normalize.normalize(inputs[0])]


_RUN: dict[str, Callable[[_Node, list[Array], _Batch], list[Array]]] = {
    "embedding": _embedding,
    "linear": _linear,
    "attention": _attention,
    "layernorm": _layernorm,
    "lookup": _lookup,
    "rotary": _rotary,
    "multiply": _multiply,
    "neighbours": _neighbours,
    "match": _match,
    "pool": _pool,
    "normalize": _normalize,
}


def run_buffers(
    program: Program,
    tensors: Tensors,
    ids: Sequence[Sequence[int]],
    types: Sequence[Sequence[int]] | None = None,
) -> dict[int, Array]:
    """Every buffer of the program after a batch: {buffer number: [rows, width]}.

    tensors: the file's constants by name, in file layout and padding. ids and types: token ids and
    token types of every sequence (types default to 0). Raises ValueError for ids, lengths or
    constants that do not agree with the program, BudgetError when an integer leaves its type.
    """
    batch = _Batch(program, ids, types)
    buffers: dict[int, Array] = {}
    for node in program.nodes:
        results = _RUN[node.op](_Node(node, tensors), [buffers[i] for i in node.inputs], batch)
        # A layernorm may list its int8 and int16 outputs in either order.
        by_dtype = {result.dtype.type: result for result in results}
        for number in node.outputs:
            spec = program.buffers[number]
            rows = batch.offsets[-1] if spec.rows == "tokens" else len(ids)
            result = by_dtype.pop(_DTYPE[spec.dtype], None)
            if result is None or result.shape != (rows, spec.width):
                raise ValueError(f"{node.name}: no result fits buffer {number}, {spec}")
            buffers[number] = result
        if by_dtype:
            raise ValueError(f"{node.name}: no buffer takes its {list(by_dtype)} result")
    return buffers


def run(
    program: Program,
    tensors: Tensors,
    ids: Sequence[Sequence[int]],
    types: Sequence[Sequence[int]] | None = None,
) -> dict[str, Array]:
    """The integer outputs of a batch, {output name: [tokens or sequences, width]}; see `run_buffers`."""
    buffers = run_buffers(program, tensors, ids, types)
    return {output.name: buffers[output.buffer] for output in program.outputs}


def prove(program: Program, tensors: Tensors) -> dict[str, Ledger]:
    """The proven range of every intermediate, {node name: ledger}, over all inputs.

    Raises BudgetError naming the node when one can leave its type.
    """
    return {node.name: _prove(node, program, tensors) for node in program.nodes}


def _prove(spec: Node, program: Program, tensors: Tensors) -> Ledger:
    node = _Node(spec, tensors)
    source = program.buffers[spec.inputs[0]] if spec.inputs else None
    try:
        if source is None:
            roles = [role for role in ("word", "position", "type") if node.has(role)]
            return embedding.worst_case(
                [node.array(role + "_multiplier") for role in roles], node.integer("shift")
            )
        if spec.op == "linear":
            wide = source.dtype == "s16"
            return linear.worst_case(node.integer("in_features"), wide=wide, **node.linear())
        if spec.op == "attention":
            length, dim = program.limits.max_length, node.integer("head_dim")
            if len(spec.inputs) == 3:
                attention.worst_case(length, dim, **node.heads("global_"))
            return attention.worst_case(length, dim, **node.attention())
        if spec.op == "layernorm":
            return layernorm.worst_case(source.width, **node.layernorm(source.width))
        if spec.op == "rotary":
            return rotary.worst_case(node.integer("shift"))
        if spec.op == "multiply":
            return multiply.worst_case()
        if spec.op == "neighbours":
            return {}  # copies
        if spec.op == "match":
            return match.worst_case(source.width, node.integer("shift"))
        if spec.op == "pool":
            return pool.worst_case(program.limits.max_length)
        if spec.op == "normalize":
            return normalize.worst_case(source.width)
        return lookup.worst_case()
    except BudgetError as error:
        raise BudgetError(f"{spec.name}: {error}") from error
