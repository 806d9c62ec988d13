"""pyqrt.ops on CUDA tensors: the bytes of the same call on CPU tensors, in the caller's stream."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gpu.targets import TARGETS
from ops.harness import difference
from ops.test_linear import EPILOGUES, make_case, seeded
from pyqrt import ModelError, ops


@pytest.fixture(autouse=True)
def gpu() -> None:
    TARGETS[-1].modules()


def both(op: str, *arguments: Any, **named: Any) -> None:
    """Calls ops.<op> on CPU tensors and on the GPU's, and compares."""

    def tensors(value: Any, device: str) -> Any:
        if isinstance(value, np.ndarray):
            return torch.from_numpy(np.ascontiguousarray(value)).to(device)
        if isinstance(value, list | tuple):
            return type(value)(tensors(item, device) for item in value)
        return value

    def call(device: str) -> Any:
        results = getattr(ops, op)(
            *tensors(arguments, device), **{name: tensors(value, device) for name, value in named.items()}
        )
        many = results if isinstance(results, tuple) else (results,)
        assert all(result is None or result.device.type == device for result in many)
        return tuple(None if result is None else result.cpu().numpy() for result in many)

    problem = difference(call("cuda"), call("cpu"))
    assert not problem, problem


def random(rng: np.random.Generator, limit: int, dtype: Any, *shape: int) -> Any:
    return rng.integers(-limit, limit + 1, shape).astype(dtype)


@pytest.mark.parametrize("wide", [False, True], ids=["s8", "s16"])
@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_linear(epilogue: str, wide: bool) -> None:
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
def test_attention(window: int | None) -> None:
    rng = seeded(1)
    offsets = np.array([0, 1, 1, 70, 200], np.int32)
    rows = [random(rng, 127, np.int8, 201, 96) for _ in range(3)]
    heads = [np.full(3, value, np.int32) for value in (20000, 9000, 1)]
    both("attention", *rows, offsets, *heads, zero_point=-3, window=window)


def test_layernorm() -> None:
    rng = seeded(2)
    rows = random(rng, 32767, np.int16, 33, 300)
    gain, bias = random(rng, 9000, np.int16, 300), random(rng, 9000, np.int32, 300)
    both("layernorm", rows, epsilon=7, gain8=gain, bias8=bias, shift8=14, gain16=gain, bias16=bias, shift16=9)
    both("layernorm", rows, gain8=gain, bias8=bias, shift8=14, normalize=False)


def test_rows() -> None:
    rng = seeded(3)
    rows = random(rng, 32767, np.int16, 40, 77)
    both("normalize", rows)
    both("lookup", rows, random(rng, 32767, np.int16, 513))
    for kind in ("mean", "first", "last", "max"):
        both("pool", rows, np.array([0, 3, 3, 40], np.int32), kind=kind)
    table = random(rng, 127, np.int8, 9, 77), rng.integers(0, 2**15, 9).astype(np.int16)
    index = rng.integers(0, 9, 20).astype(np.int32)
    both("embedding", [(*table, index), (*table, index[::-1].copy())], shift=6)


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
