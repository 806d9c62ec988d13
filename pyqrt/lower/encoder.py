"""`pyqrt.nn.Encoder` and `Scales` to a `Program` and its tensors. Knows layers, no families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pyqrt.grids import MAX_S8, MAX_S16, Scales, Vector
from pyqrt.lower.attention import lower_attention
from pyqrt.lower.builder import ProgramBuilder, Tapped, TappedTable, Tensor
from pyqrt.lower.feed_forward import lower_feed_forward
from pyqrt.lower.fixed_point import rows_in_s8, small_multipliers
from pyqrt.lower.head import lower_head
from pyqrt.lower.parts import Parts, Stream
from pyqrt.nn import Encoder
from pyqrt.nn.config import EncoderConfig
from pyqrt.nn.layers import Convolution, Embeddings, Layer
from pyqrt.program import Limits, Program

T = TypeVar("T")


class Lowered(NamedTuple):
    """A program, its constants in the file's layout, and where it holds what each tap sees, in order."""

    program: Program
    tensors: dict[str, Tensor]
    taps: dict[str, list[Tapped]]
    tables: dict[str, list[TappedTable]]


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
    order = config.layer_order
    return Lowered(
        builder.program(),
        builder.tensors,
        _by_weights(builder.taps, order),
        _by_weights(builder.tables, order),
    )


def _embeddings(parts: Parts, config: EncoderConfig, embeddings: Embeddings) -> Stream:
    """Tables and their sum; as configured its norm, the projections."""
    tables = {"word": _Table(embeddings.word, embeddings.word_scale)}
    others: dict[str, _Table] = {}
    if embeddings.position is not None:
        others["position"] = _Table(embeddings.position)
    if embeddings.token_type is not None:
        others["type"] = _Table(embeddings.token_type)
    name = "embeddings.sum"
    if embeddings.word_projection is None:
        stream = _rows(parts, name, {**tables, **others}, config.position_offset)
        parts.builder.tap(name, stream.buffer, stream.scale)
    else:
        words = _rows(parts, "embeddings.word", tables, 0)
        rest = _rows(parts, "embeddings.rest", others, config.position_offset)
        parts.builder.tap("embeddings.rest", rest.buffer, rest.scale)
        source = parts.beside("embeddings.words", words, config.word_reach or 0)
        stream = parts.residual(name, embeddings.word_projection, source, rest)
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


class _Table:
    """Rows [n, width] that stand for `factor` times themselves."""

    def __init__(self, embedding: nn.Embedding, factor: float = 1.0) -> None:
        self.factor = factor
        # the parameter's own memory: a word table in double precision would leave the caches many times
        self.rows: NDArray[np.float32] = embedding.weight.detach().numpy()

    def limits(self) -> Vector:
        """Largest magnitude that each row stands for, [n]."""
        largest = np.maximum(self.rows.max(axis=1), -self.rows.min(axis=1))
        limits: Vector = largest.astype(np.float64) * self.factor
        return limits


def _rows(parts: Parts, name: str, tables: dict[str, _Table], position_offset: int) -> Stream:
    """The sum of a row of each table."""
    row_limits = {role: table.limits() for role, table in tables.items()}
    # No sum of rows can exceed the sum of the tables' largest entries: nothing saturates.
    sum_scale = max(sum(float(limits.max()) for limits in row_limits.values()), 1e-9) / MAX_S16
    ratios = np.concatenate(list(row_limits.values())) / MAX_S8 / sum_scale
    multipliers, shift = small_multipliers(ratios)
    tensors: dict[str, Tensor] = {}
    start = 0
    for role, table in tables.items():
        multiplier = multipliers[start : start + len(table.rows)]
        start += len(table.rows)
        row_scale = np.maximum(multiplier, 1) * 2.0**-shift * sum_scale
        tensors[role] = rows_in_s8(table.rows, row_scale / table.factor)
        tensors[f"{role}_multiplier"] = multiplier
    total = parts.builder.buffer("s16", "tokens", next(iter(tables.values())).rows.shape[1])
    parts.builder.node(
        "embedding", name, (), (total,), {"shift": shift, "position_offset": position_offset}, tensors
    )
    return Stream(total, sum_scale)


def _layer(
    parts: Parts, config: EncoderConfig, prefix: str, layer: Layer, stream: Stream, last: bool
) -> Stream:
    """Attention and feed-forward blocks, each with its residual and norm; bottleneck, convolution if any."""
    attention, whole, taken = layer.attention, stream, None
    if layer.narrow is not None:
        stream = parts.narrowed(f"{prefix}.narrow", layer.narrow, whole)
    source = stream.source
    if layer.narrow_matched is not None:
        matched = parts.narrowed(f"{prefix}.narrow_matched", layer.narrow_matched, whole, wide=False)
        source, taken = matched.source, whole.source
    elif attention.norm_first and attention.norm is not None:
        source = parts.norm(f"{prefix}.attention.input", attention.norm, stream, wide=False).source
    context = lower_attention(parts, config, f"{prefix}.attention", attention, source, taken, stream)
    stream = parts.residual(f"{prefix}.attention.sum", attention.output, context, stream)
    if not attention.norm_first:
        assert attention.norm is not None
        stream = parts.norm(f"{prefix}.attention.output", attention.norm, stream)
    for name, ffn in layer.feed_forwards():
        narrow = not last or ffn is not layer.ffn or layer.widen is not None
        stream = lower_feed_forward(parts, config, f"{prefix}.{name}", ffn, stream, narrow=narrow)
    if layer.widen is not None:
        stream = parts.residual(f"{prefix}.widen.sum", layer.widen.output, stream.source, whole)
        stream = parts.norm(f"{prefix}.widen.output", layer.widen.norm, stream, narrow=not last)
    if layer.convolution is not None:
        stream = _convolved(parts, config, f"{prefix}.convolution", layer.convolution, whole, stream, last)
    return stream


def _convolved(
    parts: Parts,
    config: EncoderConfig,
    prefix: str,
    convolution: Convolution,
    whole: Stream,
    stream: Stream,
    last: bool,
) -> Stream:
    """The convolution of what the layer read, added to what it gave, and the norm."""
    assert config.convolution is not None
    rows = parts.beside(f"{prefix}.beside", whole, convolution.reach)
    names, function = (f"{prefix}.activation", f"{prefix}.linear"), config.convolution.activation
    inner = parts.activated(*names, convolution.linear, function, rows)
    stream = parts.added(f"{prefix}.sum", inner, stream)
    return parts.norm(f"{prefix}.output", convolution.norm, stream, narrow=not last)


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


def _by_weights(taps: dict[str, list[T]], layer_order: Sequence[int]) -> dict[str, list[T]]:
    """`taps`, named after the layers' sets of weights instead of their places, as the encoder's are."""
    named: dict[str, list[T]] = {}
    for name, places in taps.items():
        if name.startswith("layers."):
            _, place, rest = name.split(".", 2)
            name = f"layers.{layer_order[int(place)]}.{rest}"
        named.setdefault(name, []).extend(places)
    return named
