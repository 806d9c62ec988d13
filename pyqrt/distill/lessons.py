"""What a student is taught: examples from files, as the student and as the teacher read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyqrt.distill.masking import Masking
from pyqrt.errors import ModelError
from pyqrt.nn import Encoder, Head, Problem
from pyqrt.quantize.api import encode
from pyqrt.quantize.checkpoint import Checkpoint
from pyqrt.quantize.texts import Encoded, Example, read_examples
from pyqrt.runtime.tokenization import Tokenizer

if TYPE_CHECKING:
    from pyqrt.train.finetune import LabelledData

# numbers of examples and their results -> the task's own loss
LabelLoss = Callable[[Sequence[int], Tensor], Tensor]


@dataclass(frozen=True)
class Lessons:
    """Every example as the student and as the teacher reads it.

    labels: the task's loss on the examples' labels, if they have any. masking: how a masked language model's
    words are hidden, if its loss counts them as its labels.
    """

    student: Sequence[Encoded]
    teacher: Sequence[Encoded]
    labels: LabelLoss | None = None
    masking: Masking | None = None

    @property
    def same_tokens(self) -> bool:
        """Do both read the same tokens?"""
        return all(a.ids == b.ids for a, b in zip(self.student, self.teacher, strict=True))


class Reader:
    """An encoder's tokenizer. Raises ModelError for a checkpoint without one."""

    def __init__(self, encoder: Encoder, checkpoint: Checkpoint, max_length: int) -> None:
        if checkpoint.tokenizer_json is None:
            raise ModelError(
                f"{checkpoint.path} has neither tokenizer.json nor vocab.txt: it cannot read text"
            )
        self.config = encoder.config
        self.tokenizer = Tokenizer(checkpoint.tokenizer_json, max_length)

    @property
    def typed(self) -> bool:
        """Does the encoder tell token types apart?"""
        return self.config.type_vocab_size > 1

    def masking(self, vocab_size: int) -> Masking:
        """What hides words from masked language models that all know the first `vocab_size` ids.

        Raises ModelError without a mask token among them.
        """
        mask = self.tokenizer.mask_id
        if mask >= vocab_size:
            raise ModelError(
                f"the mask token has the id {mask}, the smaller vocabulary ends at {vocab_size - 1}: words "
                "cannot be hidden from both models. Leave the term labels out"
            )
        added = self.tokenizer.encode([""])[0].ids.tolist()  # the special tokens
        return Masking(mask, frozenset(added), vocab_size)

    def read(self, examples: Sequence[Example]) -> list[Encoded]:
        """Tokens of every example, cut at the reader's length."""
        sequences = encode(self.tokenizer, examples, self.config.vocab_size)
        if self.typed:
            return sequences
        return [Encoded(sequence.ids, [0] * len(sequence.ids)) for sequence in sequences]


class Texts:
    """Texts without labels."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def lessons(self, numbers: Sequence[int], student: Reader, teacher: Reader) -> Lessons:
        """Some of the examples, in the order of `numbers`."""
        chosen = [self._examples[number] for number in numbers]
        return Lessons(student.read(chosen), teacher.read(chosen))


class LabelledTexts:
    """A task's training file."""

    def __init__(self, data: LabelledData) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data.examples)

    def check_head(self, head: Head) -> None:
        """Raises ModelError for a head that cannot learn these labels."""
        scores = len(self._data.labels) == 1
        problem: Problem | None = None
        if self._data.task == "sequence_classification":
            problem = "regression" if scores else "single_label"
        has, needed = _described(head.task, head.problem), _described(self._data.task, problem)
        remedy = "take a teacher with such a head, or leave the term labels out"
        if has != needed or head.num_labels != len(self._data.labels):
            raise ModelError(
                f"the student's head is for {has} with {head.num_labels} labels, the data's labels need "
                f"{needed} with {len(self._data.labels)}: {remedy}"
            )
        if not scores and head.labels != self._data.labels:
            raise ModelError(
                f"the data's labels are {self._data.labels}, the student's {head.labels}: {remedy}"
            )

    def lessons(self, numbers: Sequence[int], student: Reader, teacher: Reader) -> Lessons:
        """Some of the examples, in the order of `numbers`."""
        from pyqrt.train.finetune import label_sequences, task_loss

        chosen = replace(self._data, examples=[self._data.examples[number] for number in numbers])
        ours, theirs = (
            label_sequences(chosen, reader.tokenizer, typed=reader.typed)[0] for reader in (student, teacher)
        )

        def loss(batch: Sequence[int], result: Tensor) -> Tensor:
            targets = torch.cat([ours[number].target for number in batch])
            value: Tensor = task_loss(result, targets.to(result.device))
            return value

        return Lessons([item.tokens for item in ours], [item.tokens for item in theirs], loss)


def _described(task: str, problem: Problem | None) -> str:
    return f"{task} ({problem})" if problem else task


def read_texts(data: Path, task: str | None) -> Texts | LabelledTexts:
    """Texts as for calibration, or the training file of a task of `pyqrt.eval`. Raises ModelError."""
    if task is None:
        texts: Texts | LabelledTexts = Texts(read_examples(data))
    else:
        from pyqrt.train.finetune import read_labelled

        texts = LabelledTexts(read_labelled(task, data))
    if len(texts) < 2:
        raise ModelError(f"{data} holds one example; at least 2 are needed, one to compare on")
    return texts
