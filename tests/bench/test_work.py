"""Work is counted exactly: against numbers worked out by hand."""

from __future__ import annotations

import pytest

from pyqrt.bench.work import multiply_accumulates, weight_bytes
from pyqrt.program import Buffer, Limits, Node, Output, Program


def linear(name: str, source: int, target: int, inputs: int, outputs: int, weight: str) -> Node:
    attributes: dict[str, int | str] = {"in_features": inputs, "out_features": outputs}
    return Node("linear", name, (source,), (target,), attributes, {"weight": weight})


PROGRAM = Program(
    limits=Limits(100, 50, 1),
    buffers=(
        Buffer("s8", "tokens", 6),
        Buffer("s8", "tokens", 18),
        Buffer("s8", "tokens", 6),
        Buffer("s16", "tokens", 6),
        Buffer("s16", "sequences", 6),
        Buffer("s32", "sequences", 5),
    ),
    nodes=(
        linear("query_key_value", 0, 1, 6, 18, "a"),
        Node("attention", "attention", (1,), (2,), {"num_heads": 3, "head_dim": 2}, {}),
        linear("output", 2, 3, 6, 6, "b"),
        Node("pool", "pool", (3,), (4,), {"kind": "first"}, {}),
        linear("classifier", 4, 5, 6, 5, "c"),
    ),
    outputs=(Output("logits", 5, 1.0),),
)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([], 0),
        # a token: 6 * 18 + 6 * 6 = 144. attention of n tokens: 2 * n * n * 3 * 2 = 12 n n.
        # a sequence: 6 * 5 = 30.
        ([1], 144 + 12 + 30),
        ([7], 7 * 144 + 12 * 49 + 30),
        ([7, 1, 3], 11 * 144 + 12 * (49 + 1 + 9) + 3 * 30),
    ],
)
def test_multiply_accumulates(lengths: list[int], expected: int) -> None:
    assert multiply_accumulates(PROGRAM, lengths) == expected


def test_weights_count_once_and_without_padding() -> None:
    assert weight_bytes(PROGRAM) == 6 * 18 + 6 * 6 + 6 * 5
    shared = PROGRAM._replace(nodes=(*PROGRAM.nodes, linear("again", 2, 3, 6, 6, "b")))
    assert weight_bytes(shared) == weight_bytes(PROGRAM)
    assert multiply_accumulates(shared, [2]) == multiply_accumulates(PROGRAM, [2]) + 2 * 36


def test_other_nodes_are_no_work() -> None:
    norm = Node("layernorm", "norm", (3,), (0,), {"epsilon": 1}, {})
    more = PROGRAM._replace(nodes=(norm, *PROGRAM.nodes))
    assert multiply_accumulates(more, [9, 2]) == multiply_accumulates(PROGRAM, [9, 2])
