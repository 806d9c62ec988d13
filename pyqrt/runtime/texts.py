"""From texts to sequences and from outputs to results, for whoever computes between the two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from pyqrt.errors import ModelError
from pyqrt.runtime.results import Integers, Result, best_answer, choose, interpret
from pyqrt.runtime.tasks import DEFAULT_STRIDE, Task
from pyqrt.runtime.tokenization import Encoded, Tokenizer


def encode_texts(
    task: Task,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    pairs: Sequence[Any] | None,
    *,
    truncate: bool,
    stride: int | None = None,
) -> list[list[Encoded]]:
    """The sequences that answer each text: its windows, its choices, or itself.

    Arguments and errors as of `Model.__call__`.
    """
    _check_pairs(task.kind, texts, pairs)
    if task.kind == "question_answering" and truncate:
        assert pairs is not None
        usual = min(DEFAULT_STRIDE, tokenizer.max_length // 4)
        return tokenizer.windows(texts, pairs, usual if stride is None else stride)
    if task.kind == "multiple_choice":
        assert pairs is not None
        asked = [text for text, own in zip(texts, pairs, strict=True) for _ in own]
        names = [f"text {index}, choice {k}" for index, own in enumerate(pairs) for k in range(len(own))]
        choices = list(chain.from_iterable(pairs))
        encoded = iter(tokenizer.encode(asked, choices, truncate=truncate, names=names))
        return [[next(encoded) for _ in own] for own in pairs]
    contexts = None if pairs is None else list(pairs)
    return [[item] for item in tokenizer.encode(texts, contexts, truncate=truncate)]


def decode_outputs(
    task: Task,
    tokenizer: Tokenizer,
    values: Integers | list[Integers],
    scale: float,
    texts: Sequence[str],
    pairs: Sequence[Any] | None,
    groups: Sequence[Sequence[Encoded]],
) -> Result:
    """The task's result for each text from the outputs of all sequences of `groups`, in order."""
    if task.kind in ("question_answering", "multiple_choice"):
        assert pairs is not None
        rows: Iterator[Any] = (np.asarray(row, np.float64) * scale for row in values)
        own = [[next(rows) for _ in group] for group in groups]
        if task.kind == "multiple_choice":
            return [
                choose(np.concatenate(logits), choices) for logits, choices in zip(own, pairs, strict=True)
            ]
        return [
            best_answer(logits, context, group)
            for logits, context, group in zip(own, pairs, groups, strict=True)
        ]
    return interpret(task, values, scale, texts, list(chain.from_iterable(groups)), tokenizer)


def _check_pairs(kind: str, texts: Sequence[str], pairs: Sequence[Any] | None) -> None:
    """Raise ModelError unless the task can do with these pairs."""
    if kind == "question_answering" and pairs is None:
        raise ModelError("question answering takes a context for each question: model(questions, contexts)")
    if kind == "multiple_choice" and (pairs is None or not all(map(_is_list_of_choices, pairs))):
        raise ModelError("multiple choice takes a list of choices for each text: model(texts, [[...], ...])")
    if kind in ("token_classification", "masked_lm") and pairs is not None:
        raise ModelError(f"{kind} takes single texts; call it without pairs")
    if pairs is not None and len(pairs) != len(texts):
        raise ModelError(f"{len(texts)} texts but {len(pairs)} pairs; give one pair for each text")


def _is_list_of_choices(own: Any) -> bool:
    return isinstance(own, (list, tuple, np.ndarray)) and len(own) > 0
