"""`pyqrt.nn.Encoder` and `Scales` to a `Program` and its tensors. Knows layers, no families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np

from pyqrt.grids import MAX_S8, MAX_S16, Scales
from pyqrt.lower.attention import lower_attention
from pyqrt.lower.builder import ProgramBuilder, Tapped, Tensor
from pyqrt.lower.feed_forward import lower_feed_forward
from pyqrt.lower.fixed_point import round_half_up, small_multipliers
from pyqrt.lower.head import lower_head
from pyqrt.lower.parts import Parts, Stream, to_numpy
from pyqrt.nn import Encoder
from pyqrt.nn.config import EncoderConfig
from pyqrt.nn.layers import Embeddings, Layer
from pyqrt.program import Limits, Program

T = TypeVar("T")


class Lowered(NamedTuple):
    """A program, its constants in the file's layout, and where it holds what each tap sees, in order."""

    program: Program
    tensors: dict[str, Tensor]
    taps: dict[str, list[Tapped]]


def lower(encoder: Encoder, scales: Scales) -> tuple[Program, dict[str, Tensor]]:
    """The integer program of `encoder` at `scales`, and its constant tensors in the file's layout.

    Deterministic: the same weights and scales give the same bytes. Raises LoweringError where a
    weight or scale cannot be represented.
    """
    lowered = lower_with_taps(encoder, scales)
    return lowered.program, lowered.tensors


def lower_with_taps(encoder: Encoder, scales: Scales) -> Lowered:
    """As `lower`, and which buffers hold what the encoder's taps see, on which grids."""
    config = encoder.config
    builder = ProgramBuilder(
        Limits(
            vocab_size=config.vocab_size,
            max_length=config.max_length,
            type_vocab_size=max(config.type_vocab_size, 1),
        )
    )
    parts = Parts(builder, _by_place(scales, config.layer_order))
    stream = _embeddings(parts, config, encoder.embeddings)
    for place, index in enumerate(config.layer_order):
        layer, last = encoder.layers[index], place + 1 == config.num_hidden_layers
        assert isinstance(layer, Layer)
        stream = _layer(parts, config, f"layers.{place}", layer, stream, last)
    if encoder.norm is not None:
        stream = parts.norm("output", encoder.norm, stream, narrow=False)
    lower_head(parts, config, encoder.head, stream)
    return Lowered(builder.program(), builder.tensors, _by_weights(builder.taps, config.layer_order))


def _embeddings(parts: Parts, config: EncoderConfig, embeddings: Embeddings) -> Stream:
    """Tables and their sum; as configured its norm, its projection."""
    tables = {"word": to_numpy(embeddings.word.weight) * embeddings.word_scale}
    if embeddings.position is not None:
        tables["position"] = to_numpy(embeddings.position.weight)
    if embeddings.token_type is not None:
        tables["type"] = to_numpy(embeddings.token_type.weight)
    # No sum of rows can exceed the sum of the tables' largest entries: nothing saturates.
    sum_scale = max(sum(float(np.abs(t).max()) for t in tables.values()), 1e-9) / MAX_S16
    row_limits = {name: np.abs(table).max(axis=1) for name, table in tables.items()}
    ratios = np.concatenate(list(row_limits.values())) / MAX_S8 / sum_scale
    multipliers, shift = small_multipliers(ratios)
    tensors: dict[str, Tensor] = {}
    start = 0
    for name, table in tables.items():
        multiplier = multipliers[start : start + len(table)]
        start += len(table)
        row_scale = np.maximum(multiplier, 1) * 2.0**-shift * sum_scale
        entries = np.clip(round_half_up(table / row_scale[:, None]), -MAX_S8, MAX_S8)
        tensors[name] = entries.astype(np.int8)
        tensors[f"{name}_multiplier"] = multiplier
    total = parts.builder.buffer("s16", "tokens", config.embedding_size)
    parts.builder.node(
        "embedding",
        "embeddings.sum",
        (),
        (total,),
        {"shift": shift, "position_offset": config.position_offset},
        tensors,
    )
    parts.builder.tap("embeddings.sum", total, sum_scale)
    stream = Stream(total, sum_scale)
    if embeddings.norm is not None:
        # a projection reads the int8 form alone, a pre-norm stream mostly the int16 one
        projected, first = embeddings.projection is not None, config.norm == "pre"
        narrow = projected or not first or not config.first_norm
        stream = parts.norm("embeddings.output", embeddings.norm, stream, narrow=narrow, wide=not projected)
    if embeddings.projection is not None:
        projection = parts.linear("embeddings.projected", embeddings.projection, stream.source)
        assert isinstance(projection.grid, float)
        stream = Stream(projection.buffer, projection.grid)
    return stream


def _layer(
    parts: Parts, config: EncoderConfig, prefix: str, layer: Layer, stream: Stream, last: bool
) -> Stream:
    """Attention and feed-forward network, each with its residual and norm."""
    attention, first = layer.attention, config.norm == "pre"
    source = stream
    if first and attention.norm is not None:
        source = parts.norm(f"{prefix}.attention.input", attention.norm, stream, wide=False)
    context = lower_attention(parts, config, f"{prefix}.attention", attention, source.source)
    stream = parts.residual(f"{prefix}.attention.sum", attention.output, context, stream)
    if not first:
        assert attention.norm is not None
        stream = parts.norm(f"{prefix}.attention.output", attention.norm, stream)
    return lower_feed_forward(parts, config, f"{prefix}.ffn", layer.ffn, stream, narrow=not last)


def _by_place(scales: Scales, layer_order: Sequence[int]) -> Scales:
    """`scales`, named after the layers' places instead of their sets of weights."""

    def placed(by_name: dict[str, T]) -> dict[str, T]:
        return {name: value for name, value in by_name.items() if not name.startswith("layers.")} | {
            f"layers.{place}.{rest}": by_name[f"layers.{index}.{rest}"]
            for place, index in enumerate(layer_order)
            for rest in (name.removeprefix(f"layers.{index}.") for name in by_name)
            if f"layers.{index}.{rest}" in by_name
        }

    return replace(scales, grids=placed(scales.grids), wide=placed(scales.wide))


def _by_weights(taps: dict[str, list[Tapped]], layer_order: Sequence[int]) -> dict[str, list[Tapped]]:
    """`taps`, named after the layers' sets of weights instead of their places, as the encoder's are."""
    named: dict[str, list[Tapped]] = {}
    for name, places in taps.items():
        if name.startswith("layers."):
            _, place, rest = name.split(".", 2)
            name = f"layers.{layer_order[int(place)]}.{rest}"
        named.setdefault(name, []).extend(places)
    return named
