"""Reading of config.json that is the same for every family in `models/`."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.nn.config import TASKS, Head, Problem, Task

_TASK_OF_SUFFIX: dict[str, Task] = {
    "Model": "embedding",
    "ForSequenceClassification": "sequence_classification",
    "ForTokenClassification": "token_classification",
    "ForQuestionAnswering": "question_answering",
}

_PROBLEMS: dict[str, Problem] = {
    "single_label_classification": "single_label",
    "multi_label_classification": "multi_label",
    "regression": "regression",
}

# What each option must be, absent included: anything else gives other results than this encoder's.
_ONLY: dict[str, tuple[Any, str]] = {
    "is_decoder": (False, "decoders are not implemented"),
    "is_encoder_decoder": (False, "decoders are not implemented"),
    "add_cross_attention": (False, "cross-attention is not implemented"),
    "pruned_heads": ({}, "layers with pruned heads are not implemented"),
    "quantization_config": (None, "pyqrt quantizes float weights: save the checkpoint unquantized"),
    "auto_map": (
        None,
        "the checkpoint runs code of its own; remove the entry if its architecture is the standard one",
    ),
}


def refuse_unsupported(hf: Mapping[str, Any], also: Mapping[str, tuple[Any, str]] | None = None) -> None:
    """Raise ModelError for an option of config.json that this encoder cannot represent.

    also: further options of one family, name -> (the one accepted value, why).
    An absent option and an empty one (None, False, [], {}) count as not set.
    """
    for name, (accepted, reason) in {**_ONLY, **(also or {})}.items():
        value = hf.get(name)
        if value and value != accepted:
            raise ModelError(f"{name} is {value!r}: {reason}")


def task_of(hf: Mapping[str, Any], class_prefix: str, task: str | None) -> Task:
    """The task asked for, or else the one `architectures` names.

    class_prefix: how the family's classes begin, as "Bert" in "BertForSequenceClassification".
    Raises ModelError for an unknown task, or an architecture whose head is not implemented.
    """
    if task is not None:
        for known in TASKS:
            if task == known:
                return known
        raise ModelError(f"task is {task!r}; known: {', '.join(TASKS)}")
    architectures = hf.get("architectures") or ["(none)"]
    suffix = str(architectures[0]).removeprefix(class_prefix)
    if suffix not in _TASK_OF_SUFFIX:
        known_classes = ", ".join(class_prefix + suffix for suffix in _TASK_OF_SUFFIX)
        raise ModelError(
            f"architectures is {architectures}; known: {known_classes}. "
            f"Name a task to use the encoder for: {', '.join(TASKS)}"
        )
    return _TASK_OF_SUFFIX[suffix]


def _labels(hf: Mapping[str, Any]) -> tuple[str, ...]:
    """Label names in order. As in transformers, num_labels wins over an id2label of another length."""
    id2label, count = hf.get("id2label"), hf.get("num_labels")
    if not isinstance(id2label, (dict, NoneType)) or not isinstance(count, (int, NoneType)):
        raise ModelError(f"id2label is {id2label!r}, num_labels {count!r}; expected an object and an integer")
    if id2label is not None and count in (None, len(id2label)):
        names = {str(index): str(name) for index, name in id2label.items()}
        numbers = [str(index) for index in range(len(names))]
        if set(names) != set(numbers):
            raise ModelError(f"id2label numbers its labels {list(names)}; expected 0 to {len(names) - 1}")
        return tuple(names[number] for number in numbers)
    return tuple(f"LABEL_{index}" for index in range(2 if count is None else count))


def head_of(hf: Mapping[str, Any], task: Task, *, pooler_activation: str | None) -> Head:
    """The head transformers puts on the encoder for `task`.

    pooler_activation: what the family's sequence classification applies after its pooler's linear layer.
    Embeddings: the mean of all tokens, of length 1; a sentence-transformers directory says otherwise
    itself. Raises ModelError for label options that contradict each other.
    """
    if task == "embedding":
        return Head(task=task, pooling="mean", normalize=True)
    if task == "question_answering":
        return Head(task=task, num_labels=2, labels=("start", "end"))
    labels = _labels(hf)
    if task == "token_classification":
        return Head(task=task, num_labels=len(labels), labels=labels)
    stated = hf.get("problem_type")
    if stated is not None and stated not in _PROBLEMS:
        raise ModelError(f"problem_type is {stated!r}; known: {', '.join(_PROBLEMS)}")
    # transformers trains one label as regression, several as exclusive classes, unless told otherwise
    problem = _PROBLEMS[stated] if stated else "regression" if len(labels) == 1 else "single_label"
    return Head(
        task=task,
        pooling="first",
        pooler_activation=pooler_activation,
        num_labels=len(labels),
        labels=labels,
        problem=problem,
    )
