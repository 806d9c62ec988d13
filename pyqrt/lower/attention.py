"""Attention: projections, heads, the multipliers of scores and context."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pyqrt.grids import Grid, Vector
from pyqrt.lower.builder import TappedTable, Tensor
from pyqrt.lower.fixed_point import LoweringError, round_half_up
from pyqrt.lower.linear import IntegerInput, polynomial_attribute, requantize_s8, requantize_s16
from pyqrt.lower.parts import Parts, Stream, parameters_of, to_numpy
from pyqrt.nn.config import EncoderConfig, RelativeBias
from pyqrt.nn.layers import Attention, GlobalAttention
from pyqrt.nn.relative import rows_of_distances

# Queries and keys are this much finer before they are turned. 2^7 leaves int16 twice the range of int8: a
# turn may make the larger of two columns smaller by the square root of two.
_ROTARY_BITS = 7


def lower_attention(
    parts: Parts,
    config: EncoderConfig,
    prefix: str,
    attention: Attention,
    source: IntegerInput,
    taken: IntegerInput | None,
    stream: Stream,
) -> IntegerInput:
    """Query, key and value projections as one product, then attention: the context.

    taken: what values read, if that is not what queries and keys do. stream: the block's input.
    """
    builder = parts.builder
    grids = [parts.scales.grids[f"{prefix}.{part}"] for part in ("query", "key", "value")]
    context = parts.scales.grids[f"{prefix}.context"]
    matched = {"query": attention.query, "key": attention.key}
    if taken is not None:
        inputs: tuple[int, ...] = (
            _projected(parts, prefix, matched, source),
            _projected(parts, prefix, {"value": attention.value}, taken),
        )
    elif attention.rotary is None:
        inputs = (_projected(parts, prefix, matched | {"value": attention.value}, source),)
    else:
        inputs = _rotated(parts, config, prefix, attention, source, grids)
    unit = _by_head(config, grids[0]) * _by_head(config, grids[1]) * config.score_scale
    attributes, positions = _positions(parts, config, prefix, attention, unit)
    tensors = _multipliers(parts, config, prefix, context) | positions
    if attention.globals is not None:
        inputs += _globals(parts, f"{prefix}.globals", attention.globals, source, stream)
        stated = {
            "global_until": attention.globals.tokens.until,
            "global_after": attention.globals.tokens.after,
        }
        attributes |= {name: token for name, token in stated.items() if token is not None}
        tensors |= _multipliers(parts, config, f"{prefix}.globals", context, "global_")
    output = builder.buffer("s8", "tokens", config.layer_size)
    builder.node(
        "attention",
        f"{prefix}.context",
        inputs,
        (output,),
        {
            "num_heads": config.num_attention_heads,
            "head_dim": config.head_dim,
            "zero_point": context.zero_point,
            **polynomial_attribute(parts.scales.polynomial),
            **attributes,
        },
        tensors,
    )
    builder.tap(f"{prefix}.context", output, context)
    return IntegerInput(output, context)


def _by_head(config: EncoderConfig, grid: Grid) -> Vector:
    """The scale of every head."""
    return grid.scale.reshape(config.num_attention_heads, config.head_dim)[:, 0]


def _multipliers(
    parts: Parts, config: EncoderConfig, prefix: str, context: Grid, role: str = ""
) -> dict[str, Tensor]:
    """The tensors that scale scores and context, their names after `role`."""
    query, key, value = (
        _by_head(config, parts.scales.grids[f"{prefix}.{part}"]) for part in ("query", "key", "value")
    )
    score = query * key * np.log2(np.e) * config.score_scale
    multiplier, exponent = _mantissa_and_exponent(value / _by_head(config, context))
    return {
        f"{role}score_multiplier": np.clip(round_half_up(score * 2.0**28), 1, 2**31 - 1).astype(np.int32),
        f"{role}output_multiplier": multiplier,
        f"{role}output_exponent": exponent,
    }


def _projected(parts: Parts, prefix: str, linears: dict[str, nn.Linear], source: IntegerInput) -> int:
    """Projections, by the names of their taps after `prefix`, as one product, int8."""
    projections = [parameters_of(linear) for linear in linears.values()]
    grids = [parts.scales.grids[f"{prefix}.{name}"] for name in linears]
    projected = requantize_s8(
        parts.builder,
        f"{prefix}.{'_'.join(linears)}",
        source,
        np.concatenate([weight for weight, _ in projections]),
        np.concatenate([bias for _, bias in projections]),
        Grid(
            scale=np.concatenate([grid.scale for grid in grids]),
            shift=np.concatenate([grid.shift for grid in grids]),
            zero_point=0,
        ),
    )
    width = len(grids[0].scale)
    for column, name in enumerate(linears):
        parts.builder.tap(f"{prefix}.{name}", projected, grids[column], column * width)
    return projected


def _globals(
    parts: Parts, prefix: str, own: GlobalAttention, source: IntegerInput, stream: Stream
) -> tuple[int, int]:
    """Keys and values that the global tokens see, int8, and their queries.

    Of one token a sequence from int16; of several, which may be any, all tokens', from int8.
    """
    keys = _projected(parts, prefix, {"key": own.key, "value": own.value}, source)
    if not own.tokens.one:
        return keys, _projected(parts, prefix, {"query": own.query}, source)
    token = parts.pooled(f"{prefix}.token", IntegerInput(stream.buffer, stream.scale), "first")
    return keys, _projected(parts, prefix, {"query": own.query}, token)


def _rotated(
    parts: Parts,
    config: EncoderConfig,
    prefix: str,
    attention: Attention,
    source: IntegerInput,
    grids: list[Grid],
) -> tuple[int, int]:
    """Queries and keys as one product in int16, turned to int8; and the values, int8."""
    assert attention.rotary is not None
    builder, pairs = parts.builder, attention.rotary_size // 2
    order = np.arange(config.head_dim)
    if attention.rotary.interleaved:  # the kernel's pairs are half a size apart; scores do not mind the order
        turned = order[: 2 * pairs].reshape(-1, 2).T.ravel()
        order = np.concatenate([turned, order[2 * pairs :]])
    rows = (np.arange(config.num_attention_heads)[:, None] * config.head_dim + order).ravel()
    projections = [parameters_of(linear) for linear in (attention.query, attention.key)]
    wide = requantize_s16(
        builder,
        f"{prefix}.query_key",
        source,
        np.concatenate([weight[rows] for weight, _ in projections]),
        np.concatenate([bias[rows] for _, bias in projections]),
        np.concatenate([grid.scale for grid in grids[:2]]) / 2.0**_ROTARY_BITS,
    )
    cosine, sine = (
        round_half_up(to_numpy(table) * 2.0**14).ravel().astype(np.int16)
        for table in attention.rotary_tables(torch.arange(config.max_length))
    )
    turned_buffer = builder.buffer("s8", "tokens", 2 * config.hidden_size)
    builder.node(
        "rotary",
        f"{prefix}.rotary",
        (wide,),
        (turned_buffer,),
        {
            "num_heads": 2 * config.num_attention_heads,
            "head_dim": config.head_dim,
            "pairs": pairs,
            "shift": 14 + _ROTARY_BITS,
        },
        {"cosine": cosine, "sine": sine},
    )
    value = requantize_s8(builder, f"{prefix}.value", source, *parameters_of(attention.value), grids[2])
    places = np.argsort(rows) if attention.rotary.interleaved else None
    builder.tap(f"{prefix}.query", turned_buffer, grids[0], 0, places)
    builder.tap(f"{prefix}.key", turned_buffer, grids[1], config.hidden_size, places)
    builder.tap(f"{prefix}.value", value, grids[2])
    return turned_buffer, value


def _positions(
    parts: Parts, config: EncoderConfig, prefix: str, attention: Attention, unit: Vector
) -> tuple[dict[str, int | str], dict[str, Tensor]]:
    """Window, blocks, tables of relative positions. unit: the real value of an integer score, per head."""
    attributes: dict[str, int | str] = {} if attention.window is None else {"window": attention.window}
    tensors: dict[str, Tensor] = {}
    if config.blocks is not None:
        attributes |= {"block": config.blocks.size, "block_beyond": config.blocks.beyond}
        tensors["block_bias"] = _biases(prefix, config.blocks.bias / unit)
    if config.relative is None:
        return attributes, tensors
    reach = config.max_length - 1
    index = rows_of_distances(config.relative, reach).numpy().astype(np.int32)
    first, last = int(index.min()), int(index.max())  # rows that no distance reaches stay out
    tensors["relative_index"] = index - first
    if isinstance(config.relative, RelativeBias):
        assert attention.relative is not None
        table = to_numpy(attention.relative.embeddings()).T[:, first : last + 1]
        tensors["relative_bias"] = _biases(prefix, table / unit[:, None])
    else:
        with torch.no_grad():
            tables = dict(zip(("relative_key", "relative_query"), attention.relative_tables(), strict=True))
        for role, table in tables.items():
            if table is not None:
                grid = parts.scales.grids[f"{prefix}.{role}"]
                tensors[role] = grid.quantize(to_numpy(table))[first : last + 1]
                tapped = TappedTable(f"{prefix}.context.{role}", grid, first, last + 1 - first)
                parts.builder.tap_table(f"{prefix}.{role}", tapped)
    return attributes | {"relative_rows": last + 1 - first, "relative_reach": reach}, tensors


def _biases(prefix: str, biases: NDArray[np.float64]) -> NDArray[np.int32]:
    """What is added to integer scores, in their units, flat."""
    rounded = round_half_up(biases)
    if np.abs(rounded).max() >= 2**28:
        raise LoweringError(f"{prefix}: a bias is 2^28 times the unit of the scores or more")
    return rounded.ravel().astype(np.int32)


def _mantissa_and_exponent(ratio: Vector) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`ratio` [n] as ``multiplier * 2^(exponent - 14)``, multiplier in [2^13, 2^14)."""
    mantissa, exponent = np.frexp(ratio)
    multiplier = round_half_up(mantissa * 2.0**14)
    exponent = exponent + (multiplier == 2**14)
    multiplier = np.where(multiplier == 2**14, 2**13, multiplier)
    if (exponent < -8).any() or (exponent > 16).any():
        raise LoweringError("the scales of values and context differ by more than 2^16; recalibrate")
    return multiplier.astype(np.int32), exponent.astype(np.int32)
