"""The least work of a program: multiply-accumulates and bytes of weights, from the program alone."""

from __future__ import annotations

from collections.abc import Sequence

from pyqrt.program import Node, Program


def multiply_accumulates(program: Program, lengths: Sequence[int], *, planes: bool = False) -> int:
    """Multiply-accumulates of the matrix products for a batch of sequences of these lengths, in tokens.

    linear: inputs times outputs, for each row. attention: n * n * head_dim twice (scores, context)
    for each head and each sequence of n tokens. Each product counts once, however many 8-bit planes
    a kernel cuts its operands into; with `planes` those of a linear layer that reads int16 count twice.
    All else (softmax, norms, embedding, lookups) counts nothing.
    """
    rows = {"tokens": sum(lengths), "sequences": len(lengths)}
    squares = sum(length * length for length in lengths)
    total = 0
    for node in program.nodes:
        if node.op == "linear":
            inputs, outputs = _integers(node, "in_features", "out_features")
            source = program.buffers[node.inputs[0]]
            total += rows[source.rows] * inputs * outputs * (2 if planes and source.dtype == "s16" else 1)
        elif node.op == "attention":
            heads, head_dim = _integers(node, "num_heads", "head_dim")
            first = rows["tokens"] if len(node.inputs) == 3 else 0  # what first tokens see once more
            total += 2 * (squares + first) * heads * head_dim
    return total


def weight_bytes(program: Program) -> int:
    """Bytes of the weights of all linear nodes: what a call reads at least, however few its tokens.

    Weights that several nodes share count once, padding not at all.
    """
    sizes = {}
    for node in program.nodes:
        if node.op == "linear":
            inputs, outputs = _integers(node, "in_features", "out_features")
            sizes[node.tensors["weight"]] = inputs * outputs
    return sum(sizes.values())


def _integers(node: Node, *names: str) -> list[int]:
    return [int(node.attributes[name]) for name in names]
