"""Attention: projections, heads, the multipliers of scores and context."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pyqrt.grids import Grid, Vector
from pyqrt.lower.builder import Tensor
from pyqrt.lower.fixed_point import LoweringError, round_half_up
from pyqrt.lower.linear import IntegerInput, requantize_s8
from pyqrt.lower.parts import Parts, parameters_of, to_numpy
from pyqrt.nn.config import EncoderConfig, RelativeBias
from pyqrt.nn.layers import Attention
from pyqrt.nn.relative import rows_of_distances


def lower_attention(
    parts: Parts, config: EncoderConfig, prefix: str, attention: Attention, source: IntegerInput
) -> IntegerInput:
    """Query, key and value projections as one product, then attention: the context."""
    builder, heads, head_dim = parts.builder, config.num_attention_heads, config.head_dim
    grids = [parts.scales.grids[f"{prefix}.{part}"] for part in ("query", "key", "value")]
    context = parts.scales.grids[f"{prefix}.context"]
    projections = [parameters_of(linear) for linear in (attention.query, attention.key, attention.value)]
    projected = requantize_s8(
        builder,
        f"{prefix}.query_key_value",
        source,
        np.concatenate([weight for weight, _ in projections]),
        np.concatenate([bias for _, bias in projections]),
        Grid(
            scale=np.concatenate([grid.scale for grid in grids]),
            shift=np.concatenate([grid.shift for grid in grids]),
            zero_point=0,
        ),
    )
    for column, part in enumerate(("query", "key", "value")):
        builder.tap(f"{prefix}.{part}", projected, grids[column], column * config.hidden_size)
    query, key, value, out = (grid.scale.reshape(heads, head_dim)[:, 0] for grid in (*grids, context))
    score = query * key * np.log2(np.e) * config.score_scale
    multiplier, exponent = _mantissa_and_exponent(value / out)
    attributes, tensors = _relative(parts, config, prefix, attention, query * key * config.score_scale)
    output = builder.buffer("s8", "tokens", config.hidden_size)
    builder.node(
        "attention",
        f"{prefix}.context",
        (projected,),
        (output,),
        {"num_heads": heads, "head_dim": head_dim, "zero_point": context.zero_point, **attributes},
        {
            "score_multiplier": np.clip(round_half_up(score * 2.0**28), 1, 2**31 - 1).astype(np.int32),
            "output_multiplier": multiplier,
            "output_exponent": exponent,
            **tensors,
        },
    )
    builder.tap(f"{prefix}.context", output, context)
    return IntegerInput(output, context)


def _relative(
    parts: Parts, config: EncoderConfig, prefix: str, attention: Attention, unit: Vector
) -> tuple[dict[str, int | str], dict[str, Tensor]]:
    """Attributes and tables of relative positions. unit: the real value of an integer score, per head."""
    if attention.relative is None or config.relative is None:
        return {}, {}
    reach = config.max_length - 1
    index = rows_of_distances(config.relative, reach).numpy().astype(np.int32)
    first, last = int(index.min()), int(index.max())  # rows that no distance reaches stay out
    tensors: dict[str, Tensor] = {"relative_index": index - first}
    if isinstance(config.relative, RelativeBias):
        bias = round_half_up(to_numpy(attention.relative.embeddings()).T / unit[:, None])[:, first : last + 1]
        if np.abs(bias).max() >= 2**28:
            raise LoweringError(f"{prefix}: a relative bias is 2^28 times the unit of the scores or more")
        tensors["relative_bias"] = bias.ravel().astype(np.int32)
    else:
        with torch.no_grad():
            tables = dict(zip(("relative_key", "relative_query"), attention.relative_tables(), strict=True))
        for role, table in tables.items():
            if table is not None:
                rows = parts.scales.grids[f"{prefix}.{role}"].quantize(to_numpy(table))
                tensors[role] = rows[first : last + 1]
    return {"relative_rows": last + 1 - first, "relative_reach": reach}, tensors


def _mantissa_and_exponent(ratio: Vector) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`ratio` [n] as ``multiplier * 2^(exponent - 14)``, multiplier in [2^13, 2^14)."""
    mantissa, exponent = np.frexp(ratio)
    multiplier = round_half_up(mantissa * 2.0**14)
    exponent = exponent + (multiplier == 2**14)
    multiplier = np.where(multiplier == 2**14, 2**13, multiplier)
    if (exponent < -8).any() or (exponent > 16).any():
        raise LoweringError("the scales of values and context differ by more than 2^16; recalibrate")
    return multiplier.astype(np.int32), exponent.astype(np.int32)
