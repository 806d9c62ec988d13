"""What a student is asked for: a weighted sum of losses between its tensors and its teacher's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from pyqrt.distill.losses import (
    attention_error,
    cosine_distance,
    relation_divergence,
    relative_error,
    result_distance,
)
from pyqrt.errors import ModelError
from pyqrt.nn import Encoder, EncoderConfig
from pyqrt.nn.tap import record
from pyqrt.quantize.statistics import PackedBatch

# result: the task's results. labels: the task's own loss. cosine: direction of the last hidden states.
# embeddings, hidden: errors of the embeddings' and every layer's output. attention: of every layer's scores.
# relations: of the last layer's queries, keys and values among themselves.
Term = Literal["result", "labels", "cosine", "embeddings", "hidden", "attention", "relations"]
TERMS: tuple[Term, ...] = get_args(Term)

# The weights of published methods. "qat": a model and its own integers.
METHODS: dict[str, dict[Term, float]] = {
    "result": {"result": 1.0},
    "distilbert": {"result": 5.0, "labels": 2.0, "cosine": 1.0},  # arXiv 1910.01108 and its code
    "tinybert": {"result": 1.0, "embeddings": 1.0, "hidden": 1.0, "attention": 1.0},  # arXiv 1909.10351
    "minilm": {"result": 1.0, "relations": 1.0},  # arXiv 2012.15828; the result trains the head
    "qat": {"result": 1.0, "hidden": 1.0},
}


@dataclass(frozen=True)
class Weights:
    """terms: weight of every term that counts. temperature: of logits in "result".

    relation_heads: heads of "relations"; None: the teacher's attention heads. relation_layer: the
    teacher's layer for it, from 0; None: its last. Neither may be given without that term.
    """

    terms: Mapping[Term, float] = field(default_factory=lambda: METHODS["result"])
    temperature: float = 2.0
    relation_heads: int | None = None
    relation_layer: int | None = None

    def __post_init__(self) -> None:
        for term, weight in self.terms.items():
            if term not in TERMS:
                raise ModelError(f"{term!r} is no term of the loss; known: {', '.join(TERMS)}")
            if not (math.isfinite(weight) and weight >= 0.0):
                raise ModelError(f"the weight of {term} is {weight}; it must be a number of at least 0")
        if not any(self.terms.values()):
            raise ModelError("the loss has no term with a weight above 0; give at least one")
        if not (math.isfinite(self.temperature) and self.temperature > 0.0):
            raise ModelError(f"temperature is {self.temperature}; it must be a number above 0")
        for name in ("relation_heads", "relation_layer"):
            value = getattr(self, name)
            if value is not None and not self.terms.get("relations"):
                raise ModelError(
                    f"{name} is {value}, but the loss has no term relations: leave it out, or give the term "
                    "a weight, as the method minilm does"
                )


def layer_map(student_layers: int, teacher_layers: int) -> list[int]:
    """The teacher's layer for every layer of the student, evenly, the last for the last."""
    if not 1 <= student_layers <= teacher_layers:
        raise ModelError(
            f"the student has {student_layers} layers, the teacher {teacher_layers}; layers are matched for "
            "students of 1 layer up to as many as the teacher's"
        )
    return [(index + 1) * teacher_layers // student_layers - 1 for index in range(student_layers)]


@dataclass(frozen=True)
class View:
    """An encoder's result for a batch, and what its taps saw on the way (`pyqrt.nn.tap.record`)."""

    result: Tensor
    config: EncoderConfig
    seen: Mapping[str, list[Tensor]]

    def along(self, names: Sequence[str]) -> list[Tensor]:
        """What the named taps saw, in order: of every layer, if they are the layers'."""
        return [x for name in names for x in self.seen[name]]


def _taps(config: EncoderConfig, term: Term) -> list[list[str]]:
    """The tensors that a term compares, each as the taps that see it: one, or one of every layer."""

    def of_layers(part: str) -> list[str]:
        return [f"layers.{index}.{part}" for index in dict.fromkeys(config.layer_order)]

    post = config.norm == "post"
    hidden = of_layers("widen.output" if config.bottleneck else "ffn.output" if post else "ffn.sum")
    if term == "cosine":
        return [hidden if post else ["output"]]
    if term == "hidden":
        return [hidden]
    if term == "embeddings":
        names = {"projected": config.embedding_projection, "output": config.embedding_norm, "sum": True}
        return [[next(f"embeddings.{name}" for name, there in names.items() if there)]]
    parts = {"attention": ("query", "key"), "relations": ("query", "key", "value")}
    return [of_layers(f"attention.{part}") for part in parts.get(term, ())]


_PROJECTED: tuple[Term, ...] = ("cosine", "embeddings", "hidden")


class Objective(nn.Module):
    """The loss of a student against its teacher, with the projection it learns where widths differ.

    Raises ModelError when the two cannot be compared by a term.
    """

    def __init__(self, teacher: Encoder, student: Encoder, weights: Weights) -> None:
        super().__init__()
        ours, theirs = student.config, teacher.config
        self.weights = {term: weight for term, weight in weights.terms.items() if weight}
        self.temperature = weights.temperature
        self.head = ours.head
        self.heads = theirs.num_attention_heads
        self.relation_heads = self.heads if weights.relation_heads is None else weights.relation_heads
        self.relation_layer = -1 if weights.relation_layer is None else weights.relation_layer
        self.projection: nn.Linear | None = None
        if ours.hidden_size != theirs.hidden_size and any(term in self.weights for term in _PROJECTED):
            self.projection = nn.Linear(ours.hidden_size, theirs.hidden_size, bias=False)
            nn.init.orthogonal_(self.projection.weight, generator=torch.Generator().manual_seed(0))
        self.layers: list[int] = []
        if "hidden" in self.weights or "attention" in self.weights:
            self.layers = layer_map(ours.num_hidden_layers, theirs.num_hidden_layers)
        if "result" in self.weights:
            _check_results(ours, theirs)
        if "attention" in self.weights and ours.num_attention_heads != self.heads:
            raise ModelError(
                f"attention: the student has {ours.num_attention_heads} heads, the teacher {self.heads}; "
                "scores are compared head by head. Leave the term out, or use relations"
            )
        if "relations" in self.weights:
            self._check_relations(ours, theirs)

    @property
    def by_token(self) -> bool:
        """Does a term compare rows of tokens? Then both must have the same tokens."""
        rows = self.head.task in ("embedding", "sequence_classification")
        return not rows or not self.weights.keys() <= {"result", "labels"}

    def view(self, encoder: Encoder, batch: PackedBatch, model: nn.Module | None = None) -> View:
        """Runs a batch. model: what computes the result, if it is not the encoder itself but around it."""
        names = [name for term in self.weights for taps in _taps(encoder.config, term) for name in taps]
        types = batch.types if encoder.config.type_vocab_size > 1 else None
        with record(encoder, names) as seen:
            return View((model or encoder)(batch.ids, batch.offsets, types), encoder.config, seen)

    def forward(self, student: View, teacher: View, offsets: Sequence[int]) -> Tensor:
        """The weighted sum of all terms but "labels". offsets: bounds of the sequences in rows of tokens."""
        total = student.result.new_zeros(())
        for term, weight in self.weights.items():
            if term != "labels":
                total = total + weight * self._distance(term, student, teacher, offsets)
        return total

    def _distance(self, term: Term, student: View, teacher: View, offsets: Sequence[int]) -> Tensor:
        if term == "result":
            return result_distance(self.head, student.result, teacher.result, offsets, self.temperature)
        ours, theirs = (
            [view.along(names) for names in _taps(view.config, term)] for view in (student, teacher)
        )
        if term == "cosine":
            return cosine_distance(self._project(ours[0][-1]), theirs[0][-1])
        if term == "embeddings":
            return relative_error(self._project(ours[0][0]), theirs[0][0])
        if term == "relations":
            parts = [(a[-1], b[self.relation_layer]) for a, b in zip(ours, theirs, strict=True)]
            losses = [relation_divergence(a, b, self.relation_heads, offsets) for a, b in parts]
            return torch.stack(losses).sum()
        pairs = list(enumerate(self.layers))
        if term == "hidden":
            losses = [relative_error(self._project(ours[0][i]), theirs[0][j]) for i, j in pairs]
        else:
            losses = [
                attention_error((ours[0][i], ours[1][i]), (theirs[0][j], theirs[1][j]), self.heads, offsets)
                for i, j in pairs
            ]
        return torch.stack(losses).mean()

    def _project(self, x: Tensor) -> Tensor:
        projected: Tensor = x if self.projection is None else self.projection(x)
        return projected

    def _check_relations(self, student: EncoderConfig, teacher: EncoderConfig) -> None:
        for width in (student.hidden_size, teacher.hidden_size):
            if self.relation_heads < 1 or width % self.relation_heads:
                raise ModelError(
                    f"relation_heads is {self.relation_heads}; it must divide the hidden sizes "
                    f"{student.hidden_size} and {teacher.hidden_size}"
                )
        last = teacher.num_hidden_layers - 1
        if not -1 <= self.relation_layer <= last:
            raise ModelError(f"relation_layer is {self.relation_layer}; the teacher has 0 to {last}")


def _check_results(student: EncoderConfig, teacher: EncoderConfig) -> None:
    ours, theirs = student.head, teacher.head
    for what, mine, other in (
        ("task", ours.task, theirs.task),
        ("problem", ours.problem, theirs.problem),
        ("labels", ours.labels, theirs.labels),
    ):
        if mine != other:
            raise ModelError(f"the student's {what} is {mine!r}, the teacher's {other!r}: they must agree")
    if _numbers(student) != _numbers(teacher):
        of = "embedding" if ours.task == "embedding" else "result for a token"
        raise ModelError(
            f"the student's {of} has {_numbers(student)} numbers, the teacher's {_numbers(teacher)}: result "
            "compares them. Use relations or hidden instead"
        )


def _numbers(config: EncoderConfig) -> int:
    """How many numbers a row of the result has."""
    head = config.head
    size = head.transform_size if head.transform_activation is not None else 0
    return head.num_labels or size or config.hidden_size
