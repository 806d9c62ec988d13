"""Where a student begins: its teacher with fewer layers, or a checkpoint with a head for the task."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pyqrt.distill.objective import layer_map
from pyqrt.errors import ModelError
from pyqrt.models import family
from pyqrt.nn import Encoder, Head
from pyqrt.quantize.checkpoint import Checkpoint, load_checkpoint
from pyqrt.quantize.checkpoint.files import Directory
from pyqrt.train.head import with_new_head

# What configurations of transformers call the number of layers.
_LAYER_OPTIONS = ("num_hidden_layers", "n_layers", "num_layers", "n_layer")
# Tasks whose heads are a few rows, learnt with the student's layers.
_NEW_HEADS = ("sequence_classification", "token_classification", "question_answering")
# Those of their options that may have an entry for every layer.
_LAYER_LISTS = ("attention_window", "layer_types")


def shallow_student(
    teacher: Encoder, configuration: Mapping[str, Any], layers: int
) -> tuple[Encoder, dict[str, Any]]:
    """A copy of `teacher` with `layers` of its layers, taken evenly, and its config.json.

    configuration: the teacher's config.json. Layer m is the teacher's (m + 1) * (its layers) / layers - 1
    (Jiao et al. 2019, arXiv 1909.10351, section 3.1); all other weights are the same. Raises ModelError
    for a number of layers that the teacher does not have, and for one whose layers cannot share weights as
    the family's do.
    """
    config = teacher.config
    sources = layer_map(layers, config.num_hidden_layers)
    groups, inner = config.layer_groups, config.layers_per_group
    if layers % inner or layers < groups * inner:
        raise ModelError(
            f"{layers} layers do not fit {config.family} with {groups} groups of {inner} layers that share "
            f"weights; choose a multiple of {inner}, at least {groups * inner}"
        )
    names = [name for name in _LAYER_OPTIONS if name in configuration] or [_LAYER_OPTIONS[0]]
    changed = {**configuration, **dict.fromkeys(names, layers // inner)}
    for name in _LAYER_LISTS:
        if isinstance(configuration.get(name), list):
            changed[name] = configuration[name][:layers]
    described = family(config.family).configure(changed, config.head.task)
    # Options from outside config.json, such as a sentence-transformers pooling, stay as they are.
    # What a layer sees goes by its place in the student, as the family's configuration has it.
    shallow = replace(config, num_hidden_layers=layers, windows=described.windows, rotary=described.rotary)
    student = Encoder(shallow).eval()
    theirs = [config.layer_order[source] for source in sources]
    taken_from = dict(zip(student.config.layer_order, theirs, strict=True))
    shared = [taken_from[ours] for ours in student.config.layer_order]
    if described.num_hidden_layers != layers or shared != theirs:
        raise ModelError(
            f"{layers} of {config.num_hidden_layers} layers cannot share weights as {config.family} wants; "
            "choose another number of layers"
        )
    weights = teacher.state_dict()
    taken = {}
    for name in student.state_dict():
        match = re.fullmatch(r"layers\.(\d+)\.(.*)", name)
        theirs_of = f"layers.{taken_from[int(match[1])]}.{match[2]}" if match else name
        # what only the first layer has, as a convolution, is the first's
        taken[name] = weights[theirs_of if theirs_of in weights else name].clone()
    student.load_state_dict(taken)
    return student, changed


def student_from(directory: Path, teacher: Encoder, *, seed: int) -> tuple[Encoder, Checkpoint]:
    """The encoder of a checkpoint with a head for the teacher's task, and what came with it.

    The head is the checkpoint's if it has the same labels; embeddings are pooled and normalised as the
    teacher's. Else, as for an encoder that was distilled before it has learnt a task (Jiao et al. 2019,
    arXiv 1909.10351, section 3.2), it is the teacher's where shapes are equal and untrained where they are
    not, drawn with the seed. Raises ModelError for a checkpoint that cannot be read, or has no tokenizer.
    """
    head = teacher.config.head
    if head.task not in _NEW_HEADS or _head_of(directory) == _meaning(head):
        return _pooled_as(head, *load_checkpoint(directory, head.task))
    student, origin = with_new_head(
        directory,
        head.task,
        head.labels,
        max_length=teacher.config.max_length,
        seed=seed,
        multi_label=head.problem == "multi_label",
    )
    theirs = teacher.head.state_dict()
    with torch.no_grad():
        for name, parameter in student.head.named_parameters():
            if name in theirs and theirs[name].shape == parameter.shape:
                parameter.copy_(theirs[name])
    return student, origin


def _pooled_as(head: Head, encoder: Encoder, origin: Checkpoint) -> tuple[Encoder, Checkpoint]:
    """The encoder with the pooling and the normalisation of `head`, if it gives embeddings."""
    if head.task == "embedding":
        own = replace(encoder.config.head, pooling=head.pooling, normalize=head.normalize)
        pooled = Encoder(replace(encoder.config, head=own)).eval()
        pooled.load_state_dict(encoder.state_dict())
        encoder = pooled
    return encoder, origin


def _meaning(head: Head) -> tuple[object, ...]:
    return head.task, head.labels, head.problem


def _head_of(directory: Path) -> tuple[object, ...]:
    hf = Directory(directory).object("config.json")
    return _meaning(family(hf.get("model_type")).configure(hf, None).head)


@contextmanager
def tied(encoder: Encoder) -> Iterator[None]:
    """While this lasts, a decoder that its checkpoint ties to the word embeddings is the same parameter."""
    decoder, table = encoder.head.classifier, encoder.embeddings.word
    if decoder is None or not encoder.config.head.tied:
        yield
        return
    decoder.weight = table.weight
    try:
        yield
    finally:
        decoder.weight = nn.Parameter(table.weight.detach().clone())
