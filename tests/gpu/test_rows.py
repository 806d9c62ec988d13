"""The ops that go row by row: layernorm, embedding, pool, normalize, lookup."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from gpu import calls
from gpu.targets import Target
from ops.harness import difference, packed_offsets, random_s8, random_s16
from pyqrt import ops

WIDTHS = (1, 7, 8, 9, 31, 33, 255, 256, 257, 384, 1000)


def same(actual: Any, expected: Any) -> None:
    problem = difference(actual, expected)
    assert not problem, problem


def layernorm_case(width: int, rows: int = 6) -> dict[str, Any]:
    rng = np.random.default_rng(width)
    x = random_s16(rng, rows, width)
    x[0] = 1234  # no variance at all
    x[1] = 5
    x[1, 0] = 6  # hardly any: a shift to the left
    x[2] = np.where(rng.integers(0, 2, width), 32767, -32767)
    return {
        "input": x,
        "epsilon": 0,
        "gain8": random_s16(rng, width, limit=2000),
        "bias8": rng.integers(-(2**20), 2**20, width).astype(np.int32),
        "shift8": 16,
        "gain16": random_s16(rng, width, limit=20000),
        "bias16": rng.integers(-(2**20), 2**20, width).astype(np.int32),
        "shift16": 14,
    }


@pytest.mark.parametrize("width", [*WIDTHS, 16384])
def test_layernorm(target: Target, width: int) -> None:
    case = layernorm_case(width)
    cases = ((0, True), (12345, True), (2**56, True), (0, False))
    for (epsilon, normalize), exact_mean in product(cases, (False, True)):
        case |= {"epsilon": epsilon, "normalize": normalize, "exact_mean": exact_mean}
        same(calls.layernorm(target, case), ops.layernorm(**case, variant="reference"))


@pytest.mark.parametrize("bits", ["8", "16"])
def test_layernorm_of_one_output(target: Target, bits: str) -> None:
    case = {k: v for k, v in layernorm_case(40).items() if not k.startswith(("gain", "bias", "shift"))}
    case |= {k: v for k, v in layernorm_case(40).items() if k.endswith(bits)}
    same(calls.layernorm(target, case), ops.layernorm(**case, variant="reference"))


@pytest.mark.parametrize("tables", [1, 2, 3, 4])
@pytest.mark.parametrize("width", [1, 33, 100])
def test_embedding(target: Target, tables: int, width: int) -> None:
    rng = np.random.default_rng([tables, width])
    entries = [random_s8(rng, 5 + t, width) for t in range(tables)]
    multipliers = [random_s16(rng, 5 + t) & np.int16(0x7FFF) for t in range(tables)]
    indices = [rng.integers(0, 5 + t, 9).astype(np.int32) for t in range(tables)]
    _, module = target.modules()
    output = target.empty((9, width), np.int16)
    place = target.place
    module.embedding(
        [place(e) for e in entries],
        [place(m) for m in multipliers],
        [place(i) for i in indices],
        9,
        output,
        target.stream(),
    )
    rows = list(zip(entries, multipliers, indices, strict=True))
    same(target.read(output), ops.embedding(rows, shift=9, variant="reference"))


@pytest.mark.parametrize("kind", ["first", "last", "mean", "max", "token"])
@pytest.mark.parametrize("width", [1, 127, 130])
def test_pool(target: Target, kind: str, width: int) -> None:
    lengths = [3, 0, 1, 70, 2]
    x, offsets = random_s16(np.random.default_rng(width), sum(lengths), width), packed_offsets(lengths)
    ids = np.arange(sum(lengths), dtype=np.int32) % 30
    _, module = target.modules()
    output = target.empty((len(lengths), width), np.int16)
    there = [target.place(array) for array in (x, offsets, ids)]
    module.pool(getattr(module.PoolKind, kind), *there, 20, output, target.stream())
    expected = ops.pool(x, offsets, kind=kind, ids=ids, token=20, variant="reference")
    same(target.read(output), expected)


@pytest.mark.parametrize("width", WIDTHS)
def test_normalize(target: Target, width: int) -> None:
    x = random_s16(np.random.default_rng(width), 5, width)
    x[0] = 0
    x[1] = 32767
    x[2] = 0
    x[2, -1] = -1
    _, module = target.modules()
    output = target.empty(x.shape, np.int32)
    module.normalize(target.place(x), output, target.stream())
    same(target.read(output), ops.normalize(x, variant="reference"))


@pytest.mark.parametrize("width", WIDTHS)
def test_lookup(target: Target, width: int) -> None:
    rng = np.random.default_rng(width)
    x, table = random_s16(rng, 5, width), random_s16(rng, 513)
    x[0] = 32767
    x[1] = -32767
    _, module = target.modules()
    output = target.empty(x.shape, np.int16)
    module.lookup(target.place(x), target.place(table), output, target.stream())
    same(target.read(output), ops.lookup(x, table, variant="reference"))
