"""Calls of single CUDA kernels, with the arguments that `pyqrt.ops` takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu.targets import Array, Target
from pyqrt import ops

OUTPUT_TYPE = {
    "requantize_s8": np.int8,
    "requantize_s16": np.int16,
    "requantize_s32": np.int32,
    "gelu_s8": np.int8,
    "gelu_s16": np.int16,
    "residual_s16": np.int16,
}


def padded(array: Array, multiple: int, fill: int) -> Array:
    """As a model file has per-channel arrays: whole blocks."""
    room = -len(array) % multiple
    return np.concatenate([array, np.full(room, fill, array.dtype)])


def linear(target: Target, case: dict[str, Any], tile: str = "any") -> Array:
    _, module = target.modules()
    case = dict(case)
    epilogue = case["epilogue"]
    weight = case["weight"]
    output = target.empty((len(case["input"]), len(weight)), OUTPUT_TYPE[epilogue])
    gelu_multiplier, residual = case.get("gelu_multiplier"), case.get("residual")
    module.linear(
        target.place(case["input"]),
        target.place(ops.pack_weight(weight).reshape(-1)),
        target.place(padded(case["bias"], 16, 0)),
        target.place(padded(case["multiplier"], 16, 2**30)),
        target.place(padded(case["shift"], 16, 40)),
        case["pre_shift"],
        getattr(module.LinearEpilogue, epilogue),
        case.get("zero_point", 0),
        None if gelu_multiplier is None else target.place(padded(gelu_multiplier, 32, 0)),
        case.get("gelu_shift", 1),
        None if residual is None else target.place(residual),
        case.get("residual_multiplier", 0),
        case.get("residual_shift", 1),
        output,
        getattr(module.TileSize, tile),
        target.stream(),
        case.get("polynomial", "minimax"),
    )
    return target.read(output)


def attention(target: Target, case: dict[str, Any], longest: int | None = None) -> Array:
    _, module = target.modules()
    output = target.place(np.zeros(case["key"].shape, np.int8))
    module.attention(
        *(target.place(case[name]) for name in ("query", "key", "value", "offsets")),
        int(np.diff(case["offsets"]).max(initial=0)) if longest is None else longest,
        target.place(case["score_multiplier"].astype(np.uint32).view(np.int32)).view(np.uint32)
        if target.capability
        else target.place(case["score_multiplier"].astype(np.int32)),
        target.place(case["output_multiplier"]),
        target.place(case["output_exponent"]),
        case["zero_point"],
        output,
        target.stream(),
        case.get("polynomial", "minimax"),
        -1 if case.get("window") is None else case["window"],
        *(
            target.place(case[name]) if name in case else None
            for name in ("relative_index", "relative_bias", "relative_key", "relative_query")
        ),
        case.get("global_key", False),
        case.get("global_query", False),
        target.place(case["ids"]) if "ids" in case else None,
        case.get("until", -1),
        case.get("after", -1),
        case.get("block", 0),
        case.get("block_beyond", 0),
        target.place(case["block_bias"]) if "block_bias" in case else None,
    )
    return target.read(output)


def layernorm(target: Target, case: dict[str, Any]) -> tuple[Array | None, Array | None]:
    _, module = target.modules()
    shape = case["input"].shape
    place: Any = lambda name: None if case.get(name) is None else target.place(case[name])  # noqa: E731
    outputs = [
        target.empty(shape, dtype) if case.get(f"gain{bits}") is not None else None
        for bits, dtype in ((8, np.int8), (16, np.int16))
    ]
    module.layernorm(
        target.place(case["input"]),
        case["epsilon"],
        place("gain8"),
        place("bias8"),
        case.get("shift8", 1),
        outputs[0],
        place("gain16"),
        place("bias16"),
        case.get("shift16", 1),
        outputs[1],
        target.stream(),
        case.get("normalize", True),
        case.get("exact_mean", False),
    )
    first, second = (None if output is None else target.read(output) for output in outputs)
    return first, second
