"""The whole-program oracle: every kind of node, the batch's independence, what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oracle import attention, embedding, layernorm, linear, lookup, normalize, pool
from oracle.budget import BudgetError
from oracle.program import prove, run, run_buffers
from pyqrt.program import Buffer, Limits, Node, Output, Program

WIDTH, HEADS, FFN = 20, 2, 37
RNG = np.random.default_rng(11)
IDS = [[3, 1, 4, 1, 5], [], [9], [2, 6, 5, 3, 5, 8, 9]]
TYPES = [[0, 0, 0, 1, 1], [], [1], [0] * 7]


def padded(array: Any, unit: int, fill: int = 0) -> Any:
    """With extra entries along the first axis, up to a multiple of `unit`."""
    extra = -len(array) % unit
    return np.pad(array, [(0, extra)] + [(0, 0)] * (array.ndim - 1), constant_values=fill)


def linear_tensors(name: str, n: int, k: int, shift: int, gelu: bool = False) -> dict[str, Any]:
    weight = RNG.integers(-127, 128, (n, k)).astype(np.int8)
    blocks = np.pad(weight, ((0, -n % 16), (0, -k % 4))).reshape(-(-n // 16), 16, -(-k // 4), 4)
    tensors = {
        "weight": blocks.transpose(0, 2, 1, 3),
        "weight_sum": padded(weight.sum(axis=1, dtype=np.int32), 16),
        "bias": padded(RNG.integers(-9999, 9999, n).astype(np.int32), 16),
        "multiplier": padded(RNG.integers(2**30, 2**31, n).astype(np.int32), 16, 2**30),
        "shift": padded(np.full(n, shift, np.int32), 16, 33),
    }
    if gelu:
        tensors["gelu_multiplier"] = padded(RNG.integers(0, 32768, n).astype(np.int16), 32)
    return {f"{name}.{role}": tensor for role, tensor in tensors.items()}


def norm_tensors(name: str) -> dict[str, Any]:
    tensors: dict[str, Any] = {}
    for suffix in ("8", "16"):
        tensors[f"{name}.gain{suffix}"] = padded(RNG.integers(-9999, 9999, WIDTH).astype(np.int16), 32)
        tensors[f"{name}.bias{suffix}"] = padded(RNG.integers(-9999, 9999, WIDTH).astype(np.int32), 16)
    return tensors


def table_tensors(role: str, entries: int) -> dict[str, Any]:
    data = RNG.integers(-127, 128, (entries, WIDTH)).astype(np.int8)
    scale = RNG.integers(0, 32768, entries).astype(np.int16)
    return {f"in.{role}": padded(data, 16), f"in.{role}_multiplier": padded(scale, 32)}


def node(
    op: str, name: str, inputs: tuple[int, ...], outputs: tuple[int, ...], tensors: str, **attributes: Any
) -> Node:
    """`tensors`: the op's roles, stored under "<name>.<role>"."""
    roles = {role: f"{name}.{role}" for role in tensors.split()}
    return Node(op, name, inputs, outputs, attributes, roles)


LINEAR = "weight weight_sum bias multiplier shift"
NORM = "gain8 bias8 gain16 bias16"
SHAPE = {"in_features": WIDTH, "out_features": WIDTH}
PROGRAM = Program(
    limits=Limits(vocab_size=30, max_length=8, type_vocab_size=2),
    buffers=(
        Buffer("s16", "tokens", WIDTH),  # 0 embedding
        Buffer("s16", "tokens", WIDTH),  # 1 residual, listed before its int8 twin
        Buffer("s8", "tokens", WIDTH),  # 2
        Buffer("s8", "tokens", 3 * WIDTH),  # 3 queries, keys, values
        Buffer("s8", "tokens", WIDTH),  # 4 context
        Buffer("s16", "tokens", WIDTH),  # 5 sum
        Buffer("s8", "tokens", FFN),  # 6
        Buffer("s16", "sequences", WIDTH),  # 7 pooled
        Buffer("s16", "sequences", WIDTH),  # 8 tanh
        Buffer("s32", "sequences", 3),  # 9 logits
        Buffer("s32", "sequences", WIDTH),  # 10 unit vector
        Buffer("s16", "tokens", FFN),  # 11
    ),
    nodes=(
        node(
            "embedding",
            "in",
            (),
            (0,),
            "word word_multiplier position position_multiplier type type_multiplier",
            shift=9,
            position_offset=2,
        ),
        node("layernorm", "norm", (0,), (1, 2), NORM, epsilon=77, shift8=16, shift16=9),
        node(
            "linear",
            "qkv",
            (2,),
            (3,),
            LINEAR,
            epilogue="requantize_s8",
            in_features=WIDTH,
            out_features=3 * WIDTH,
            pre_shift=0,
            zero_point=0,
        ),
        node(
            "attention",
            "attention",
            (3,),
            (4,),
            "score_multiplier output_multiplier output_exponent",
            num_heads=HEADS,
            head_dim=WIDTH // HEADS,
            zero_point=5,
        ),
        node(
            "linear",
            "out",
            (4, 1),
            (5,),
            LINEAR,
            epilogue="residual_s16",
            **SHAPE,
            pre_shift=0,
            zero_point=0,
            residual_multiplier=16384,
            residual_shift=15,
        ),
        node(
            "linear",
            "up",
            (5,),
            (6,),
            LINEAR + " gelu_multiplier",
            epilogue="gelu_s8",
            in_features=WIDTH,
            out_features=FFN,
            pre_shift=2,
            zero_point=-90,
            gelu_shift=20,
        ),
        node("pool", "pool", (5,), (7,), "", kind="mean"),
        node("lookup", "tanh", (7,), (8,), "table"),
        node(
            "linear",
            "head",
            (8,),
            (9,),
            LINEAR,
            epilogue="requantize_s32",
            in_features=WIDTH,
            out_features=3,
            pre_shift=3,
            zero_point=0,
        ),
        node("normalize", "unit", (7,), (10,), ""),
        node(
            "linear",
            "wide",
            (5,),
            (11,),
            LINEAR,
            epilogue="gelu_s16",
            in_features=WIDTH,
            out_features=FFN,
            pre_shift=2,
            zero_point=0,
        ),
    ),
    outputs=(Output("logits", 9, 0.5), Output("embedding", 10, 2.0**-30)),
)

TENSORS: dict[str, Any] = {
    **table_tensors("word", 30),
    **table_tensors("position", 10),
    **table_tensors("type", 2),
    **norm_tensors("norm"),
    **linear_tensors("qkv", 3 * WIDTH, WIDTH, 40),
    "attention.score_multiplier": padded(np.array([30000, 70000], np.int32), 16),
    "attention.output_multiplier": padded(np.array([2**13, 2**14 - 1], np.int32), 16),
    "attention.output_exponent": padded(np.array([1, 0], np.int32), 16),
    **linear_tensors("out", WIDTH, WIDTH, 36),
    **linear_tensors("up", FFN, WIDTH, 42, gelu=True),
    "tanh.table": padded(np.round(np.tanh(np.arange(-256, 257) / 64) * 32767).astype(np.int16), 32),
    **linear_tensors("head", 3, WIDTH, 36),
    **linear_tensors("wide", FFN, WIDTH, 42),
}  # fmt: skip


def call_linear(name: str, n: int, k: int, input: Any, **keywords: Any) -> Any:
    arrays = {role: TENSORS[f"{name}.{role}"][:n] for role in ("bias", "multiplier", "shift")}
    weight = linear.unpack_weight(TENSORS[f"{name}.weight"], n, k)
    return linear.linear(input, weight, **arrays, **keywords)


def test_every_node_by_hand() -> None:
    """The same chain of ops, written out."""
    buffers = run_buffers(PROGRAM, TENSORS, IDS, TYPES)
    offsets = [0, 5, 5, 6, 13]
    positions = [*range(5), *range(1), *range(7)]
    word, kind = ([value for row in rows for value in row] for rows in (IDS, TYPES))
    index = {"word": word, "position": [2 + p for p in positions], "type": kind}
    tables = [(TENSORS[f"in.{r}"], TENSORS[f"in.{r}_multiplier"], np.array(i)) for r, i in index.items()]
    stream = embedding.embedding(tables, shift=9)
    affine = {role: TENSORS[f"norm.{role}"][:WIDTH] for role in NORM.split()}
    small, residual = layernorm.layernorm(stream, epsilon=77, shift8=16, shift16=9, **affine)
    qkv = call_linear("qkv", 3 * WIDTH, WIDTH, small)
    heads = {r: TENSORS[f"attention.{r}"][:HEADS] for r in PROGRAM.nodes[3].tensors}
    q, k, v = qkv[:, :WIDTH], qkv[:, WIDTH : 2 * WIDTH], qkv[:, 2 * WIDTH :]
    context = attention.attention(q, k, v, offsets, **heads, zero_point=5)
    total = call_linear(
        "out", WIDTH, WIDTH, context, epilogue="residual_s16", residual=residual,
        residual_multiplier=16384, residual_shift=15,
    )  # fmt: skip
    factors = TENSORS["up.gelu_multiplier"][:FFN]
    up = call_linear(
        "up", FFN, WIDTH, total, epilogue="gelu_s8", pre_shift=2, zero_point=-90,
        gelu_multiplier=factors, gelu_shift=20,
    )  # fmt: skip
    pooled = pool.pool(total, offsets)
    bent = lookup.lookup(pooled, TENSORS["tanh.table"][:513])
    logits = call_linear("head", 3, WIDTH, bent, epilogue="requantize_s32", pre_shift=3)
    unit = normalize.normalize(pooled)
    wide = call_linear("wide", FFN, WIDTH, total, epilogue="gelu_s16", pre_shift=2)
    expected = [stream, residual, small, qkv, context, total, up, pooled, bent, logits, unit, wide]
    for number, array in enumerate(expected):
        assert array is not None
        assert buffers[number].dtype == array.dtype
        assert np.array_equal(buffers[number], array), number
        assert len(np.unique(array)) > 5, number  # not saturated, not constant
    outputs = run(PROGRAM, TENSORS, IDS, TYPES)
    assert np.array_equal(outputs["logits"], logits)
    assert np.array_equal(outputs["embedding"], unit)


def test_sequences_do_not_meet() -> None:
    together = run(PROGRAM, TENSORS, IDS, TYPES)
    for row, (ids, types) in enumerate(zip(IDS, TYPES, strict=True)):
        alone = run(PROGRAM, TENSORS, [ids], [types])
        for name, values in together.items():
            assert np.array_equal(alone[name][0], values[row])


def test_types_default_to_zero() -> None:
    zeros = [[0] * len(ids) for ids in IDS]
    first, second = run(PROGRAM, TENSORS, IDS), run(PROGRAM, TENSORS, IDS, zeros)
    assert np.array_equal(first["logits"], second["logits"])
    assert not np.array_equal(first["logits"], run(PROGRAM, TENSORS, IDS, TYPES)["logits"])


@pytest.mark.parametrize(
    ("ids", "types", "words"),
    [
        ([[30]], None, "30"),
        ([[-1]], None, "-1"),
        ([[1, 2]], [[0, 2]], "2"),
        ([[1, 2]], [[0]], "length"),
        ([[1] * 9], None, "longer"),
    ],
)
def test_refuses_bad_input(ids: list[list[int]], types: list[list[int]] | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        run(PROGRAM, TENSORS, ids, types)


def changed(name: str, position: tuple[int, ...], value: int) -> dict[str, Any]:
    tensor = TENSORS[name].copy()
    tensor[position] = value
    return TENSORS | {name: tensor}


def test_refuses_bad_constants() -> None:
    with pytest.raises(ValueError, match="out: weight_sum"):
        run(PROGRAM, changed("out.weight_sum", (3,), 99999), IDS)
    with pytest.raises(ValueError, match="out: the weight's padding"):
        run(PROGRAM, changed("out.weight", (1, 0, 15, 0), 1), IDS)
    narrow = (*PROGRAM.buffers[:10], Buffer("s32", "sequences", WIDTH + 1), *PROGRAM.buffers[11:])
    with pytest.raises(ValueError, match="unit: no result fits"):
        run(PROGRAM._replace(buffers=narrow), TENSORS, IDS)


def test_proves_every_node() -> None:
    ledgers = prove(PROGRAM, TENSORS)
    assert list(ledgers) == [node.name for node in PROGRAM.nodes]
    assert all(ledgers.values())
    assert ledgers["attention"]["S"].high == 127 * 127 * WIDTH // HEADS
    with pytest.raises(BudgetError, match="head: acc"):
        prove(PROGRAM, changed("head.bias", (2,), 2**31 - 1))
    changes = changed("norm.bias16", (1,), 2**30 - 1) | {"norm.gain16": np.full(32, 32767, np.int16)}
    louder = [n._replace(attributes=n.attributes | {"shift16": 30}) for n in PROGRAM.nodes]
    with pytest.raises(BudgetError, match="norm: y"):
        prove(PROGRAM._replace(nodes=tuple(louder)), changes)
