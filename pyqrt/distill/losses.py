"""How far a student's tensors are from its teacher's: scalar losses, 0 where they are equal.

Rows of packed batches; `offsets` [sequences + 1] bound the sequences. The teacher's side gets no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from pyqrt.nn.config import Head


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float, dim: int = -1) -> Tensor:
    """T^2 KL(teacher || student) of the softmax of logits over T, mean over rows [rows, classes].

    Hinton et al. 2015 (arXiv 1503.02531): the factor keeps the gradient's size when T changes.
    """
    expected = functional.log_softmax(teacher.detach() / temperature, dim)
    actual = functional.log_softmax(student / temperature, dim)
    return temperature**2 * (expected.exp() * (expected - actual)).sum(dim).mean()


def soft_binary_cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 times the KL divergence of every label's sigmoid of logits over T, mean over all entries."""
    logits = [student / temperature, teacher.detach() / temperature]
    both = [torch.stack([x, torch.zeros_like(x)]) for x in logits]
    return soft_cross_entropy(both[0], both[1], 1.0, dim=0) * temperature**2


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over rows of 1 - cosine (Sanh et al. 2019, arXiv 1910.01108, section 3)."""
    return (1.0 - functional.cosine_similarity(student, teacher.detach(), dim=-1)).mean()


def relative_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error over the variance of the teacher's tensor, so that every layer weighs alike."""
    target = teacher.detach()
    variance = target.var(unbiased=False).clamp(min=1e-12)
    return (student - target).square().mean() / variance


def attention_error(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], heads: int, offsets: Sequence[int]
) -> Tensor:
    """Mean squared error of attention scores before the softmax (Jiao et al. 2019, arXiv 1909.10351, eq. 7).

    student, teacher: queries and keys [tokens, heads * d], d of each its own.
    """
    total, count = student[0].new_zeros(()), 0
    sequences = [_split(x, offsets) for x in (*student, *teacher)]
    for query, key, their_query, their_key in zip(*sequences, strict=True):
        expected = _scores(their_query.detach(), their_key.detach(), heads)
        actual = _scores(query, key, heads)
        total = total + (actual - expected).square().sum()
        count += expected.numel()
    return total / count


def relation_divergence(student: Tensor, teacher: Tensor, heads: int, offsets: Sequence[int]) -> Tensor:
    """KL(teacher || student) of self-relations softmax(A A^T / sqrt(d)), mean over heads and tokens.

    MiniLMv2, Wang et al. 2020 (arXiv 2012.15828), section 3.1. student, teacher: queries, keys or values
    [tokens, width], each width a multiple of the number of relation heads.
    """
    total, count = student.new_zeros(()), 0
    for ours, theirs in zip(_split(student, offsets), _split(teacher.detach(), offsets), strict=True):
        expected = _scores(theirs, theirs, heads).log_softmax(dim=-1)
        actual = _scores(ours, ours, heads).log_softmax(dim=-1)
        total = total + (expected.exp() * (expected - actual)).sum()
        count += expected.shape[0] * expected.shape[1]
    return total / count


def _scores(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """Scaled products of one sequence: [tokens, heads * d] -> [heads, tokens, tokens]."""
    width = query.shape[1] // heads
    query, key = (x.reshape(len(x), heads, width).transpose(0, 1) for x in (query, key))
    scores: Tensor = query @ key.transpose(1, 2) * width**-0.5
    return scores


def result_distance(
    head: Head, student: Tensor, teacher: Tensor, offsets: Sequence[int], temperature: float
) -> Tensor:
    """Distance of two encoders' results, as the task means them.

    Logits of classes: `soft_cross_entropy`, of every row; of start and end: of every sequence, over its
    tokens; of independent labels: `soft_binary_cross_entropy`. Embeddings: `cosine_distance`, and their
    `relative_error` if their length is not 1. Plain numbers: mean squared error.
    """
    if head.task == "embedding":
        distance = cosine_distance(student, teacher)
        return distance if head.normalize else distance + relative_error(student, teacher)
    if head.task == "question_answering":
        parts = [
            soft_cross_entropy(s, t, temperature, dim=0)
            for s, t in zip(_split(student, offsets), _split(teacher, offsets), strict=True)
        ]
        return torch.stack(parts).mean()
    if head.problem == "multi_label":
        return soft_binary_cross_entropy(student, teacher, temperature)
    if head.num_labels == 1:
        return functional.mse_loss(student, teacher.detach())
    return soft_cross_entropy(student, teacher, temperature)


def _split(x: Tensor, offsets: Sequence[int]) -> Sequence[Tensor]:
    """Every sequence's rows, by one operation: slices would each have a gradient of the whole's size."""
    parts: Sequence[Tensor] = torch.split(x, [end - begin for begin, end in pairwise(offsets)])
    return parts
