"""A checkpoint's encoder with a new, untrained head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pyqrt.errors import ModelError
from pyqrt.models import family
from pyqrt.nn import Encoder, Task
from pyqrt.quantize.checkpoint import Checkpoint
from pyqrt.quantize.checkpoint.files import Directory
from pyqrt.quantize.checkpoint.tokenizer import read_tokenizer
from pyqrt.quantize.checkpoint.weights import load_weights, read_weights

DEVIATION = 0.02  # of untrained weights; their biases are 0


def with_new_head(
    directory: Path,
    task: Task,
    labels: Sequence[str],
    *,
    max_length: int,
    seed: int,
    multi_label: bool = False,
) -> tuple[Encoder, Checkpoint]:
    """The encoder in `directory` with an untrained head for `task` and what came with it.

    labels: of the classifier; one means a regression, unless labels are independent (`multi_label`).
    max_length: tokens a sequence may have, at most the checkpoint's. seed: of the classifier's weights, and
    of a pooler's that the checkpoint lacks.

    Raises ModelError for a checkpoint that cannot be read or has no tokenizer.
    """
    root = Directory(directory)
    hf: dict[str, Any] = root.object("config.json")
    described_by = family(hf.get("model_type"))
    problem = "regression" if len(labels) == 1 else "single_label_classification"
    problem = "multi_label_classification" if multi_label else problem
    hf |= {
        "num_labels": len(labels),
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
        "problem_type": problem,
    }
    config = described_by.configure(hf, task)
    config = replace(config, max_length=min(config.max_length, max_length))
    with torch.device("meta"):
        encoder = Encoder(config)

    tensors, sha256 = read_weights(root, encoder, described_by)
    generator = torch.Generator().manual_seed(seed)
    sources = described_by.parameters(config)
    prefixes = [described_by.PREFIX] if isinstance(described_by.PREFIX, str) else described_by.PREFIX
    for name, parameter in encoder.named_parameters():
        if not name.startswith("head."):
            continue
        names = sources[name].names
        spellings = {prefix + spelling for prefix in ("", *prefixes) for spelling in names}
        if name.startswith("head.classifier."):  # of another task, whatever its shape
            tensors = {key: value for key, value in tensors.items() if key not in spellings}
        if not spellings & set(tensors):
            scale = DEVIATION if parameter.ndim > 1 else 0.0
            tensors[names[0]] = scale * torch.randn(parameter.shape, generator=generator)
    load_weights(encoder, tensors, described_by, directory)

    tokenizer = read_tokenizer(root, hf, described_by, config)
    if tokenizer is None:
        raise ModelError(
            f"{directory} has neither tokenizer.json nor vocab.txt, so it cannot learn from text"
        )
    return encoder, Checkpoint(directory, hf, tokenizer, sha256, config.max_length, root.files_read())
