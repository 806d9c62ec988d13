"""What an encoder is: everything that may differ between two checkpoints, and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from pyqrt.errors import ModelError
from pyqrt.nn.activations import activation

Task = Literal[
    "embedding",
    "sequence_classification",
    "token_classification",
    "question_answering",
    "masked_lm",
    "multiple_choice",
]
Pooling = Literal["mean", "first", "last", "max"]
Problem = Literal["single_label", "multi_label", "regression"]

TASKS: tuple[Task, ...] = get_args(Task)
_SEQUENCE_TASKS: tuple[Task, ...] = ("embedding", "sequence_classification", "multiple_choice")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ModelError(message)


def _require_count(name: str, value: int, least: int) -> None:
    # bool is an int to Python, not to a configuration
    valid = isinstance(value, int) and not isinstance(value, bool) and value >= least
    _require(valid, f"{name} is {value!r}; it must be an integer of at least {least}")


def _require_activation(name: str, value: str) -> None:
    try:
        activation(value)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Spans:
    """Start and end of an answer by products of rows with the question's (Ram et al. 2021, arXiv 2101.00438).

    token: id of the token that stands for the question; the first of a text counts, of a text without one
    its first token. activation, layer_norm_eps: of the transforms of both rows.
    """

    token: int
    activation: str = "gelu"
    layer_norm_eps: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class Head:
    """What stands on top of the encoder.

    task               result of a forward pass
    "embedding"        the pooled row; of Euclidean length 1 if `normalize`
    "sequence_classification"  logits from the pooled row
    "token_classification"     logits from every token
    "question_answering"       start and end logits from every token
    "masked_lm"                a logit for every entry of the vocabulary, from every token
    "multiple_choice"          one logit from the pooled row: the choices of a question are sequences

    pooling: one row per sequence: its mean, its first or last token, or the largest value of every
    column; None: the head works on tokens.
    feed_forward: a feed-forward block like the layers' comes first.
    transform_activation: a linear layer and this activation follow; None: neither. transform_size: its
    width, 0 meaning hidden_size. transform_bias: has it a bias? transform_norm: a layer norm follows it.
    num_labels: logits per row; 0 for embeddings. labels: their names, in order; none for the vocabulary
    and for choices.
    problem: how logits are meant (softmax, independent sigmoids, plain numbers): of a sequence always
    stated, of a token "multi_label" or None, which is the softmax.
    tied: the classifier's weight is the word embedding table. classifier_bias: has it a bias?
    spans: of question answering, what the logits come from; None: a linear layer.
    """

    task: Task
    pooling: Pooling | None = None
    normalize: bool = False
    feed_forward: bool = False
    transform_activation: str | None = None
    transform_size: int = 0
    transform_bias: bool = True
    transform_norm: bool = False
    num_labels: int = 0
    labels: tuple[str, ...] = ()
    problem: Problem | None = None
    tied: bool = False
    classifier_bias: bool = True
    spans: Spans | None = None

    def __post_init__(self) -> None:
        _require(self.task in TASKS, f"task is {self.task!r}; known: {', '.join(TASKS)}")
        embedding = self.task == "embedding"
        if self.task in _SEQUENCE_TASKS:
            known = get_args(Pooling)
            _require(self.pooling in known, f"pooling is {self.pooling!r}; {self.task} needs one of {known}")
        else:
            _require(self.pooling is None, f"pooling is {self.pooling!r}; {self.task} has none")
        _require(
            not self.feed_forward or self.pooling is None,
            f"feed_forward: implemented where the head works on tokens; pooling is {self.pooling!r}",
        )
        _require(embedding or not self.normalize, f"normalize: {self.task} has no embedding to normalize")
        _require_count("transform_size", self.transform_size, 0)
        if self.transform_activation is not None:
            _require_activation("transform_activation", self.transform_activation)
        else:
            _require(not self.transform_norm, "transform_norm: there is no transform_activation to follow")
        if embedding:
            _require(self.num_labels == 0, f"num_labels is {self.num_labels!r}; an embedding has none")
        else:
            _require_count("num_labels", self.num_labels, 1)
        named = self.num_labels if self.task not in ("masked_lm", "multiple_choice") else 0
        _require(
            len(self.labels) == named, f"labels: {len(self.labels)} names for num_labels = {self.num_labels}"
        )
        if self.task == "question_answering":
            _require(self.num_labels == 2, "num_labels: question answering has two, start and end")
        _require(self.task == "masked_lm" or not self.tied, f"tied: {self.task} has no vocabulary to tie")
        if self.spans is not None:
            _require(
                self.task == "question_answering"
                and not self.feed_forward
                and self.transform_activation is None,
                "spans: implemented for question answering without other parts of a head",
            )
            _require_count("spans.token", self.spans.token, 0)
            _require_activation("spans.activation", self.spans.activation)
        if self.task == "multiple_choice":
            _require(self.num_labels == 1, "num_labels: multiple choice has one, of the choice")
        self._check_problem()

    def _check_problem(self) -> None:
        if self.task == "sequence_classification":
            known = get_args(Problem)
            _require(self.problem in known, f"problem is {self.problem!r}; needed is one of {known}")
            _require(
                self.problem != "single_label" or self.num_labels > 1,
                "problem is 'single_label' with one label; it takes two or more",
            )
        elif self.task == "token_classification":
            known = (None, "multi_label")
            _require(self.problem in known, f"problem is {self.problem!r}; {self.task} takes one of {known}")
        else:
            _require(self.problem is None, f"problem is {self.problem!r}; {self.task} has none")


@dataclass(frozen=True, kw_only=True)
class RelativeBias:
    """A bias on every score by head and by the bucket of the distance (Raffel et al. 2020, arXiv 1910.10683).

    buckets: half of them for each direction, half of those for single distances, the others growing
    logarithmically up to max_distance.
    """

    buckets: int
    max_distance: int


@dataclass(frozen=True, kw_only=True)
class Disentangled:
    """Scores between content and relative position (He et al. 2021, arXiv 2006.03654).

    span: distances from -span to span - 1 have a row of the table each; beyond it they share the last.
    buckets: if not 0, distances above half of it grow logarithmically up to max_distance first.
    keys, queries: content to position, position to content: which of the two there are.
    shared: projected like content; else by linear layers of their own. norm: normalised before that.
    """

    span: int
    buckets: int = 0
    max_distance: int = 0
    keys: bool = True
    queries: bool = True
    shared: bool = True
    norm: bool = False


@dataclass(frozen=True, kw_only=True)
class RelativeKeys:
    """Rows by distance that are added to keys, the same for all heads (Shaw et al. 2018, arXiv 1803.02155).

    Every layer has its own, one for each distance from -span + 1 to span - 1. queries: they are added to
    queries too (Huang et al. 2020, arXiv 2009.13658, method 4).
    """

    span: int
    queries: bool = False


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """Queries and keys turned by their position (Su et al. 2021, arXiv 2104.09864).

    bases: of the frequencies, for each layer. size: columns of a head that are turned; 0: all, their
    number being even. interleaved: neighbouring columns make a pair, not columns half a size apart.
    double_precision: of the angles, which are in single precision else.
    """

    bases: tuple[float, ...]
    size: int = 0
    interleaved: bool = False
    double_precision: bool = False


@dataclass(frozen=True, kw_only=True)
class Bottleneck:
    """Layers narrower than the stream between them (Sun et al. 2020, arXiv 2004.02984).

    A linear layer and a norm take a layer's input to `size` columns. After the last feed-forward block a
    linear layer takes them back, the layer's input is added, and a norm follows.
    apart: queries and keys read another narrowing of their own, and values the layer's input; else all
    three read the first one.
    """

    size: int
    apart: bool = True


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """A convolution over tokens beside the first layer (as in DeBERTa v2, He et al. 2021, arXiv 2006.03654).

    The embeddings of a token and of `reach` tokens before and after it go through a linear layer and an
    activation, and are added to what the first layer gives; a norm follows.
    """

    reach: int
    activation: str


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """What tokens see of sequences longer than `beyond` (Zaheer et al. 2020, arXiv 2007.14062).

    In blocks of `size` tokens: of the first, their own and its neighbours, and the last; from the first and
    the last block everything. From the others, tokens of the first block count `repeats` times more.
    """

    size: int
    beyond: int
    repeats: int

    @property
    def bias(self) -> float:
        """What counting so often adds to a score."""
        return math.log1p(self.repeats)


@dataclass(frozen=True, kw_only=True)
class GlobalTokens:
    """Tokens of a sequence that are seen from everywhere, and see everything by projections of their own.

    They are its first one; with `until`, all before the first token of that id, all if there is none; with
    `after`, all from the second behind the first token of that id on (Beltagy et al. 2020, arXiv 2004.05150).
    """

    until: int | None = None
    after: int | None = None

    def __post_init__(self) -> None:
        _require(
            self.until is None or self.after is None, "global_tokens: until and after exclude each other"
        )

    @property
    def one(self) -> bool:
        """Is it the first token alone?"""
        return self.until is None and self.after is None


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """A transformer encoder.

    family: the file in `models/` that described it.
    max_length: tokens a sequence may have.
    num_positions: rows of the position table; token i of a sequence reads row position_offset + i;
    0: there is none.
    type_vocab_size: rows of the token type table; 0: there is none.
    word_scale: what word embeddings are multiplied by. embedding_size: width of the embedding tables.
    embedding_projection: a linear layer takes it to
    hidden_size; needed where they differ. word_reach: instead, only the word embeddings, those of a token
    beside those of so many tokens before and after it, are taken to hidden_size, and the other tables are
    that wide; None: it is not so.
    num_hidden_layers: layers that a token passes. layer_groups: groups of layers_per_group layers that are
    passed again and again, each group equally often, the first until the second begins (Lan et al. 2020,
    arXiv 1909.11942); 0: every layer has weights of its own.
    norm: "post": every residual sum is normalised; "pre": every input of attention and feed-forward
    network is, and the last sum.
    normalize: norms normalise; if not, those of embeddings and layers are a gain and a bias alone.
    embedding_norm: the embeddings' sum is normalised.
    first_norm: the first input of pre-norm layers is normalised too; if not, it is the embeddings' norm
    that the first attention reads.
    attention_biases: which of the attention's linear layers have a bias; those that project relative keys
    and queries are like those of keys and queries. ffn_bias, norm_bias: have these linear layers and norms
    one?
    gated: the activation is multiplied by a second linear layer's output (Shazeer 2020, arXiv 2002.05202).
    ffn_blocks: feed-forward blocks of a layer, one after the other. bottleneck: None: layers are as wide
    as the stream.
    relative: relative positions; None: there are none.
    rotary: rotary positions; None: there are none.
    convolution: beside the first layer; None: there is none.
    blocks: what is seen of long sequences; None: everything.
    windows: for each layer how far a token sees to both sides, None being everything; empty: everything.
    global_tokens: seen from everywhere, beside windows; None: there are none.
    """

    family: str
    vocab_size: int
    hidden_size: int
    embedding_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    hidden_act: str
    max_length: int
    num_positions: int
    type_vocab_size: int
    layer_norm_eps: float
    head: Head
    position_offset: int = 0
    word_scale: float = 1.0
    embedding_projection: bool = False
    word_reach: int | None = None
    embedding_norm: bool = True
    layer_groups: int = 0
    layers_per_group: int = 1
    norm: Literal["post", "pre"] = "post"
    normalize: bool = True
    first_norm: bool = True
    attention_biases: tuple[str, ...] = ("query", "key", "value", "output")
    ffn_bias: bool = True
    norm_bias: bool = True
    gated: bool = False
    ffn_blocks: int = 1
    bottleneck: Bottleneck | None = None
    relative: RelativeBias | Disentangled | RelativeKeys | None = None
    rotary: Rotary | None = None
    convolution: Convolution | None = None
    blocks: Blocks | None = None
    windows: tuple[int | None, ...] = ()
    global_tokens: GlobalTokens | None = None

    def __post_init__(self) -> None:
        for name in (
            "vocab_size",
            "hidden_size",
            "embedding_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_length",
        ):
            _require_count(name, getattr(self, name), 1)
        for name in ("num_positions", "type_vocab_size", "position_offset"):
            _require_count(name, getattr(self, name), 0)
        _require_count("ffn_blocks", self.ffn_blocks, 1)
        if self.bottleneck is not None:
            _require_count("bottleneck.size", self.bottleneck.size, 1)
            _require(
                self.norm == "post" and self.relative is None and self.rotary is None,
                "bottleneck: implemented for post-norm encoders with positions in the embeddings only",
            )
        _require(
            self.layer_size % self.num_attention_heads == 0,
            f"{'hidden_size' if self.bottleneck is None else 'bottleneck.size'} {self.layer_size} is not a "
            f"multiple of num_attention_heads {self.num_attention_heads}",
        )
        if self.word_reach is not None:
            _require_count("word_reach", self.word_reach, 0)
            _require(
                not self.embedding_projection and bool(self.num_positions or self.type_vocab_size),
                "word_reach: implemented without embedding_projection, beside positions or token types",
            )
        _require(
            self.embedding_projection
            or self.word_reach is not None
            or self.embedding_size == self.hidden_size,
            f"embedding_size {self.embedding_size!r} differs from hidden_size {self.hidden_size} and "
            "nothing projects it",
        )
        _require(
            self.num_positions == 0 or self.max_length <= self.num_positions - self.position_offset,
            f"max_length {self.max_length} exceeds the {self.num_positions - self.position_offset} positions "
            f"that num_positions {self.num_positions} and position_offset {self.position_offset} leave",
        )
        _require_count("layer_groups", self.layer_groups, 0)
        _require_count("layers_per_group", self.layers_per_group, 1)
        _require(
            self.num_hidden_layers % self.layers_per_group == 0
            and self.layer_groups <= self.num_hidden_layers // self.layers_per_group,
            f"layer_groups {self.layer_groups} of layers_per_group {self.layers_per_group} do not fit "
            f"num_hidden_layers {self.num_hidden_layers}",
        )
        if isinstance(self.relative, RelativeBias):
            _require_count("relative.buckets", self.relative.buckets, 4)
            _require_count(
                "relative.max_distance", self.relative.max_distance, self.relative.buckets // 4 + 1
            )
        elif self.relative is not None:
            least = self.max_length if isinstance(self.relative, RelativeKeys) else 1
            _require_count("relative.span", self.relative.span, least)
        if isinstance(self.relative, Disentangled):
            _require_count("relative.buckets", self.relative.buckets, 0)
        self._check_layers()
        if self.convolution is not None:
            _require_count("convolution.reach", self.convolution.reach, 0)
            _require_activation("convolution.activation", self.convolution.activation)
            _require(
                self.norm == "post" and self.bottleneck is None and self.layer_groups == 0,
                "convolution: implemented for post-norm encoders without bottlenecks and shared layers",
            )
        _require(
            not self.head.feed_forward or self.norm == "post",
            "head.feed_forward: implemented in post-norm encoders only",
        )
        known = ("post", "pre")
        _require(self.norm in known, f"norm is {self.norm!r}; it must be one of {known}")
        _require(
            self.norm == "pre" or self.embedding_norm or self.embedding_projection,
            "embedding_norm: without it the first layer of a post-norm encoder has nothing to read",
        )
        eps = self.layer_norm_eps
        _require(
            isinstance(eps, (int, float)) and math.isfinite(eps) and eps >= 0.0,
            f"layer_norm_eps is {eps!r}; it must be a finite number of at least 0",
        )
        _require_activation("hidden_act", self.hidden_act)
        _require(
            self.head.spans is None or self.head.spans.token < self.vocab_size,
            f"head.spans.token: not one of vocab_size {self.vocab_size} tokens",
        )

    def _check_layers(self) -> None:
        """What is stated layer by layer, and what tokens see."""
        _require(
            self.global_tokens is None
            or (self.norm == "post" and not self.bottleneck and not self.relative and not self.rotary),
            "global_tokens: implemented for post-norm encoders with positions in the embeddings only, "
            "without bottlenecks",
        )
        if self.blocks is not None:
            _require_count("blocks.size", self.blocks.size, 1)
            for name in ("beyond", "repeats"):
                _require_count(f"blocks.{name}", getattr(self.blocks, name), 0)
            _require(
                not self.windows and self.global_tokens is None,
                "blocks: windows and global_tokens beside them are not implemented",
            )
        for name in ("until", "after") if self.global_tokens is not None else ():
            token = getattr(self.global_tokens, name)
            known = isinstance(token, int) and not isinstance(token, bool) and 0 <= token < self.vocab_size
            _require(
                token is None or known,
                f"global_tokens.{name} is {token!r}; it must be one of vocab_size {self.vocab_size} tokens",
            )
        for window in self.windows:
            if window is not None:
                _require_count("windows", window, 0)
        stated = {"windows": len(self.windows), "rotary.bases": len(self.rotary.bases) if self.rotary else 0}
        for name, count in stated.items():
            own = count == self.num_hidden_layers and self.layer_groups == 0
            _require(
                count == 0 or own,
                f"{name} has {count} entries; needed is one for each of {self.num_hidden_layers} layers, "
                "and weights of its own for each layer",
            )
        if self.rotary is not None:
            size = self.rotary.size or self.head_dim
            _require(
                size % 2 == 0 and 2 <= size <= self.head_dim,
                f"rotary.size is {size}; it must be even and at most the head width, {self.head_dim}",
            )
            _require(self.relative is None, "rotary: relative positions beside it are not implemented")
        _require(
            self.first_norm or (self.norm == "pre" and self.embedding_norm and not self.embedding_projection),
            "first_norm: only a pre-norm encoder with normalised embeddings can do without it",
        )

    @property
    def layer_size(self) -> int:
        """Width of what attention and feed-forward blocks give: hidden_size, or the bottleneck's."""
        return self.hidden_size if self.bottleneck is None else self.bottleneck.size

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.layer_size // self.num_attention_heads

    @property
    def score_scale(self) -> float:
        """What scores are multiplied by before the softmax: 1 / sqrt(head width times terms of a score)."""
        terms = 1
        if isinstance(self.relative, Disentangled):
            terms += self.relative.keys + self.relative.queries
        return 1.0 / math.sqrt(self.head_dim * terms)

    @property
    def layer_order(self) -> tuple[int, ...]:
        """The set of weights of every layer, in the order a token passes them."""
        if self.layer_groups == 0:
            return tuple(range(self.num_hidden_layers))
        inner = self.layers_per_group
        passes = self.num_hidden_layers // inner
        groups = [int(index / (passes / self.layer_groups)) for index in range(passes)]
        return tuple(group * inner + layer for group in groups for layer in range(inner))
