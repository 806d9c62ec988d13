"""A student out of its teacher: the same encoder with fewer layers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import nn

from pyqrt.distill.objective import layer_map
from pyqrt.errors import ModelError
from pyqrt.models import family
from pyqrt.nn import Encoder

# What configurations of transformers call the number of layers.
_LAYER_OPTIONS = ("num_hidden_layers", "n_layers", "num_layers", "n_layer")
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
    names = [name for name in _LAYER_OPTIONS if name in configuration] or [_LAYER_OPTIONS[0]]
    changed = {**configuration, **dict.fromkeys(names, layers // max(config.layers_per_group, 1))}
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
