"""The parts of the float encoder: embeddings, attention, feed-forward network, head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyqrt.nn.activations import activation
from pyqrt.nn.config import Disentangled, EncoderConfig, GlobalTokens, RelativeBias, RelativeKeys
from pyqrt.nn.packing import Packing, beside
from pyqrt.nn.relative import Relative, rows_of_distances
from pyqrt.nn.rotary import rotary_tables, rotate
from pyqrt.nn.spans import SpanSelection
from pyqrt.nn.tap import Tap


class Affine(nn.LayerNorm):
    """A layer norm's gain and bias without the normalisation: [rows, width] -> the same shape."""

    def forward(self, x: Tensor) -> Tensor:
        """``x * weight + bias``."""
        scaled: Tensor = x * self.weight
        return scaled if self.bias is None else scaled + self.bias


def layer_norm(config: EncoderConfig, width: int, normalize: bool = True) -> nn.LayerNorm:
    """A layer norm as the configuration has them. normalize: where not, its gain and bias alone."""
    kind = nn.LayerNorm if normalize else Affine
    return kind(width, eps=config.layer_norm_eps, bias=config.norm_bias)


def _like(linear: nn.Linear) -> nn.Linear:
    """A linear layer of the same shape, with a bias if `linear` has one."""
    return nn.Linear(linear.in_features, linear.out_features, bias=linear.bias is not None)


class Embeddings(nn.Module):
    """Sum of the word, type and position rows of every token; as configured a norm, projections."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width, reach = config.embedding_size, config.word_reach
        sum_width = width if reach is None else config.hidden_size
        self.position_offset = config.position_offset
        self.word_scale = config.word_scale
        self.word_reach = reach
        self.word = nn.Embedding(config.vocab_size, width)
        self.word_projection: nn.Linear | None = None
        if reach is not None:
            self.word_projection = nn.Linear(width * (2 * reach + 1), sum_width)
            self.words_tap = Tap()
            self.rest_tap = Tap()
        self.position = nn.Embedding(config.num_positions, sum_width) if config.num_positions else None
        self.token_type = nn.Embedding(config.type_vocab_size, sum_width) if config.type_vocab_size else None
        self.sum_tap = Tap()
        self.norm: nn.LayerNorm | None = None
        if config.embedding_norm:
            self.norm = layer_norm(config, sum_width, config.normalize)
            self.output_tap = Tap()
        self.projection: nn.Linear | None = None
        if config.embedding_projection:
            self.projection = nn.Linear(width, config.hidden_size)
            self.projected_tap = Tap()

    def forward(self, ids: Tensor, positions: Tensor, types: Tensor) -> Tensor:
        """int64 [tokens] each -> float [tokens, hidden]."""
        x: Tensor = self.word(ids) * self.word_scale
        rows = [] if self.token_type is None else [self.token_type(types)]
        if self.position is not None:
            rows.append(self.position(positions + self.position_offset))
        if self.word_projection is not None and self.word_reach is not None:
            x = self.word_projection(self.words_tap(beside(x, positions, self.word_reach)))
            rows = [self.rest_tap(sum(rows))]
        for row in rows:
            x = x + row
        x = self.sum_tap(x)
        if self.norm is not None:
            x = self.output_tap(self.norm(x))
        if self.projection is not None:
            x = self.projected_tap(self.projection(x))
        return x


class Block(nn.Module):
    """What attention and feed-forward network share: a residual around them, and one norm.

    The norm follows the sum ("post", read at the tap `output`) or precedes the block ("pre", at the
    tap `input`).
    """

    norm_first: bool
    norm: nn.LayerNorm | None

    def add_norm(self, config: EncoderConfig, wanted: bool = True) -> None:
        """The norm and the taps around it; comes last, so that parameters are in the order of use."""
        self.norm_first = config.norm == "pre"
        self.norm = layer_norm(config, config.layer_size, config.normalize) if wanted else None
        self.sum_tap = Tap()
        if self.norm_first:
            self.input_tap = Tap()
        else:
            self.output_tap = Tap()

    def read(self, x: Tensor) -> Tensor:
        """What the block's linear layers read of its input, [tokens, hidden] both."""
        result: Tensor = self.input_tap(self.norm(x)) if self.norm_first and self.norm is not None else x
        return result

    def add(self, inner: Tensor, x: Tensor) -> Tensor:
        """The residual sum of the block's input `x`, and in a post-norm encoder its norm."""
        total: Tensor = self.sum_tap(inner + x)
        if self.norm_first:
            return total
        assert self.norm is not None
        result: Tensor = self.output_tap(self.norm(total))
        return result


class Attention(Block):
    """Multi-head self-attention within every sequence.

    relative: the encoder's tables of relative positions, if it has any.
    """

    relative: Relative | None

    def __init__(self, config: EncoderConfig, index: int, relative: Relative | None) -> None:
        super().__init__()
        width, bottleneck = config.layer_size, config.bottleneck
        value_width = config.hidden_size if bottleneck is not None and bottleneck.apart else width
        self.num_heads = config.num_attention_heads
        self.scale = config.score_scale
        self.rotary = config.rotary
        self.rotary_base = config.rotary.bases[index] if config.rotary else 0.0
        self.rotary_size = (config.rotary.size or config.head_dim) if config.rotary else 0
        self.window = config.windows[index] if config.windows else None
        self.blocks = config.blocks
        object.__setattr__(self, "relative", relative)  # a module of the encoder, not of every layer
        self.query = nn.Linear(width, width, bias="query" in config.attention_biases)
        self.key = nn.Linear(width, width, bias="key" in config.attention_biases)
        self.value = nn.Linear(value_width, width, bias="value" in config.attention_biases)
        self.output = nn.Linear(width, width, bias="output" in config.attention_biases)
        self.query_tap = Tap()
        self.key_tap = Tap()
        self.value_tap = Tap()
        self.context_tap = Tap()
        self.positions = kind = config.relative
        self.relative_key: nn.Linear | None = None
        self.relative_query: nn.Linear | None = None
        self.distances: nn.Embedding | None = None
        if isinstance(kind, Disentangled) and not kind.shared:
            self.relative_key = _like(self.key) if kind.keys else None
            self.relative_query = _like(self.query) if kind.queries else None
        elif isinstance(kind, RelativeKeys):
            self.distances = nn.Embedding(2 * kind.span - 1, config.head_dim)
        if isinstance(kind, RelativeKeys) or (isinstance(kind, Disentangled) and kind.keys):
            self.relative_key_tap = Tap()
        if isinstance(kind, (RelativeKeys, Disentangled)) and kind.queries:
            self.relative_query_tap = Tap()
        self.globals: GlobalAttention | None = None
        if config.global_tokens is not None:
            self.globals = GlobalAttention(config, config.global_tokens)
        self.add_norm(config, wanted=config.first_norm or index > 0)

    def forward(
        self, x: Tensor, packing: Packing, matched: Tensor | None = None, taken: Tensor | None = None
    ) -> Tensor:
        """[tokens, layer_size] -> [tokens, layer_size].

        matched: what queries and keys read, taken: what values read, if that is not x.
        """
        source = self.read(x)
        matched, taken = (source if other is None else other for other in (matched, taken))
        query, key = self.query(matched), self.key(matched)
        if self.rotary is not None:
            tables = self.rotary_tables(packing.positions)
            query, key = (rotate(x, self.num_heads, *tables, self.rotary.interleaved) for x in (query, key))
        query, key = self.query_tap(query), self.key_tap(key)
        value = self.value_tap(self.value(taken))
        chosen = None if self.globals is None else packing.globals(self.globals.tokens)

        def further(query: Tensor, key: Tensor, rows: Tensor) -> Tensor:
            return self.further_scores(query, key, None if chosen is None else chosen[rows])

        plain = self.positions is None and self.window is None and self.blocks is None
        context = packing.attention(query, key, value, self.num_heads, self.scale, None if plain else further)
        if self.globals is not None and chosen is not None:
            context = self.globals(context, source, packing, chosen)
        return self.add(self.output(self.context_tap(context)), x)

    def rotary_tables(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine of this layer's rotary positions, [len(positions), pairs] each."""
        assert self.rotary is not None
        return rotary_tables(self.rotary_base, self.rotary_size, positions, self.rotary.double_precision)

    def relative_tables(self) -> tuple[Tensor | None, Tensor | None]:
        """Keys and queries of the relative positions, [rows, hidden] each, as far as there are any."""
        kind = self.positions
        if self.distances is not None and isinstance(kind, RelativeKeys):
            rows = self.distances.weight.repeat(1, self.num_heads)
            return self.relative_key_tap(rows), self.relative_query_tap(rows) if kind.queries else None
        if self.relative is None or not isinstance(kind, Disentangled):
            return None, None
        rows = self.relative.embeddings()
        key = self.relative_key if self.relative_key is not None else self.key
        query = self.relative_query if self.relative_query is not None else self.query
        return (
            self.relative_key_tap(key(rows)) if kind.keys else None,
            self.relative_query_tap(query(rows)) if kind.queries else None,
        )

    def further_scores(self, query: Tensor, key: Tensor, chosen: Tensor | None) -> Tensor:
        """What is added to the scores of [sequences, heads, length, d] each; minus infinity: not seen.

        chosen: the keys that all tokens see, bool [sequences, length].
        """
        scores = query.new_zeros(1, 1)
        if self.positions is not None:
            scores = scores + self.relative_scores(query, key)
        if self.window is not None:
            place = torch.arange(query.shape[2], device=query.device)
            unseen = (place[:, None] - place[None, :]).abs() > self.window
            if chosen is not None:
                unseen = unseen & ~chosen[:, None, None, :]
            scores = scores.masked_fill(unseen, -torch.inf)
        if self.blocks is not None and query.shape[2] > self.blocks.beyond:
            block = torch.arange(query.shape[2], device=query.device) // self.blocks.size
            ends = (block == 0) | (block == block[-1])
            seen = ends[:, None] | ends[None, :] | ((block[:, None] - block[None, :]).abs() <= 1)
            repeated = ~ends[:, None] & (block == 0)[None, :]
            scores = scores + repeated * self.blocks.bias
            scores = scores.masked_fill(~seen, -torch.inf)
        return scores

    def relative_scores(self, query: Tensor, key: Tensor) -> Tensor:
        """What relative positions add to the scores of [sequences, heads, length, d] each."""
        assert self.positions is not None
        heads, length, width = query.shape[1:]
        row_of = rows_of_distances(self.positions, length - 1).to(query.device)
        distance = torch.arange(length, device=query.device)
        row = row_of[distance[:, None] - distance[None, :] + length - 1]  # [length, length]
        if self.relative is not None and isinstance(self.positions, RelativeBias):
            biases: Tensor = self.relative.table(row)
            return biases.permute(2, 0, 1)
        scores = torch.zeros((), device=query.device)
        keys, queries = (
            None if table is None else table.reshape(-1, heads, width).permute(1, 2, 0)
            for table in self.relative_tables()
        )
        if keys is not None:
            scores = scores + (query @ keys).gather(-1, row.expand(*query.shape[:2], -1, -1))
        if queries is not None:
            by_key = (key @ queries).gather(-1, row.T.expand(*key.shape[:2], -1, -1))
            scores = scores + by_key.transpose(-1, -2)
        return scores * self.scale


class GlobalAttention(nn.Module):
    """What the global tokens of a sequence see of all its tokens, by projections of their own."""

    def __init__(self, config: EncoderConfig, tokens: GlobalTokens) -> None:
        super().__init__()
        width, biases = config.hidden_size, config.attention_biases
        self.num_heads = config.num_attention_heads
        self.scale = config.score_scale
        self.tokens = tokens
        self.query = nn.Linear(width, width, bias="query" in biases)
        self.key = nn.Linear(width, width, bias="key" in biases)
        self.value = nn.Linear(width, width, bias="value" in biases)
        if tokens.one:
            self.token_tap = Tap()
        self.query_tap = Tap()
        self.key_tap = Tap()
        self.value_tap = Tap()

    def forward(self, context: Tensor, x: Tensor, packing: Packing, chosen: Tensor) -> Tensor:
        """`context`, like x [tokens, hidden], that of the chosen tokens (bool [tokens]) replaced."""
        key, value = self.key_tap(self.key(x)), self.value_tap(self.value(x))
        if not self.tokens.one:
            query = self.query_tap(self.query(x))
            own = packing.attention(query, key, value, self.num_heads, self.scale)
            return torch.where(chosen[:, None], own, context)
        query = self.query_tap(self.query(self.token_tap(packing.pool(x, "first"))))
        own = packing.first_attention(query, key, value, self.num_heads, self.scale)
        return context.index_copy(0, packing.first_rows, own)


class FeedForward(Block):
    """Two linear layers with an activation between them; if gated, times a third linear layer's output."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width, inner, bias = config.layer_size, config.intermediate_size, config.ffn_bias
        self.up = nn.Linear(width, inner, bias=bias)
        self.gate = nn.Linear(width, inner, bias=bias) if config.gated else None
        self.activation = activation(config.hidden_act)
        self.down = nn.Linear(inner, width, bias=bias)
        self.up_tap = Tap()
        self.activation_tap = Tap()
        if config.gated:
            self.gate_tap = Tap()
            self.product_tap = Tap()
        self.add_norm(config)

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, layer_size] -> [tokens, layer_size]."""
        source = self.read(x)
        inner = self.activation_tap(self.activation(self.up_tap(self.up(source))))
        if self.gate is not None:
            inner = self.product_tap(inner * self.gate_tap(self.gate(source)))
        return self.add(self.down(inner), x)


class Narrow(nn.Module):
    """A linear layer and a norm from the stream into a bottleneck."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.hidden_size, config.layer_size)
        self.norm = layer_norm(config, config.layer_size, config.normalize)
        self.linear_tap = Tap()
        self.output_tap = Tap()

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, hidden] -> [tokens, layer_size]."""
        result: Tensor = self.output_tap(self.norm(self.linear_tap(self.linear(x))))
        return result


class Widen(nn.Module):
    """The linear layer out of a bottleneck, the stream added, the norm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.output = nn.Linear(config.layer_size, config.hidden_size)
        self.norm = layer_norm(config, config.hidden_size, config.normalize)
        self.sum_tap = Tap()
        self.output_tap = Tap()

    def forward(self, x: Tensor, stream: Tensor) -> Tensor:
        """[tokens, layer_size] and [tokens, hidden] -> [tokens, hidden]."""
        result: Tensor = self.output_tap(self.norm(self.sum_tap(self.output(x) + stream)))
        return result


class Convolution(nn.Module):
    """A row beside its neighbours, a linear layer and its activation; what is beside it added, the norm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        assert config.convolution is not None
        self.reach = config.convolution.reach
        self.linear = nn.Linear(config.hidden_size * (2 * self.reach + 1), config.hidden_size)
        self.activation = activation(config.convolution.activation)
        self.norm = layer_norm(config, config.hidden_size)
        self.beside_tap = Tap()
        self.linear_tap = Tap()
        self.activation_tap = Tap()
        self.sum_tap = Tap()
        self.output_tap = Tap()

    def forward(self, x: Tensor, packing: Packing, layer: Tensor) -> Tensor:
        """What a layer reads, and what it gives, [tokens, hidden] each -> the same shape."""
        rows = self.beside_tap(beside(x, packing.positions, self.reach))
        inner = self.activation_tap(self.activation(self.linear_tap(self.linear(rows))))
        result: Tensor = self.output_tap(self.norm(self.sum_tap(inner + layer)))
        return result


class Layer(nn.Module):
    """Attention, then the feed-forward blocks, the last of which is `ffn`; in a bottleneck, if any.

    Beside them the convolution, if any.
    """

    def __init__(self, config: EncoderConfig, index: int = 0, relative: Relative | None = None) -> None:
        super().__init__()
        bottleneck = config.bottleneck
        self.narrow = Narrow(config) if bottleneck else None
        self.narrow_matched = Narrow(config) if bottleneck and bottleneck.apart else None
        self.attention = Attention(config, index, relative)
        self.ffns = nn.ModuleList(FeedForward(config) for _ in range(config.ffn_blocks - 1))
        self.ffn = FeedForward(config)
        self.widen = Widen(config) if bottleneck else None
        self.convolution = Convolution(config) if config.convolution and index == 0 else None

    def feed_forwards(self) -> list[tuple[str, FeedForward]]:
        """The feed-forward blocks in order: name within the layer, block."""
        first = [(f"ffns.{i}", block) for i, block in enumerate(self.ffns) if isinstance(block, FeedForward)]
        return [*first, ("ffn", self.ffn)]

    def forward(self, stream: Tensor, packing: Packing) -> Tensor:
        """[tokens, hidden] -> [tokens, hidden]."""
        x = stream if self.narrow is None else self.narrow(stream)
        if self.narrow_matched is None:
            x = self.attention(x, packing)
        else:
            x = self.attention(x, packing, self.narrow_matched(stream), stream)
        for _, block in self.feed_forwards():
            x = block(x)
        if self.convolution is not None:
            x = self.convolution(stream, packing, x)
        result: Tensor = x if self.widen is None else self.widen(x, stream)
        return result


class TaskHead(nn.Module):
    """Pooling, feed-forward block, transform, norm, classifier or spans: those `config.head` has, or None."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = head = config.head
        width = config.hidden_size
        self.pooled_tap = Tap() if head.pooling else None
        self.ffn = FeedForward(config) if head.feed_forward else None
        self.transform: nn.Linear | None = None
        self.norm: nn.LayerNorm | None = None
        if head.transform_activation is not None:
            inputs, width = width, head.transform_size or width
            self.transform = nn.Linear(inputs, width, bias=head.transform_bias)
            self.activation = activation(head.transform_activation)
            self.pre_activation_tap = Tap()
            self.activation_tap = Tap()
        if head.transform_norm:
            self.norm = layer_norm(config, width)
            self.normalized_tap = Tap()
        self.spans = SpanSelection(head.spans, width) if head.spans else None
        self.classifier: nn.Linear | None = None
        if head.num_labels and self.spans is None:
            self.classifier = nn.Linear(width, head.num_labels, bias=head.classifier_bias)
        self.output_tap = Tap()

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """[tokens, hidden] -> [sequences or tokens, hidden, transform_size or labels]."""
        if self.pooled_tap is not None:
            x = self.pooled_tap(packing.pool(x, self.config.pooling))
        if self.ffn is not None:
            x = self.ffn(x)
        if self.transform is not None:
            x = self.activation_tap(self.activation(self.pre_activation_tap(self.transform(x))))
        if self.norm is not None:
            x = self.normalized_tap(self.norm(x))
        if self.classifier is not None:
            x = self.classifier(x)
        if self.spans is not None:
            x = self.spans(x, packing)
        x = self.output_tap(x)
        return functional.normalize(x, dim=-1) if self.config.normalize else x
