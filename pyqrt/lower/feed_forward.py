"""The feed-forward block: two linear layers or three, the residual, the norm."""

from __future__ import annotations

from pyqrt.lower.parts import Parts, Stream
from pyqrt.nn.config import EncoderConfig
from pyqrt.nn.layers import FeedForward


def lower_feed_forward(
    parts: Parts, config: EncoderConfig, prefix: str, ffn: FeedForward, stream: Stream, *, narrow: bool = True
) -> Stream:
    """The stream after the block. narrow: a linear layer will read a post-norm block's output."""
    assert ffn.norm is not None
    source = parts.norm(f"{prefix}.input", ffn.norm, stream, wide=False) if ffn.norm_first else stream
    names = f"{prefix}.activation", f"{prefix}.up"
    inner = parts.activated(*names, ffn.up, config.hidden_act, source.source)
    if ffn.gate is not None:
        gate = parts.linear(f"{prefix}.gate", ffn.gate, source.source)
        inner = parts.multiplied(f"{prefix}.product", inner, gate)
    stream = parts.residual(f"{prefix}.sum", ffn.down, inner, stream)
    return stream if ffn.norm_first else parts.norm(f"{prefix}.output", ffn.norm, stream, narrow=narrow)
