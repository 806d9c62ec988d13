"""Ranges of activations that came with the weights, from quantization-aware training elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pyqrt.errors import ModelError
from pyqrt.models import Family
from pyqrt.nn import EncoderConfig
from pyqrt.quantize.checkpoint.weights import canonical_name

UNTRAINED = 1e-5  # what I-BERT's extremes are before any token has been seen


def read_limits(
    tensors: Mapping[str, Tensor], family: Family, hf: Mapping[str, Any], config: EncoderConfig
) -> dict[str, float]:
    """Largest magnitude of an activation by tap name; empty if the checkpoint has no trained ranges.

    Where several ranges bound a tensor in turn, the narrowest counts. Raises ModelError if ranges are
    missing, not finite or reversed, or only some of them are trained.
    """
    describe = getattr(family, "activation_ranges", None)
    modules: dict[str, tuple[str, ...]] = describe(hf, config) if describe else {}
    by_name = {canonical_name(name, family.PREFIX): tensor for name, tensor in tensors.items()}

    def limit(module: str) -> float:
        ends = [by_name.get(f"{module}.{end}") for end in ("x_min", "x_max")]
        if any(end is None or end.numel() != 1 for end in ends):
            raise ModelError(
                f"quant_mode is true, but {module} has no x_min and x_max of one value each: save the model "
                "after quantization-aware training, or set quant_mode to false to calibrate"
            )
        low, high = (float(end) for end in ends if end is not None)
        if not -float("inf") < low <= high < float("inf"):
            raise ModelError(f"the range of {module} is [{low}, {high}]; it must be finite and ordered")
        return max(abs(low), abs(high))

    limits = {tap: [limit(module) for module in names] for tap, names in modules.items()}
    untrained = [tap for tap, bounds in limits.items() if min(bounds) <= 1.1 * UNTRAINED]
    if limits and len(untrained) == len(limits):
        return {}
    if untrained:
        raise ModelError(
            f"the ranges of {', '.join(untrained[:4])} ({len(untrained)} of {len(limits)}) were never "
            "trained: train on, or set quant_mode to false to calibrate"
        )
    return {tap: min(bounds) for tap, bounds in limits.items()}
