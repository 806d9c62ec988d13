"""The one float encoder. Families differ by `EncoderConfig` only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyqrt.errors import ModelError
from pyqrt.nn.config import Disentangled, EncoderConfig, RelativeBias
from pyqrt.nn.layers import Embeddings, Layer, TaskHead, layer_norm
from pyqrt.nn.packing import Packing
from pyqrt.nn.relative import Relative
from pyqrt.nn.tap import Tap


class Encoder(nn.Module):
    """A transformer encoder over packed tokens: no padding, no mask, no dropout.

    Source: Vaswani et al. 2017 (arXiv 1706.03762) as arranged by Devlin et al. 2018 (arXiv 1810.04805).
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        shared = isinstance(config.relative, (RelativeBias, Disentangled))
        self.relative = Relative(config) if shared else None
        self.layers = nn.ModuleList(
            Layer(config, index, self.relative) for index in range(len(set(config.layer_order)))
        )
        self.norm: nn.LayerNorm | None = None
        if config.norm == "pre":
            self.norm = layer_norm(config, config.hidden_size)
            self.output_tap = Tap()
        self.head = TaskHead(config)

    def forward(self, ids: Tensor, offsets: Sequence[int] | Tensor, types: Tensor | None = None) -> Tensor:
        """Run the sequences of a batch, laid end to end.

        ids: int64 [tokens], each in [0, vocab_size).
        offsets: [sequences + 1] integers; sequence s is tokens [offsets[s], offsets[s + 1]).
        types: int64 [tokens], each in [0, type_vocab_size); None means zeros.

        Returns float [sequences, hidden] for embeddings, logits [sequences, labels] for sequence
        classification, [sequences, 1] for multiple choice, [tokens, labels] for token classification,
        [tokens, 2] for question answering, [tokens, vocab_size] for masked language models.
        Raises ModelError for anything outside those ranges, or a sequence longer than max_length.
        """
        if types is None:
            types = torch.zeros_like(ids)
        self._check(ids, types)
        packing = Packing(offsets, ids)
        longest, limit = max(packing.lengths), self.config.max_length
        if longest > limit:
            sequence = packing.lengths.index(longest)
            raise ModelError(
                f"sequence {sequence} has {longest} tokens; the model takes {limit} at most: truncate it"
            )
        x = self.embeddings(ids, packing.positions, types)
        for index in self.config.layer_order:
            x = self.layers[index](x, packing)
        if self.norm is not None:
            x = self.output_tap(self.norm(x))
        output: Tensor = self.head(x, packing)
        return output

    def taps(self) -> dict[str, Tap]:
        """Every tap by the name of the activation it sees, in the order they are passed.

        "embeddings." words, rest, sum, output (normalised) and projected; per set of layer weights
        "layers.0.attention." query, key, value, context, sum and output, of global tokens
        "layers.0.attention.globals." token, query, key and value, "layers.0.ffn." up, activation, sum
        and output; of several feed-forward blocks those before the last as "layers.0.ffns.0."; of bottlenecks
        "layers.0.narrow." and "layers.0.narrow_matched." linear and output, "layers.0.widen." sum and output;
        of a convolution "layers.0.convolution." beside, linear, activation, sum and output;
        of pre-norm encoders input for output, and "output" after the last norm; "head." pooled,
        pre_activation, activation, normalized and output; of span selection "head.spans." question, and of
        its "start." and "end." output, and of their "question." and "token." linear, activation and output.
        Those that the configuration has.
        """
        return {
            name.removesuffix("_tap"): module
            for name, module in self.named_modules()
            if isinstance(module, Tap)
        }

    def stream_tap(self, index: int) -> str:
        """The tap that sees the output of a set of layer weights; of a pre-norm one before any norm."""
        if self.config.bottleneck is not None:
            return f"layers.{index}.widen.output"
        if self.config.convolution is not None and index == 0:
            return f"layers.{index}.convolution.output"
        return f"layers.{index}.ffn.{'output' if self.config.norm == 'post' else 'sum'}"

    def readers(self) -> dict[str, list[nn.Linear]]:
        """The linear layers below the head's that read the tensor at a tap, by the tap's name.

        Layers that share weights also share their taps, which then see what all of them compute.
        """
        found: dict[str, list[nn.Linear]] = defaultdict(list)

        def add(tap: str, *linears: nn.Linear) -> None:
            found[tap] += [linear for linear in linears if all(linear is not known for known in found[tap])]

        if self.embeddings.word_projection is not None:
            add("embeddings.words", self.embeddings.word_projection)
        source = "embeddings.output" if self.embeddings.norm is not None else "embeddings.sum"
        if self.embeddings.projection is not None:
            add(source, self.embeddings.projection)
            source = "embeddings.projected"
        for index in self.config.layer_order:
            layer, prefix = self.layers[index], f"layers.{index}"
            assert isinstance(layer, Layer)
            attention, first = layer.attention, self.config.norm == "pre"
            for narrow in (layer.narrow, layer.narrow_matched):
                if narrow is not None:
                    add(source, narrow.linear)
            matched = taken = f"{prefix}.attention.input" if first and attention.norm is not None else source
            if layer.narrow_matched is not None:
                matched = f"{prefix}.narrow_matched.output"
            elif layer.narrow is not None:
                matched = taken = f"{prefix}.narrow.output"
            add(matched, attention.query, attention.key)
            add(taken, attention.value)
            if attention.globals is not None:
                add(taken, attention.globals.key, attention.globals.value)
                token = f"{prefix}.attention.globals.token"
                add(token if attention.globals.tokens.one else taken, attention.globals.query)
            add(f"{prefix}.attention.context", attention.output)
            source = f"{prefix}.attention.output"
            for block, ffn in layer.feed_forwards():
                name = f"{prefix}.{block}"
                up = [linear for linear in (ffn.up, ffn.gate) if linear is not None]
                add(f"{name}.input" if first else source, *up)
                add(f"{name}.{'activation' if ffn.gate is None else 'product'}", ffn.down)
                source = f"{name}.output"
            if layer.widen is not None:
                add(source, layer.widen.output)
                source = f"{prefix}.widen.output"
            if layer.convolution is not None:
                add(f"{prefix}.convolution.beside", layer.convolution.linear)
                source = f"{prefix}.convolution.output"
        return dict(found)

    def _check(self, ids: Tensor, types: Tensor) -> None:
        for name, values in (("ids", ids), ("types", types)):
            if values.dtype != torch.int64 or values.shape != (ids.numel(),):
                raise ModelError(
                    f"{name} must be int64 of shape [{ids.numel()}] (tokens); "
                    f"got {values.dtype} {list(values.shape)}"
                )
        # without a type table only type 0 exists
        limits = {"ids": (ids, self.config.vocab_size), "types": (types, self.config.type_vocab_size or 1)}
        for name, (values, limit) in limits.items():
            outside = ((values < 0) | (values >= limit)).nonzero()
            if len(outside):
                index = int(outside[0])
                raise ModelError(f"{name}[{index}] is {int(values[index])}; it must be in [0, {limit})")
