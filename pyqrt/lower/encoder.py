"""`pyqrt.nn.Encoder` and `Scales` to a `Program` and its tensors. Knows layers, no families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pyqrt.grids import GELU_SCALE, MAX_S8, MAX_S16, Grid, Scales, Vector
from pyqrt.lower.builder import ProgramBuilder, Tensor
from pyqrt.lower.fixed_point import (
    LoweringError,
    gain_and_bias,
    round_half_up,
    small_multipliers,
)
from pyqrt.lower.linear import (
    IntegerInput,
    gelu_s8,
    gelu_s16,
    logits_s32,
    requantize_s8,
    requantize_s16,
    residual_s16,
)
from pyqrt.nn import Encoder
from pyqrt.nn.activations import activation, is_gelu
from pyqrt.nn.encoder import Attention, Layer
from pyqrt.program import Limits, Program

UNIT_SCALE = 2.0**-30  # csrc/ops/normalize/normalize.h


@dataclass(frozen=True)
class _Stream:
    """The residual stream: an int16 buffer and its scale."""

    buffer: int
    scale: float


def _numpy(tensor: torch.Tensor) -> Vector:
    return tensor.detach().double().numpy()


def lower(encoder: Encoder, scales: Scales) -> tuple[Program, dict[str, Tensor]]:
    """The integer program of `encoder` at `scales`, and its constant tensors in the file's layout.

    Deterministic: the same weights and scales give the same bytes. Raises LoweringError where a
    weight or scale cannot be represented.
    """
    config = encoder.config
    builder = ProgramBuilder(
        Limits(
            vocab_size=config.vocab_size,
            max_length=config.max_length,
            type_vocab_size=max(config.type_vocab_size, 1),
        )
    )
    lowering = _Lowering(builder, encoder, scales)
    stream = lowering.embeddings()
    for index in range(config.num_hidden_layers):
        stream = lowering.layer(index, stream)
    lowering.head(stream)
    return builder.program(), builder.tensors


class _Lowering:
    def __init__(self, builder: ProgramBuilder, encoder: Encoder, scales: Scales) -> None:
        self.builder = builder
        self.encoder = encoder
        self.config = encoder.config
        self.scales = scales

    def embeddings(self) -> tuple[IntegerInput | None, _Stream]:
        """Tables, their sum, its layer norm."""
        embeddings = self.encoder.embeddings
        tables = {"word": _numpy(embeddings.word.weight), "position": _numpy(embeddings.position.weight)}
        if embeddings.token_type is not None:
            tables["type"] = _numpy(embeddings.token_type.weight)
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
        total = self.builder.buffer("s16", "tokens", self.config.embedding_size)
        self.builder.node(
            "embedding",
            "embeddings.sum",
            (),
            (total,),
            {"shift": shift, "position_offset": self.config.position_offset},
            tensors,
        )
        return self.norm("embeddings.output", embeddings.norm, _Stream(total, sum_scale))

    def norm(self, name: str, norm: nn.LayerNorm, source: _Stream) -> tuple[IntegerInput | None, _Stream]:
        """A layer norm: int8 on the grid of tap `name`, where it has one, and int16 for the stream."""
        width = self.config.hidden_size
        gamma, beta = _numpy(norm.weight), _numpy(norm.bias)
        unit = 2.0 ** (10 if width <= 1024 else 9)
        grid, wide = self.scales.grids.get(name), self.scales.wide[name]
        epsilon = int(round_half_up(width**2 * norm.eps / source.scale**2))
        if epsilon > 2**56:
            raise LoweringError(f"{name}: layer_norm_eps {norm.eps} dwarfs the variance it is added to")
        attributes: dict[str, int | str] = {"epsilon": epsilon}
        tensors: dict[str, Tensor] = {}
        outputs: tuple[int, ...] = ()
        narrow = None
        if grid is not None:
            tensors["gain8"], tensors["bias8"], attributes["shift8"] = gain_and_bias(
                gamma / grid.scale / unit, (beta - grid.shift) / grid.scale + grid.zero_point
            )
            narrow = IntegerInput(self.builder.buffer("s8", "tokens", width), grid)
            outputs = (narrow.buffer,)
        tensors["gain16"], tensors["bias16"], attributes["shift16"] = gain_and_bias(
            gamma / wide / unit, beta / wide
        )
        stream = _Stream(self.builder.buffer("s16", "tokens", width), wide)
        self.builder.node("layernorm", name, (source.buffer,), (*outputs, stream.buffer), attributes, tensors)
        return narrow, stream

    def layer(
        self, index: int, source: tuple[IntegerInput | None, _Stream]
    ) -> tuple[IntegerInput | None, _Stream]:
        """Attention and feed-forward network, each with its residual and norm."""
        narrow, stream = source
        assert narrow is not None
        layer, prefix = self.encoder.layers[index], f"layers.{index}"
        assert isinstance(layer, Layer)
        context = self.attention(f"{prefix}.attention", layer.attention, narrow)
        attended = self.residual(f"{prefix}.attention", layer.attention.output, context, stream)
        narrow, stream = self.norm(f"{prefix}.attention.output", layer.attention.norm, attended)
        assert narrow is not None
        inner = self.activation(f"{prefix}.ffn", layer.ffn.up, narrow)
        total = self.residual(f"{prefix}.ffn", layer.ffn.down, inner, stream)
        return self.norm(f"{prefix}.ffn.output", layer.ffn.norm, total)

    def attention(self, prefix: str, attention: Attention, source: IntegerInput) -> IntegerInput:
        """Query, key and value projections as one product, then attention."""
        heads, head_dim = self.config.num_attention_heads, self.config.head_dim
        names = ("query", "key", "value")
        grids = [self.scales.grids[f"{prefix}.{name}"] for name in names]
        context = self.scales.grids[f"{prefix}.context"]
        projections = [attention.query, attention.key, attention.value]
        projected = requantize_s8(
            self.builder,
            f"{prefix}.query_key_value",
            source,
            np.concatenate([_numpy(p.weight) for p in projections]),
            np.concatenate([_numpy(p.bias) for p in projections]),
            Grid(
                scale=np.concatenate([g.scale for g in grids]),
                shift=np.concatenate([g.shift for g in grids]),
                zero_point=0,
            ),
        )
        query, key, value, out = (g.scale.reshape(heads, head_dim)[:, 0] for g in (*grids, context))
        score = query * key * np.log2(np.e) / np.sqrt(head_dim)
        multiplier, exponent = _mantissa_and_exponent(value / out)
        output = self.builder.buffer("s8", "tokens", self.config.hidden_size)
        self.builder.node(
            "attention",
            f"{prefix}.context",
            (projected,),
            (output,),
            {"num_heads": heads, "head_dim": head_dim, "zero_point": context.zero_point},
            {
                "score_multiplier": np.clip(round_half_up(score * 2.0**28), 1, 2**31 - 1).astype(np.int32),
                "output_multiplier": multiplier,
                "output_exponent": exponent,
            },
        )
        return IntegerInput(output, context)

    def residual(self, prefix: str, linear: nn.Linear, source: IntegerInput, stream: _Stream) -> _Stream:
        """``linear(x) + stream``, before the norm."""
        scale = self.scales.wide[f"{prefix}.sum"]
        buffer = residual_s16(
            self.builder,
            f"{prefix}.sum",
            source,
            _numpy(linear.weight),
            _numpy(linear.bias),
            (stream.buffer, stream.scale),
            scale,
        )
        return _Stream(buffer, scale)

    def activation(self, prefix: str, up: nn.Linear, source: IntegerInput) -> IntegerInput:
        """The first feed-forward layer and its activation.

        Fused GELU, to int8 where the scales have a grid for it, else to int16 where they have its
        scale; a table from int16 to int16 for everything else.
        """
        name, weight, bias = f"{prefix}.activation", _numpy(up.weight), _numpy(up.bias)
        grid = self.scales.grids.get(name)
        if grid is not None:
            return IntegerInput(gelu_s8(self.builder, name, source, weight, bias, grid), grid)
        before_scale, scale = self.scales.wide[f"{prefix}.up"], self.scales.wide[name]
        if is_gelu(self.config.hidden_act) and scale == GELU_SCALE:
            return IntegerInput(gelu_s16(self.builder, name, source, weight, bias), scale)
        before = requantize_s16(self.builder, f"{prefix}.up", source, weight, bias, before_scale)
        function = activation(self.config.hidden_act)
        return IntegerInput(self.lookup(name, before, before_scale, function, scale), scale)

    def lookup(
        self,
        name: str,
        source: int,
        source_scale: float,
        function: Callable[[torch.Tensor], torch.Tensor],
        scale: float,
    ) -> int:
        """An element-wise function of int16 as a table of 513 knots; the output buffer."""
        knots = torch.arange(-32768, 32769, 128, dtype=torch.float64) * source_scale
        table = np.clip(round_half_up(_numpy(function(knots)) / scale), -MAX_S16, MAX_S16)
        spec = self.builder.spec(source)
        output = self.builder.buffer("s16", spec.rows, spec.width)
        self.builder.node("lookup", name, (source,), (output,), {}, {"table": table.astype(np.int16)})
        return output

    def head(self, source: tuple[IntegerInput | None, _Stream]) -> None:
        """Pooling, pooler, classifier or normalisation; declares the program's output."""
        _, stream = source
        head, config = self.encoder.head, self.config.head
        buffer, scale = stream.buffer, stream.scale
        if config.pooling is not None:
            pooled = self.builder.buffer("s16", "sequences", self.config.hidden_size)
            self.builder.node("pool", "head.pooled", (buffer,), (pooled,), {"kind": config.pooling}, {})
            buffer = pooled
        if head.pooler is not None:
            wide = self.scales.wide
            before = requantize_s16(
                self.builder,
                "head.pre_activation",
                IntegerInput(buffer, scale),
                _numpy(head.pooler.weight),
                _numpy(head.pooler.bias),
                wide["head.pre_activation"],
            )
            scale = wide["head.activation"]
            buffer = self.lookup(
                "head.activation", before, wide["head.pre_activation"], head.activation, scale
            )
        if head.classifier is not None:
            buffer, scale = logits_s32(
                self.builder,
                "head.classifier",
                IntegerInput(buffer, scale),
                _numpy(head.classifier.weight),
                _numpy(head.classifier.bias),
            )
        elif config.normalize:
            unit = self.builder.buffer("s32", "sequences", self.config.hidden_size)
            self.builder.node("normalize", "head.normalized", (buffer,), (unit,), {}, {})
            buffer, scale = unit, UNIT_SCALE
        name = "embedding" if config.task == "embedding" else "logits"
        self.builder.output(name, buffer, scale)


def _mantissa_and_exponent(ratio: Vector) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`ratio` [n] as ``multiplier * 2^(exponent - 14)``, multiplier in [2^13, 2^14)."""
    mantissa, exponent = np.frexp(ratio)
    multiplier = round_half_up(mantissa * 2.0**14)
    exponent = exponent + (multiplier == 2**14)
    multiplier = np.where(multiplier == 2**14, 2**13, multiplier)
    if (exponent < -8).any() or (exponent > 16).any():
        raise LoweringError("the scales of values and context differ by more than 2^16; recalibrate")
    return multiplier.astype(np.int32), exponent.astype(np.int32)
