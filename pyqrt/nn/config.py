"""What an encoder is: everything that may differ between two checkpoints, and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from pyqrt.errors import ModelError
from pyqrt.nn.activations import activation

Task = Literal["embedding", "sequence_classification", "token_classification", "question_answering"]
Pooling = Literal["mean", "first"]
Problem = Literal["single_label", "multi_label", "regression"]

TASKS: tuple[Task, ...] = get_args(Task)


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
class Head:
    """What stands on top of the encoder.

    task               result of a forward pass
    "embedding"        the pooled row; of Euclidean length 1 if `normalize`
    "sequence_classification"  logits from the pooled row
    "token_classification"     logits from every token
    "question_answering"       start and end logits from every token

    pooling: one row per sequence, its mean or its first token; None: the head works on tokens.
    pooler_activation: a square linear layer and this activation follow the pooling; None: neither.
    num_labels: logits per row; 0 for embeddings. labels: their names, in order.
    problem: how the logits of a sequence are meant (softmax, independent sigmoids, plain numbers).
    """

    task: Task
    pooling: Pooling | None = None
    normalize: bool = False
    pooler_activation: str | None = None
    num_labels: int = 0
    labels: tuple[str, ...] = ()
    problem: Problem | None = None

    def __post_init__(self) -> None:
        _require(self.task in TASKS, f"task is {self.task!r}; known: {', '.join(TASKS)}")
        embedding = self.task == "embedding"
        sequences = embedding or self.task == "sequence_classification"
        if sequences:
            known = get_args(Pooling)
            _require(self.pooling in known, f"pooling is {self.pooling!r}; {self.task} needs one of {known}")
        else:
            _require(self.pooling is None, f"pooling is {self.pooling!r}; {self.task} has none")
        _require(embedding or not self.normalize, f"normalize: {self.task} has no embedding to normalize")
        if self.pooler_activation is not None:
            _require(sequences, f"pooler_activation: {self.task} has no pooler")
            _require_activation("pooler_activation", self.pooler_activation)
        if embedding:
            _require(self.num_labels == 0, f"num_labels is {self.num_labels!r}; an embedding has none")
        else:
            _require_count("num_labels", self.num_labels, 1)
        _require(
            len(self.labels) == self.num_labels,
            f"labels: {len(self.labels)} names for num_labels = {self.num_labels}",
        )
        if self.task == "question_answering":
            _require(self.num_labels == 2, "num_labels: question answering has two, start and end")
        if self.task == "sequence_classification":
            known = get_args(Problem)
            _require(self.problem in known, f"problem is {self.problem!r}; needed is one of {known}")
            _require(
                self.problem != "single_label" or self.num_labels > 1,
                "problem is 'single_label' with one label; it takes two or more",
            )
        else:
            _require(self.problem is None, f"problem is {self.problem!r}; {self.task} has none")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """A post-normalisation transformer encoder with absolute positions and full attention.

    family: the file in `models/` that described it.
    max_length: tokens a sequence may have.
    num_positions: rows of the position table; token i of a sequence reads row position_offset + i.
    type_vocab_size: rows of the token type table; 0: there is none.
    embedding_size: width of the embedding tables; equals hidden_size as long as no implemented family
    projects its embeddings.
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

    def __post_init__(self) -> None:
        for name in (
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_length",
            "num_positions",
        ):
            _require_count(name, getattr(self, name), 1)
        for name in ("type_vocab_size", "position_offset"):
            _require_count(name, getattr(self, name), 0)
        _require(
            self.hidden_size % self.num_attention_heads == 0,
            f"hidden_size {self.hidden_size} is not a multiple of "
            f"num_attention_heads {self.num_attention_heads}",
        )
        _require(
            self.embedding_size == self.hidden_size,
            f"embedding_size {self.embedding_size!r} differs from hidden_size {self.hidden_size}: "
            "projected embeddings are not implemented",
        )
        _require(
            self.max_length <= self.num_positions - self.position_offset,
            f"max_length {self.max_length} exceeds the {self.num_positions - self.position_offset} positions "
            f"that num_positions {self.num_positions} and position_offset {self.position_offset} leave",
        )
        eps = self.layer_norm_eps
        _require(
            isinstance(eps, (int, float)) and math.isfinite(eps) and eps >= 0.0,
            f"layer_norm_eps is {eps!r}; it must be a finite number of at least 0",
        )
        _require_activation("hidden_act", self.hidden_act)

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads
