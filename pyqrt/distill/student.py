"""A student out of its teacher: the same encoder with fewer layers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pyqrt.distill.objective import layer_map
from pyqrt.errors import ModelError
from pyqrt.models import family
from pyqrt.nn import Encoder

# What configurations of transformers call the number of layers.
_LAYER_OPTIONS = ("num_hidden_layers", "n_layers", "num_layers", "n_layer")


def shallow_student(
    teacher: Encoder, configuration: Mapping[str, Any], layers: int
) -> tuple[Encoder, dict[str, Any]]:
    """A copy of `teacher` with `layers` of its layers, taken evenly, and its config.json.

    configuration: the teacher's config.json. Layer m is the teacher's (m + 1) * (its layers) / layers - 1
    (Jiao et al. 2019, arXiv 1909.10351, section 3.1); all other weights are the same. Raises ModelError
    for a number of layers that the teacher does not have, and for layers that share weights.
    """
    config = teacher.config
    sources = layer_map(layers, config.num_hidden_layers)
    names = [name for name in _LAYER_OPTIONS if name in configuration] or [_LAYER_OPTIONS[0]]
    changed = {**configuration, **dict.fromkeys(names, layers)}
    described = family(config.family).configure(changed, config.head.task)
    if described.num_hidden_layers != layers:
        raise ModelError(f"config.json states the number of layers otherwise than as {names[0]}")
    # Options from outside config.json, such as a sentence-transformers pooling, stay as they are.
    student = Encoder(replace(config, num_hidden_layers=layers)).eval()
    weights = teacher.state_dict()
    taken = {}
    for name, tensor in student.state_dict().items():
        match = re.fullmatch(r"layers\.(\d+)\.(.*)", name)
        source = f"layers.{sources[int(match[1])]}.{match[2]}" if match else name
        if source not in weights or weights[source].shape != tensor.shape:
            raise ModelError(f"{name}: the teacher has no such layer of its own; its layers share weights")
        taken[name] = weights[source].clone()
    student.load_state_dict(taken)
    return student, changed
