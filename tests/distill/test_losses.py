"""Distillation losses beside values worked out by hand, and 0 for a student that equals its teacher."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pyqrt.distill import losses
from pyqrt.nn.config import Head

OFFSETS = [0, 2, 5]


def rows(seed: int, width: int = 6) -> Tensor:
    return torch.randn(OFFSETS[-1], width, generator=torch.Generator().manual_seed(seed))


def sequence_head(labels: int, **options: object) -> Head:
    names = tuple(map(str, range(labels)))
    return Head(task="sequence_classification", pooling="first", num_labels=labels, labels=names, **options)  # type: ignore[arg-type]


HEADS = {
    "single_label": sequence_head(6, problem="single_label"),
    "multi_label": sequence_head(6, problem="multi_label"),
    "regression": sequence_head(1, problem="regression"),
    "tokens": Head(task="token_classification", num_labels=6, labels=tuple("abcdef")),
    "answers": Head(task="question_answering", num_labels=2, labels=("start", "end")),
    "embedding": Head(task="embedding", pooling="mean"),
    "normalized": Head(task="embedding", pooling="mean", normalize=True),
}

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "soft_cross_entropy": lambda s, t: losses.soft_cross_entropy(s, t, 2.0),
    "soft_binary_cross_entropy": lambda s, t: losses.soft_binary_cross_entropy(s, t, 2.0),
    "cosine_distance": losses.cosine_distance,
    "relative_error": losses.relative_error,
    "attention_error": lambda s, t: losses.attention_error((s, s * s), (t, t * t), 2, OFFSETS),
    "relation_divergence": lambda s, t: losses.relation_divergence(s, t, 3, OFFSETS),
    **{
        name: lambda s, t, head=head: losses.result_distance(
            head, s[:, : head.num_labels or 6], t[:, : head.num_labels or 6], OFFSETS, 2.0
        )
        for name, head in HEADS.items()
    },
}


@pytest.mark.parametrize("name", LOSSES)
def test_zero_for_equal_tensors_and_only_for_them(name: str) -> None:
    loss = LOSSES[name]
    assert abs(loss(rows(0), rows(0)).item()) < 1e-6
    assert loss(rows(0), rows(1)).item() > 1e-3


@pytest.mark.parametrize("name", LOSSES)
def test_the_student_learns_and_the_teacher_does_not(name: str) -> None:
    student, teacher = rows(0).requires_grad_(), rows(1).requires_grad_()
    LOSSES[name](student, teacher).backward()
    assert student.grad is not None
    assert student.grad.abs().max() > 0
    assert teacher.grad is None


def test_soft_cross_entropy_by_hand() -> None:
    """Odds of 3 to 1 against even ones, at temperature 2."""
    teacher = torch.tensor([[2 * math.log(3.0), 0.0]])
    student = torch.zeros(1, 2)
    expected = 4 * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
    assert losses.soft_cross_entropy(student, teacher, 2.0).item() == pytest.approx(expected, rel=1e-6)


def test_soft_binary_cross_entropy_by_hand() -> None:
    teacher = torch.tensor([[2 * math.log(3.0), 0.0]])
    student = torch.zeros(1, 2)
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    expected = 4 * divergence / 2  # the second label agrees
    assert losses.soft_binary_cross_entropy(student, teacher, 2.0).item() == pytest.approx(expected, rel=1e-6)


def test_cosine_distance_by_hand() -> None:
    student, teacher = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 1.0], [0.0, -5.0]])
    expected = ((1 - math.sqrt(0.5)) + 2.0) / 2
    assert losses.cosine_distance(student, teacher).item() == pytest.approx(expected, rel=1e-6)


def test_relative_error_by_hand() -> None:
    teacher = torch.tensor([[1.0, 3.0], [5.0, 7.0]])  # variance 5
    student = teacher + torch.tensor([[1.0, 0.0], [0.0, 2.0]])  # mean square 5 / 4
    assert losses.relative_error(student, teacher).item() == pytest.approx(0.25)


def test_attention_error_by_hand() -> None:
    """One sequence of one token, one of two; one head of width 4, so scores are halved."""
    ones = torch.ones(3, 4)
    zero = torch.zeros(3, 4)
    keys = torch.tensor([[1.0] * 4, [1.0] * 4, [2.0] * 4])
    # scores: 2 | 2 4, 2 4, against nothing
    expected = (4 + 4 + 16 + 4 + 16) / 5
    error = losses.attention_error((ones, keys), (zero, zero), 1, [0, 1, 3])
    assert error.item() == pytest.approx(expected)


def test_attention_of_a_narrow_student_compares_scores() -> None:
    narrow = losses.attention_error((rows(0, 4), rows(1, 4)), (rows(2, 8), rows(3, 8)), 2, OFFSETS)
    assert narrow.item() > 0


def test_relation_divergence_by_hand() -> None:
    """Two tokens, one head of width 1: relations are softmaxes of products."""
    teacher, student = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [0.0]])

    def divergence(a: float, b: float) -> float:
        total = math.exp(a) + math.exp(b)
        return sum(math.exp(x) / total * (x - math.log(total) - math.log(0.5)) for x in (a, b))

    expected = (divergence(1.0, 2.0) + divergence(2.0, 4.0)) / 2
    assert losses.relation_divergence(student, teacher, 1, [0, 2]).item() == pytest.approx(expected, rel=1e-6)


def test_sequences_do_not_attend_to_each_other() -> None:
    apart = [losses.relation_divergence(rows(0)[part], rows(1)[part], 2, [0, n]) for part, n in PARTS]
    expected = (2 * apart[0] + 3 * apart[1]) / 5
    torch.testing.assert_close(losses.relation_divergence(rows(0), rows(1), 2, OFFSETS), expected)


PARTS = [(slice(0, 2), 2), (slice(2, 5), 3)]


def test_answers_are_compared_within_their_sequence() -> None:
    """Logits of another sequence may be anything: only the softmax over a sequence's tokens counts."""
    head = HEADS["answers"]
    student, teacher = rows(0, 2), rows(0, 2)
    student = student + torch.tensor([7.0, 7.0, -3.0, -3.0, -3.0])[:, None]  # a constant for each sequence
    assert losses.result_distance(head, student, teacher, OFFSETS, 1.0).item() == pytest.approx(0, abs=1e-6)
    assert losses.result_distance(HEADS["tokens"], rows(0), rows(1), OFFSETS, 1.0).item() > 0


def test_a_regression_is_compared_by_squares() -> None:
    student, teacher = torch.tensor([[1.0], [4.0]]), torch.tensor([[2.0], [2.0]])
    assert losses.result_distance(HEADS["regression"], student, teacher, OFFSETS, 2.0).item() == 2.5
