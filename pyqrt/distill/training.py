"""The training of a student, in floats or in integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pyqrt.distill.lessons import Lessons
from pyqrt.distill.masking import masked_word_loss
from pyqrt.distill.objective import Objective
from pyqrt.errors import ModelError
from pyqrt.nn import Encoder
from pyqrt.progress import Progress, silent
from pyqrt.quantize.texts import pack_one
from pyqrt.train.batches import epoch_batches
from pyqrt.train.loop import Options, SavePoint, fit

# Of the weights' learning rate, that of the logarithms of scales: a factor moves by about the rate.
SCALE_RATE = 10.0


def check_lessons(objective: Objective, lessons: Lessons) -> None:
    """Raises ModelError when the loss needs labels or equal tokens that the lessons do not have."""
    if objective.by_token and not lessons.same_tokens:
        raise ModelError(
            "teacher and student cut texts into different tokens; only the result and labels of whole texts "
            "can be compared: leave the other terms out"
        )
    if "labels" in objective.weights and lessons.labels is None and lessons.masking is None:
        raise ModelError(
            "the loss has the term labels, but the data has none: name its task with --task, "
            "or leave the term out"
        )


def teach(
    model: nn.Module,
    student: Encoder,
    teacher: Encoder,
    objective: Objective,
    lessons: Lessons,
    options: Options,
    *,
    batch_size: int,
    save_point: SavePoint | None = None,
    progress: Progress = silent,
    stage: str = "distilling",
) -> list[float]:
    """Trains `model`: the student itself, or the `QuantizedEncoder` around it. The mean loss of every epoch.

    It computes on the student's device, where the others have to be too. Raises ModelError as `check_lessons`
    and `fit` do.
    """
    check_lessons(objective, lessons)
    label_weight = objective.weights.get("labels", 0.0)
    place = next(student.parameters()).device

    def loss(numbers: Sequence[int]) -> Tensor:
        batch, seen = (pack_one([of[i] for i in numbers]) for of in (lessons.student, lessons.teacher))
        target = None
        if lessons.masking is not None:  # both see the same words hidden
            ids, target = lessons.masking.hide(batch.ids)
            batch, seen = replace(batch, ids=ids), replace(seen, ids=ids)
        batch, seen = batch.to(place), seen.to(place)
        with torch.no_grad():
            expected = objective.view(teacher, seen)
        actual = objective.view(student, batch, model)
        total: Tensor = objective(actual, expected, batch.offsets)
        if target is not None:
            total = total + label_weight * masked_word_loss(actual.result, target.to(place))
        if lessons.labels is not None and label_weight:
            total = total + label_weight * lessons.labels(numbers, actual.result)
        return total

    lengths = [len(sequence.ids) for sequence in lessons.student]
    return fit(
        nn.ModuleDict({"student": model, "objective": objective}),
        lambda epoch: epoch_batches(lengths, batch_size, options.seed, epoch),
        loss,
        options,
        rate_of=lambda name: SCALE_RATE if ".log_" in name else 1.0,
        save_point=save_point,
        progress=progress,
        stage=stage,
    )
