"""From statistics to scales: the post-training quantization recipe.

Every step is free at run time, being folded into constants the integer program has anyway:
- int16 residual stream and sums, with headroom for what calibration did not see;
- layer norm outputs: per-channel centre and equalization factor, folded into the norm's gain/bias;
- GELU outputs: per-channel factor, folded into the output multiplier, and a zero point; 16 bits
  where outlier channels would make 8 too noisy;
- queries, keys, values: one scale per head; keys and values centred per channel (a constant added
  to every key leaves softmax as it is, one added to every value passes through it);
- context: one scale per head, about the values' centre.

With symmetric grids (`Recipe.grids`), as I-BERT's, an int8 tensor has one scale and nothing else. So have the
tensors whose ranges came with the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch

from pyqrt.errors import ModelError
from pyqrt.grids import (
    GELU_SCALE,
    MAX_S8,
    MAX_S16,
    Grid,
    Scales,
    Vector,
    asymmetric_grid,
    symmetric_grid,
)
from pyqrt.nn import Disentangled, Encoder, EncoderConfig
from pyqrt.nn.activations import is_gelu
from pyqrt.nn.config import RelativeKeys
from pyqrt.quantize.equalize import equalization_factor, predicted_noise
from pyqrt.quantize.recipe import Observer, Recipe
from pyqrt.quantize.simulate import sources
from pyqrt.quantize.statistics import ChannelStatistics, Histogram, PackedBatch, observe

PERCENTILE = 99.99
GELU_HEADROOM = 1.25  # only a positive input beyond the limit changes the result
TANH_LIMIT = 8.0  # beyond it tanh is 1 within 3e-7

_Transform = tuple[Vector, Vector]  # factor, shift


def choose_scales(
    encoder: Encoder,
    statistics: Mapping[str, ChannelStatistics],
    batches: Callable[[], Iterable[PackedBatch]],
    recipe: Recipe,
    limits: Mapping[str, float] | None = None,
) -> Scales:
    """Decides every scale from what calibration saw.

    statistics: of every tap; batches: the same data again, for an observer other than "minmax".
    limits: largest magnitudes that are known beforehand, by tap name (`Checkpoint.limits`): no calibration
    changes them.
    """
    limits = limits or {}
    transforms = _transforms(encoder, statistics, recipe)
    symmetric = {name for name in transforms if recipe.grids == "symmetric" or name in limits}
    for name in symmetric:
        transforms[name] = _plain(transforms[name])
    ranges = {
        name: (float(((s.low - shift) / factor).min()), float(((s.high - shift) / factor).max()))
        for name, (factor, shift) in transforms.items()
        for s in [statistics[name]]
    }
    if recipe.observer != "minmax":
        ranges = _clipped_ranges(encoder, batches(), transforms, ranges, recipe.observer)
    for name in transforms:  # their products are added, so they share a grid
        if ".relative_" in name:
            both = name, name.replace(".relative_", ".")
            low, high = min(ranges[n][0] for n in both), max(ranges[n][1] for n in both)
            ranges |= dict.fromkeys(both, (low, high))
    ranges |= {name: (-limits[name], limits[name]) for name in transforms if name in limits}
    grids = {
        name: _symmetric(ranges[name], *transforms[name])
        if _per_head(name) or name in symmetric
        else asymmetric_grid(*ranges[name], *transforms[name])
        for name in transforms
    }
    wide = _wide_scales(encoder.config, statistics, recipe.headroom, limits)
    return Scales(grids, wide, recipe.polynomial, exact_mean=True)


def _plain(transform: _Transform) -> _Transform:
    """One factor for all channels, no shift."""
    return np.ones_like(transform[0]), np.zeros_like(transform[1])


def _per_head(name: str) -> bool:
    kinds = ("query", "key", "value", "context", "relative_query", "relative_key")
    return name.rsplit(".", 1)[-1] in kinds


def _symmetric(bounds: tuple[float, float], factor: Vector, shift: Vector) -> Grid:
    return symmetric_grid(factor * max(abs(bounds[0]), abs(bounds[1]), 1e-12), shift)  # 0: a dead tensor


def _transforms(
    encoder: Encoder, statistics: Mapping[str, ChannelStatistics], recipe: Recipe
) -> dict[str, _Transform]:
    """Per-channel factor and shift of every int8 tensor."""
    config = encoder.config
    transforms: dict[str, _Transform] = {}

    def equalized(name: str, shift: Vector, *consumers: torch.nn.Linear) -> None:
        weight = np.concatenate([c.weight.detach().double().numpy() for c in consumers])
        transforms[name] = (equalization_factor(statistics[name], shift, weight), shift)

    def per_head(name: str, shift: Vector, *relatives: str) -> None:
        """One factor for each head; `relatives` are tensors that share the grid, being added to products."""
        same = [other for other in (name, *relatives) if other in statistics]
        limits = np.max([statistics[other].limit(shift) for other in same], axis=0)
        limit = np.repeat(limits.reshape(config.num_attention_heads, -1).max(axis=1), config.head_dim)
        for other in same:
            transforms[other] = (np.maximum(limit, 1e-12), shift)

    for name, readers in encoder.readers().items():
        prefix, _, kind = name.rpartition(".")
        if kind == "context":
            values = statistics[f"{prefix}.value"].center
            zeros = np.zeros(config.layer_size)
            # what is added to every key may change only scores with positions
            placed = isinstance(config.relative, (Disentangled, RelativeKeys)) or config.rotary is not None
            key_center = zeros if placed else statistics[f"{prefix}.key"].center
            per_head(f"{prefix}.query", zeros, f"{prefix}.relative_query")
            per_head(f"{prefix}.key", key_center, f"{prefix}.relative_key")
            per_head(f"{prefix}.value", values)
            if f"{prefix}.globals.value" in statistics:
                per_head(f"{prefix}.globals.query", zeros)
                per_head(f"{prefix}.globals.key", statistics[f"{prefix}.globals.key"].center)
                per_head(f"{prefix}.globals.value", values)  # as of all values: the context is one tensor
            per_head(name, values)
        elif kind in ("input", "output"):
            equalized(name, statistics[name].center, *readers)
        elif kind == "product" or (
            kind == "activation" and _fused_gelu(config.hidden_act, statistics[f"{prefix}.up"])
        ):
            equalized(name, np.zeros(config.intermediate_size), *readers)
            noise = _noise(transforms[name][0], statistics[name], *readers)
            if noise > recipe.wide_noise * _bulk_power(statistics[f"{prefix}.sum"]):
                del transforms[name]
    head = encoder.head
    if config.head.task == "masked_lm" and head.norm is not None and head.classifier is not None:
        equalized("head.normalized", statistics["head.normalized"].center, head.classifier)
    for name in recipe.wide:
        if name not in wide_choices(encoder):
            raise ModelError(
                f"the recipe's wide names {name!r}; tensors that may stay in 16 bits are "
                + ", ".join(wide_choices(encoder))
            )
        transforms.pop(name, None)
    return transforms


def wide_choices(encoder: Encoder) -> list[str]:
    """Names of the tensors that may be 8 or 16 bits wide: what linear layers read, contexts apart."""
    names = dict.fromkeys((*encoder.readers(), *sources(encoder).values()))
    return [name for name in names if not _per_head(name)]


def _fused_gelu(activation: str, before: ChannelStatistics) -> bool:
    """Does the fused GELU apply to what calibration saw before the activation?"""
    return is_gelu(activation) and float(before.high.max()) * GELU_HEADROOM < MAX_S16 * GELU_SCALE


def _noise(factor: Vector, statistics: ChannelStatistics, consumer: torch.nn.Linear) -> float:
    moment = statistics.second_moment(np.zeros_like(factor))
    weight = consumer.weight.detach().double().numpy()
    return predicted_noise(factor, statistics.low, statistics.high, moment, weight)


def _bulk_power(stream: ChannelStatistics) -> float:
    """Variance of the residual stream's row if every channel were like the median one."""
    variance = stream.second_moment(stream.total / max(stream.count, 1))
    return float(np.median(variance)) * len(variance)


def _clipped_ranges(
    encoder: Encoder,
    batches: Iterable[PackedBatch],
    transforms: dict[str, _Transform],
    ranges: dict[str, tuple[float, float]],
    observer: Observer,
) -> dict[str, tuple[float, float]]:
    """A second pass: histograms over the ranges of the first, and what to cut off of them."""
    histograms = {
        name: Histogram(*ranges[name], factor=factor, shift=shift)
        for name, (factor, shift) in transforms.items()
    }
    observe(encoder, batches, {name: histogram.add for name, histogram in histograms.items()})
    clip = _percentile_range if observer == "percentile" else _least_error_range
    return {name: clip(histogram) for name, histogram in histograms.items()}


def _percentile_range(histogram: Histogram) -> tuple[float, float]:
    tail = (1 - PERCENTILE / 100) / 2
    cumulative = np.cumsum(histogram.counts) / max(histogram.counts.sum(), 1.0)
    inside = np.flatnonzero((cumulative >= tail) & (cumulative <= 1 - tail))
    centers = histogram.centers
    if inside.size == 0:
        return histogram.low, histogram.high
    return float(centers[inside[0]]), float(centers[inside[-1]])


def _least_error_range(histogram: Histogram) -> tuple[float, float]:
    centers, counts = histogram.centers, histogram.counts

    def error(fraction: float) -> float:
        low, high = histogram.low * fraction, histogram.high * fraction
        step = max(high - low, 1e-30) / (2 * MAX_S8)
        clipped = np.clip(centers, low, high)
        rounded = low + np.floor((clipped - low) / step + 0.5) * step
        return float((counts * np.square(rounded - centers)).sum())

    best = min((k / 64 for k in range(64, 7, -1)), key=error)
    return histogram.low * best, histogram.high * best


def _wide_scales(
    config: EncoderConfig,
    statistics: Mapping[str, ChannelStatistics],
    headroom: float,
    limits: Mapping[str, float],
) -> dict[str, float]:
    """Scales of the int16 tensors: the calibrated limit with headroom, or the known one, over 32767."""
    seen = {name: float(s.limit().max()) * headroom for name, s in statistics.items()}
    wide = {name: max(limit, 1e-9) / MAX_S16 for name, limit in {**seen, **limits}.items()}
    for name, before in statistics.items():
        prefix, _, kind = name.rpartition(".")
        if kind == "up" and _fused_gelu(config.hidden_act, before):
            wide[f"{prefix}.activation"] = GELU_SCALE
        # in a head the table is the more exact one: it spans no more than calibration saw
        functions = {"up": config.hidden_act, "pre_activation": config.head.transform_activation}
        if config.convolution is not None:
            functions["linear"] = config.convolution.activation
        function = functions.get(kind)
        if function == "tanh":
            wide[name] = min(wide[name], TANH_LIMIT / MAX_S16)
            wide[f"{prefix}.activation"] = 1.0 / MAX_S16
    return {name: float(np.float32(scale)) for name, scale in wide.items() if not _per_head(name)}
