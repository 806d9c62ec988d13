"""Reading of config.json that is the same for every family in `models/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import NoneType
from typing import Any

import torch

from pyqrt.errors import ModelError
from pyqrt.nn.config import TASKS, EncoderConfig, Head, Problem, RelativeKeys, Task
from pyqrt.nn.encoder import Encoder


@dataclass(frozen=True)
class Source:
    """Where a parameter (or all of a module's) is in a checkpoint.

    names: of the tensor (or module), alternatives in order of preference. part, parts: it is only this
    one of so many equal parts along the first axis. groups: the first axis is so many groups, as one for
    each head, and every group has the parts. further: a second tensor, which transposed has the matrix's
    further columns; empty: there are none. kernel: a weight is a convolution's, [out, in, kernel], whose
    matrix has the columns of each place one after the other, the last first; 0: it is not. same: names of
    tensors that must be equal to this one where they are there too, because transformers keeps one of them.
    """

    names: tuple[str, ...]
    part: int = 0
    parts: int = 1
    groups: int = 1
    further: str = ""
    kernel: int = 0
    same: tuple[str, ...] = ()


_TASK_OF_SUFFIX: dict[str, Task] = {
    "Model": "embedding",
    "ForSequenceClassification": "sequence_classification",
    "ForTokenClassification": "token_classification",
    "ForQuestionAnswering": "question_answering",
    "ForMaskedLM": "masked_lm",
    "ForMultipleChoice": "multiple_choice",
}

_PROBLEMS: dict[str, Problem] = {
    "single_label_classification": "single_label",
    "multi_label_classification": "multi_label",
    "regression": "regression",
}

# What says where tokens stand: a count that is a buffer, and a table that relative positions leave unread.
POSITIONS = ("embeddings.position_ids", "embeddings.position_embeddings.")
# Relative positions of transformers up to its version 4: are rows by distance added to queries too?
_RELATIVE = {"relative_key": False, "relative_key_query": True}

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


def relative_positions(hf: Mapping[str, Any], positions: int, *, known: bool = True) -> RelativeKeys | None:
    """What position_embedding_type means beside absolute positions, which are None; `positions` there are.

    known: whether the architecture has relative ones. Raises ModelError for what it does not have.
    """
    kind = hf.get("position_embedding_type") or "absolute"
    kinds = ["absolute", *(_RELATIVE if known else ())]
    if kind not in kinds:
        raise ModelError(f"position_embedding_type is {kind!r}; known: {', '.join(kinds)}")
    return None if kind == "absolute" else RelativeKeys(span=positions, queries=_RELATIVE[kind])


def refuse_unsupported(hf: Mapping[str, Any], also: Mapping[str, tuple[Any, str]] | None = None) -> None:
    """Raise ModelError for an option of config.json that this encoder cannot represent.

    also: further options of one family, name -> (the one accepted value, why).
    An absent option and an empty one (None, False, [], {}) count as not set.
    """
    for name, (accepted, reason) in {**_ONLY, **(also or {})}.items():
        value = hf.get(name)
        if value and value != accepted:
            raise ModelError(f"{name} is {value!r}: {reason}")


def refuse_scaled_rotary(rope: Mapping[str, Any]) -> None:
    """Raise ModelError if the object of config.json about rotary positions stretches them."""
    if (kind := rope.get("rope_type", rope.get("type", "default"))) != "default":
        raise ModelError(f"rope_type is {kind!r}; implemented is 'default'")


def rotary_base(base: Any) -> float:
    """The base of rotary positions that config.json states. Raises ModelError if it is no positive number."""
    if not isinstance(base, (int, float)) or base <= 0:
        raise ModelError(
            f"the base of rotary positions (rope_theta) is {base!r}; it must be a positive number"
        )
    return float(base)


def architecture_of(hf: Mapping[str, Any]) -> str:
    """The first of `architectures`; "(none)" if there is none."""
    return str((hf.get("architectures") or ["(none)"])[0])


def task_of(
    hf: Mapping[str, Any], class_prefix: str, task: str | None, also: Mapping[str, Task] | None = None
) -> Task:
    """The task asked for, or else the one `architectures` names.

    class_prefix: how the family's classes begin, as "Bert" in "BertForSequenceClassification".
    also: further ends of class names and the task they mean.
    Raises ModelError for an unknown task, or an architecture whose head is not implemented.
    """
    if task is not None:
        for known in TASKS:
            if task == known:
                return known
        raise ModelError(f"task is {task!r}; known: {', '.join(TASKS)}")
    tasks = _TASK_OF_SUFFIX | dict(also or {})
    suffix = architecture_of(hf).removeprefix(class_prefix)
    if suffix not in tasks:
        known_classes = ", ".join(class_prefix + suffix for suffix in tasks)
        raise ModelError(
            f"architectures is {hf.get('architectures')}; known: {known_classes}. "
            f"Name a task to use the encoder for: {', '.join(TASKS)}"
        )
    return tasks[suffix]


def _labels(hf: Mapping[str, Any]) -> tuple[str, ...]:
    """Label names in order. As in transformers, num_labels wins over an id2label of another length."""
    id2label, count = hf.get("id2label"), hf.get("num_labels")
    if not isinstance(id2label, (dict, NoneType)) or not isinstance(count, (int, NoneType)):
        raise ModelError(f"id2label is {id2label!r}, num_labels {count!r}; expected an object and an integer")
    if id2label is not None and count in (None, len(id2label)):
        names = {str(index): str(name) for index, name in id2label.items()}
        numbers = [str(index) for index in range(len(names))]
        if len(set(names.values())) < len(names):
            raise ModelError(f"id2label names two labels alike: {list(names.values())}")
        if set(names) != set(numbers):
            raise ModelError(f"id2label numbers its labels {list(names)}; expected 0 to {len(names) - 1}")
        return tuple(names[number] for number in numbers)
    return tuple(f"LABEL_{index}" for index in range(2 if count is None else count))


def head_of(
    hf: Mapping[str, Any],
    task: Task,
    *,
    transform_activation: str | None,
    vocab_size: int,
    masked_lm_activation: str,
    masked_lm_size: int = 0,
) -> Head:
    """The head transformers puts on the encoder for `task`.

    transform_activation: what the family's sequence classification, and its multiple choice, apply after
    the linear layer that follows the pooling; None: there is no such layer.
    masked_lm_activation, masked_lm_size: of the linear layer before the norm and the vocabulary.
    Embeddings: the mean of all tokens, of length 1; a sentence-transformers directory says otherwise
    itself. Raises ModelError for label options that contradict each other.
    """
    if task == "embedding":
        return Head(task=task, pooling="mean", normalize=True)
    if task == "question_answering":
        return Head(task=task, num_labels=2, labels=("start", "end"))
    if task == "multiple_choice":
        return Head(task=task, pooling="first", transform_activation=transform_activation, num_labels=1)
    if task == "masked_lm":
        return Head(
            task=task,
            transform_activation=masked_lm_activation,
            transform_size=masked_lm_size,
            transform_norm=True,
            num_labels=vocab_size,
            tied=bool(hf.get("tie_word_embeddings", True)),
        )
    labels = _labels(hf)
    if task == "token_classification":
        return Head(task=task, num_labels=len(labels), labels=labels)
    stated = hf.get("problem_type")
    if stated is not None and (not isinstance(stated, str) or stated not in _PROBLEMS):
        raise ModelError(f"problem_type is {stated!r}; known: {', '.join(_PROBLEMS)}")
    # transformers trains one label as regression, several as exclusive classes, unless told otherwise
    problem = _PROBLEMS[stated] if stated else "regression" if len(labels) == 1 else "single_label"
    return Head(
        task=task,
        pooling="first",
        transform_activation=transform_activation,
        num_labels=len(labels),
        labels=labels,
        problem=problem,
    )


def tied_decoder(config: EncoderConfig, decoder: str, table: str, bias: str) -> dict[str, Source]:
    """Where a masked language model's decoder is, and the word embeddings if the two are tied.

    decoder: its module. table: the word embeddings' module. bias: the decoder's bias beside the module, where
    checkpoints of tied decoders have it.
    """
    biases = (bias, f"{decoder}.bias")
    if not config.head.tied:
        return {
            "head.classifier.weight": Source((f"{decoder}.weight",)),
            "head.classifier.bias": Source(biases[::-1]),
        }
    return tied_table(decoder, table) | {"head.classifier.bias": Source(biases, same=biases[1:])}


def tied_table(decoder: str, table: str) -> dict[str, Source]:
    """Where the weight is that a decoder shares with the word embeddings: at either, or at both."""
    shared = Source((f"{table}.weight", f"{decoder}.weight"), same=(f"{decoder}.weight",))
    return {"embeddings.word.weight": shared, "head.classifier.weight": shared}


def parameter_sources(config: EncoderConfig, modules: Mapping[str, str | Source]) -> dict[str, Source]:
    """Every parameter of the encoder and where it is in the checkpoint.

    modules: module of `Encoder` -> module of the checkpoint; or a parameter's whole name -> its source.
    """
    with torch.device("meta"):
        parameters = [name for name, _ in Encoder(config).named_parameters()]

    def source(parameter: str) -> Source:
        module, _, part = parameter.rpartition(".")
        found = modules.get(parameter, modules.get(module, module))
        whole = found if isinstance(found, Source) else Source((found,))
        if parameter in modules:
            return whole
        return replace(whole, names=tuple(f"{name}.{part}" for name in whole.names))

    return {parameter: source(parameter) for parameter in parameters}


def tiny_config(model_type: str, class_prefix: str, head: str, **options: Any) -> dict[str, Any]:
    """A small config.json in the option names that most families share, for `tiny()`."""
    return {
        "model_type": model_type,
        "architectures": [class_prefix + head],
        "vocab_size": 61,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 24,
    } | options


def labels(*names: str) -> dict[str, Any]:
    """The options of config.json that name a classifier's labels, for `tiny()`."""
    id2label = {str(index): name for index, name in enumerate(names)}
    return {"id2label": id2label, "label2id": {name: int(index) for index, name in id2label.items()}}
