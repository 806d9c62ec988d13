"""The head: pooling, feed-forward block, transform, norm, classifier; and the program's output."""

from __future__ import annotations

from pyqrt.lower.feed_forward import lower_feed_forward
from pyqrt.lower.linear import IntegerInput, logits_s32
from pyqrt.lower.parts import Parts, Stream, parameters_of
from pyqrt.nn.config import EncoderConfig
from pyqrt.nn.layers import TaskHead

UNIT_SCALE = 2.0**-30  # csrc/ops/normalize/normalize.h


def lower_head(parts: Parts, encoder: EncoderConfig, head: TaskHead, stream: Stream) -> None:
    """From the last layer's stream to the declared output."""
    builder, config = parts.builder, head.config
    if head.ffn is not None:
        stream = lower_feed_forward(parts, encoder, "head.ffn", head.ffn, stream, narrow=False)
    source = IntegerInput(stream.buffer, stream.scale)
    if config.pooling is not None:
        source = parts.pooled("head.pooled", source, config.pooling)
    if head.transform is not None:
        assert config.transform_activation is not None
        before, after = "head.pre_activation", "head.activation"
        source = parts.activated(after, before, head.transform, config.transform_activation, source)
    if head.norm is not None:
        assert isinstance(source.grid, float)
        norm_input = Stream(source.buffer, source.grid)
        source = parts.norm("head.normalized", head.norm, norm_input, wide=False).source
    buffer, scale = source.buffer, source.grid
    if head.classifier is not None:
        buffer, scale = logits_s32(builder, "head.classifier", source, *parameters_of(head.classifier))
    elif config.normalize:
        spec = builder.spec(buffer)
        unit = builder.buffer("s32", spec.rows, spec.width)
        builder.node("normalize", "head.normalized", (buffer,), (unit,), {}, {})
        buffer, scale = unit, UNIT_SCALE
    assert isinstance(scale, float)
    builder.output("embedding" if config.task == "embedding" else "logits", buffer, scale)
