"""The one float encoder. Families differ by `EncoderConfig` only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyqrt.errors import ModelError
from pyqrt.nn.activations import activation
from pyqrt.nn.config import EncoderConfig
from pyqrt.nn.packing import Packing
from pyqrt.nn.tap import Tap


class Embeddings(nn.Module):
    """Sum of the word, type and position rows of every token, normalised."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.embedding_size
        self.position_offset = config.position_offset
        self.word = nn.Embedding(config.vocab_size, width)
        self.position = nn.Embedding(config.num_positions, width)
        self.token_type = nn.Embedding(config.type_vocab_size, width) if config.type_vocab_size else None
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.sum_tap = Tap()
        self.output_tap = Tap()

    def forward(self, ids: Tensor, positions: Tensor, types: Tensor) -> Tensor:
        """int64 [tokens] each -> float [tokens, width]."""
        x = self.word(ids)
        if self.token_type is not None:
            x = x + self.token_type(types)
        x = x + self.position(positions + self.position_offset)
        output: Tensor = self.output_tap(self.norm(self.sum_tap(x)))
        return output


class Attention(nn.Module):
    """Multi-head self-attention within every sequence, residual, norm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.query_tap = Tap()
        self.key_tap = Tap()
        self.value_tap = Tap()
        self.context_tap = Tap()
        self.sum_tap = Tap()
        self.output_tap = Tap()

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """[tokens, hidden] -> [tokens, hidden]."""
        query = self.query_tap(self.query(x))
        key = self.key_tap(self.key(x))
        value = self.value_tap(self.value(x))
        context = self.context_tap(packing.attention(query, key, value, self.num_heads))
        output: Tensor = self.output_tap(self.norm(self.sum_tap(self.output(context) + x)))
        return output


class FeedForward(nn.Module):
    """Two linear layers with an activation between them, residual, norm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = activation(config.hidden_act)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.up_tap = Tap()
        self.activation_tap = Tap()
        self.sum_tap = Tap()
        self.output_tap = Tap()

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, hidden] -> [tokens, hidden]."""
        inner = self.activation_tap(self.activation(self.up_tap(self.up(x))))
        output: Tensor = self.output_tap(self.norm(self.sum_tap(self.down(inner) + x)))
        return output


class Layer(nn.Module):
    """Attention, then the feed-forward network."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.ffn = FeedForward(config)

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """[tokens, hidden] -> [tokens, hidden]."""
        output: Tensor = self.ffn(self.attention(x, packing))
        return output


class TaskHead(nn.Module):
    """Pooling, pooler and classifier, as far as `config.head` has them; the others are None."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = head = config.head
        width = config.hidden_size
        self.pooled_tap = Tap() if head.pooling else None
        self.pooler: nn.Linear | None = None
        if head.pooler_activation is not None:
            self.pooler = nn.Linear(width, width)
            self.activation = activation(head.pooler_activation)
            self.pre_activation_tap = Tap()
            self.activation_tap = Tap()
        self.classifier = nn.Linear(width, head.num_labels) if head.num_labels else None
        self.output_tap = Tap()

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """[tokens, hidden] -> [sequences or tokens, hidden or labels]."""
        if self.pooled_tap is not None:
            x = x[packing.first_rows] if self.config.pooling == "first" else packing.mean(x)
            x = self.pooled_tap(x)
        if self.pooler is not None:
            x = self.activation_tap(self.activation(self.pre_activation_tap(self.pooler(x))))
        if self.classifier is not None:
            x = self.classifier(x)
        x = self.output_tap(x)
        return functional.normalize(x, dim=-1) if self.config.normalize else x


class Encoder(nn.Module):
    """A transformer encoder over packed tokens: no padding, no mask, no dropout.

    Source: Vaswani et al. 2017 (arXiv 1706.03762) as arranged by Devlin et al. 2018 (arXiv 1810.04805).
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.head = TaskHead(config)

    def forward(self, ids: Tensor, offsets: Sequence[int] | Tensor, types: Tensor | None = None) -> Tensor:
        """Run the sequences of a batch, laid end to end.

        ids: int64 [tokens], each in [0, vocab_size).
        offsets: [sequences + 1] integers; sequence s is tokens [offsets[s], offsets[s + 1]).
        types: int64 [tokens], each in [0, type_vocab_size); None means zeros.

        Returns float [sequences, hidden] for embeddings, logits [sequences, labels] for sequence
        classification, [tokens, labels] for token classification, [tokens, 2] for question answering.
        Raises ModelError for anything outside those ranges, or a sequence longer than max_length.
        """
        if types is None:
            types = torch.zeros_like(ids)
        self._check(ids, types)
        packing = Packing(offsets, len(ids), ids.device)
        longest, limit = max(packing.lengths), self.config.max_length
        if longest > limit:
            sequence = packing.lengths.index(longest)
            raise ModelError(
                f"sequence {sequence} has {longest} tokens; the model takes {limit} at most: truncate it"
            )
        x = self.embeddings(ids, packing.positions, types)
        for layer in self.layers:
            x = layer(x, packing)
        output: Tensor = self.head(x, packing)
        return output

    def taps(self) -> dict[str, Tap]:
        """Every tap by the name of the activation it sees, in the order they are passed.

        "embeddings.sum", "embeddings.output"; per layer "layers.0.attention." query, key, value, context,
        sum, output and "layers.0.ffn." up, activation, sum, output; "head." pooled, pre_activation,
        activation (the first with a pooling, the others with a pooler) and output.
        """
        return {
            name.removesuffix("_tap"): module
            for name, module in self.named_modules()
            if isinstance(module, Tap)
        }

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
