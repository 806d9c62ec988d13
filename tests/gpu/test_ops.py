"""pyqrt.ops on CUDA tensors: the bytes of the same call on CPU tensors, in the caller's stream."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from gpu.targets import TARGETS, Target
from ops.harness import difference
from ops.test_linear import EPILOGUES, make_case, seeded
from pyqrt import ModelError, ops
from pyqrt.ops import gpu as gpu_ops


@pytest.fixture(params=[TARGETS[0], TARGETS[-1]], ids=["emulated", "GPU"])
def both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Calls ops.<op> on CPU tensors, and its twin for CUDA tensors, and compares.

    The emulated GPU's memory is the CPU's, so there the twin is called by its own name.
    """
    target: Target = request.param
    _, kernels = target.modules()
    device, twins = ("cpu", gpu_ops) if target.capability else ("cuda", ops)
    if target.capability:
        monkeypatch.setattr(gpu_ops, "_kernels", lambda variant: kernels)
        monkeypatch.setattr(gpu_ops, "_stream", lambda tensor: 0)

    def tensors(value: Any, place: str) -> Any:
        if isinstance(value, np.ndarray):
            return torch.from_numpy(np.ascontiguousarray(value)).to(place)
        if isinstance(value, list | tuple):
            return type(value)(tensors(item, place) for item in value)
        return value

    def call(module: ModuleType, place: str, op: str, arguments: Any, named: dict[str, Any]) -> Any:
        named = {name: tensors(value, place) for name, value in named.items()}
        results = getattr(module, op)(*tensors(arguments, place), **named)
        many = results if isinstance(results, tuple) else (results,)
        assert all(result is None or result.device.type == place for result in many)
        return tuple(None if result is None else result.cpu().numpy() for result in many)

    def compare(op: str, *arguments: Any, **named: Any) -> None:
        expected = call(ops, "cpu", op, arguments, named)
        problem = difference(call(twins, device, op, arguments, named), expected)
        assert not problem, problem

    return compare


Both = Callable[..., None]


def random(rng: np.random.Generator, limit: int, dtype: Any, *shape: int) -> Any:
    return rng.integers(-limit, limit + 1, shape).astype(dtype)


@pytest.mark.parametrize("wide", [False, True], ids=["s8", "s16"])
@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_linear(both: Both, epilogue: str, wide: bool) -> None:
    for m, k, n in ((1, 1, 1), (37, 65, 130), (300, 256, 96)):
        case = make_case(seeded(m, k, n), m, k, n, epilogue, wide)
        weight = case.pop("weight")
        sums = np.zeros((n + 15) // 16 * 16, np.int32)
        sums[:n] = weight.sum(axis=1, dtype=np.int32)
        both(
            "linear",
            case.pop("input"),
            ops.pack_weight(weight),
            sums,
            *(case.pop(name) for name in ("bias", "multiplier", "shift")),
            out_features=n,
            **case,
        )


@pytest.mark.parametrize("window", [None, 5])
def test_attention(both: Both, window: int | None) -> None:
    rng = seeded(1)
    offsets = np.array([0, 1, 1, 70, 200], np.int32)
    rows = [random(rng, 127, np.int8, 201, 96) for _ in range(3)]
    heads = [np.full(3, value, np.int32) for value in (20000, 9000, 1)]
    both("attention", *rows, offsets, *heads, zero_point=-3, window=window)


def test_attention_with_relative_positions(both: Both) -> None:
    rng = seeded(4)
    rows = [random(rng, 127, np.int8, 40, 64) for _ in range(3)]
    heads = [np.full(2, value, np.int32) for value in (20000, 9000, 1)]
    index = rng.integers(0, 5, 2 * 8 + 1).astype(np.int32)
    tables = {
        "relative_bias": random(rng, 9000, np.int32, 2, 5),
        "relative_key": random(rng, 127, np.int8, 5, 64),
        "relative_query": random(rng, 127, np.int8, 5, 64),
    }
    both("attention", *rows, np.array([0, 7, 40], np.int32), *heads, relative_index=index, **tables)


def test_layernorm(both: Both) -> None:
    rng = seeded(2)
    rows = random(rng, 32767, np.int16, 33, 300)
    gain, bias = random(rng, 9000, np.int16, 300), random(rng, 9000, np.int32, 300)
    both("layernorm", rows, epsilon=7, gain8=gain, bias8=bias, shift8=14, gain16=gain, bias16=bias, shift16=9)
    both("layernorm", rows, gain8=gain, bias8=bias, shift8=14, normalize=False)
    both("layernorm", rows, gain8=gain, bias8=bias, shift8=14, exact_mean=True)


def test_rows(both: Both) -> None:
    rng = seeded(3)
    rows = random(rng, 32767, np.int16, 40, 77)
    both("normalize", rows)
    both("lookup", rows, random(rng, 32767, np.int16, 513))
    for kind in ("mean", "first", "last", "max"):
        both("pool", rows, np.array([0, 3, 3, 40], np.int32), kind=kind)
    ids = rng.integers(0, 9, 40).astype(np.int32)
    both("pool", rows, np.array([0, 3, 3, 40], np.int32), kind="token", ids=ids, token=3)
    table = random(rng, 127, np.int8, 9, 77), rng.integers(0, 2**15, 9).astype(np.int16)
    index = rng.integers(0, 9, 20).astype(np.int32)
    both("embedding", [(*table, index), (*table, index[::-1].copy())], shift=6)


@pytest.fixture
def gpu() -> None:
    TARGETS[-1].modules()


@pytest.mark.usefixtures("gpu")
def test_streams_are_respected() -> None:
    """What a slow stream writes is read after it was written, though another stream is free."""
    stream = torch.cuda.Stream()
    rows = torch.zeros((64, 768), dtype=torch.int16, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        rows += 3
        result = ops.normalize(rows)
    stream.synchronize()
    expected = ops.normalize(np.full((64, 768), 3, np.int16))
    np.testing.assert_array_equal(result.cpu().numpy(), expected)


@pytest.mark.usefixtures("gpu")
def test_mistakes_are_named() -> None:
    rows = torch.zeros((4, 8), dtype=torch.int16, device="cuda")
    with pytest.raises(ModelError, match="variant 'avx2' is for arrays on the CPU"):
        ops.normalize(rows, variant="avx2")
    with pytest.raises(TypeError, match=r"input must be torch\.int16, not torch\.int8"):
        ops.normalize(rows.to(torch.int8))
    with pytest.raises(ModelError, match=r"input holds -32768, outside \[-32767, 32767\]"):
        ops.normalize(rows - 32768)
    with pytest.raises(ModelError, match="table is on cpu, the first argument on cuda:0; move it there"):
        ops.lookup(rows, torch.zeros(513, dtype=torch.int16))
    with pytest.raises(ModelError, match="make it contiguous"):
        ops.normalize(rows.T)
