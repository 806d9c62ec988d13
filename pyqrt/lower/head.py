"""The head: pooling, feed-forward block, transform, norm, classifier; and the program's output."""

from __future__ import annotations

from pyqrt.lower.feed_forward import lower_feed_forward
from pyqrt.lower.linear import IntegerInput, logits_s32
from pyqrt.lower.parts import Parts, Stream, parameters_of
from pyqrt.nn.config import EncoderConfig, Spans
from pyqrt.nn.layers import TaskHead
from pyqrt.nn.spans import Bound, SpanSelection, SpanTransform

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
    if head.spans is not None:
        buffer, scale = _spans(parts, head.spans, source)
    if head.classifier is not None:
        buffer, scale = logits_s32(builder, "head.classifier", source, *parameters_of(head.classifier))
    elif config.normalize:
        spec = builder.spec(buffer)
        unit = builder.buffer("s32", spec.rows, spec.width)
        builder.node("normalize", "head.normalized", (buffer,), (unit,), {}, {})
        buffer, scale = unit, UNIT_SCALE
    assert isinstance(scale, float)
    builder.output("embedding" if config.task == "embedding" else "logits", buffer, scale)


def _spans(parts: Parts, spans: SpanSelection, source: IntegerInput) -> tuple[int, float]:
    """Start and end logits: their buffer, and its scale."""
    builder = parts.builder
    question = parts.pooled("head.spans.question", source, "token", token=spans.config.token)
    tokens, rows = {}, {}
    bounds: dict[str, Bound] = {"head.spans.start": spans.start, "head.spans.end": spans.end}
    for name, bound in bounds.items():
        tokens[name] = _transformed(parts, f"{name}.token", bound.token, spans.config, source)
        rows[name] = _transformed(parts, f"{name}.question", bound.question, spans.config, question)
    # both logits have one scale, so the rows' are what the tokens' leave of the larger product
    scale = max(stream.scale * parts.scales.wide[f"{name}.output"] for name, stream in tokens.items())
    inputs: list[int] = []
    for name, bound in bounds.items():
        row = parts.linear(f"{name}.output", bound.classifier, rows[name].source, scale / tokens[name].scale)
        inputs += [tokens[name].buffer, row.buffer]
    shift = max(1, (builder.spec(inputs[0]).width - 1).bit_length())
    logits = builder.buffer("s32", "tokens", len(bounds))
    builder.node("match", "head.spans", tuple(inputs), (logits,), {"shift": shift}, {})
    return logits, scale * 2.0**shift


def _transformed(
    parts: Parts, name: str, transform: SpanTransform, config: Spans, source: IntegerInput
) -> Stream:
    """Linear layer, activation and norm, int16."""
    before, after = f"{name}.linear", f"{name}.activation"
    inner = parts.activated(after, before, transform.linear, config.activation, source)
    assert isinstance(inner.grid, float)
    return parts.norm(f"{name}.output", transform.norm, Stream(inner.buffer, inner.grid), narrow=False)
