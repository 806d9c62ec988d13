"""A float encoder as a Hugging Face checkpoint directory."""

from __future__ import annotations

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from pyqrt.errors import ModelError
from pyqrt.models import family
from pyqrt.nn import Encoder, Problem, Task
from pyqrt.quantize.checkpoint import Checkpoint

_SUFFIXES: dict[Task, str] = {
    "embedding": "Model",
    "sequence_classification": "ForSequenceClassification",
    "token_classification": "ForTokenClassification",
    "question_answering": "ForQuestionAnswering",
}
_PROBLEMS: dict[Problem, str] = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}


def save_checkpoint(encoder: Encoder, source: Checkpoint, directory: Path) -> None:
    """Writes config.json, model.safetensors and the tokenizer, for `pyqrt quantize` and transformers.

    source: where the encoder comes from. Its config.json is written with the encoder's own layers, task
    and labels; its tokenizer as it is. directory is made, files in it are replaced.

    Raises ModelError if `source` does not name its architecture, or that has no room for the head.
    """
    hf = {**source.config, **_own_options(encoder, source.config)}
    for name in ("dtype", "torch_dtype"):  # of the weights that the encoder came from; these are float32
        hf.pop(name, None)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(hf, indent=2) + "\n", encoding="utf-8")

    described_by = family(hf["model_type"])
    sources = described_by.parameters(encoder.config)
    has_head = encoder.config.head.num_labels > 0
    first = described_by.PREFIX if isinstance(described_by.PREFIX, str) else described_by.PREFIX[0]
    body = {sources[n].names[0]: p for n, p in encoder.named_parameters() if not n.startswith("head.")}
    parts: dict[str, dict[int, Tensor]] = defaultdict(dict)
    dense: dict[str, Tensor] = {}
    for name, parameter in encoder.named_parameters():
        source_of, value = sources[name], parameter.detach()
        if source.dense and name.startswith("head.transform."):
            dense[name.replace("head.transform", "linear")] = value.contiguous()
            continue
        theirs = source_of.names[0]
        if source_of.further:
            width = encoder.config.embedding_size
            parts[source_of.further][0] = value[:, width:].T[None]
            value = value[:, :width]
        if source_of.kernel and value.dim() > 1:
            value = value.reshape(len(value), source_of.kernel, -1).transpose(1, 2).flip(2)
        if name.startswith("head.") and theirs in body:
            if not torch.equal(value, body[theirs]):
                raise ModelError(f"{name} differs from {theirs}, which {hf['model_type']} ties it to")
            continue
        # The pooler is part of transformers' encoders; what else a head has stands beside them.
        inside = not name.startswith("head.") or theirs.startswith("pooler.")
        prefix = first if has_head and inside else ""
        parts[prefix + theirs][source_of.part] = value.reshape(source_of.groups, -1, *value.shape[1:])
    tensors = {
        name: torch.cat([part for _, part in sorted(of.items())], dim=1).flatten(0, 1).contiguous()
        for name, of in parts.items()
    }
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    if dense:
        (directory / source.dense).mkdir(exist_ok=True)
        save_file(dense, directory / source.dense / "model.safetensors", metadata={"format": "pt"})

    if source.tokenizer_json is not None:
        (directory / "tokenizer.json").write_text(source.tokenizer_json, encoding="utf-8")
    # What a sentence-transformers model says of its pooling is among the files read.
    beside = {name for name in source.files if name.endswith(".json")} - {"config.json", "tokenizer.json"}
    for name in sorted(beside | {"tokenizer_config.json", "special_tokens_map.json"}):
        if (source.path / name).is_file() and source.path != directory and ".index." not in name:
            (directory / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source.path / name, directory / name)


def _own_options(encoder: Encoder, hf: Mapping[str, Any]) -> dict[str, Any]:
    """What of config.json the task decides."""
    head = encoder.config.head
    architecture = (hf.get("architectures") or [""])[0]
    base = re.fullmatch(r"(\w+?)(Model|For[A-Z]\w*)", architecture)  # RoFormerForMaskedLM is a RoFormer
    if base is None:
        raise ModelError(
            f"architectures is {hf.get('architectures')}; checkpoints are written of classes called ...Model "
            "or ...For and a task; write a model file"
        )
    if family(hf["model_type"]).configure(hf, None).head == head:
        return {}  # the architecture's own
    if head.task not in _SUFFIXES:
        raise ModelError(
            f"checkpoints are written for {', '.join(_SUFFIXES)}, not for {head.task}; write a model file"
        )
    options: dict[str, Any] = {"architectures": [base[1] + _SUFFIXES[head.task]]}
    if head.labels and head.task != "question_answering":
        options["num_labels"] = head.num_labels
        options["id2label"] = {str(number): label for number, label in enumerate(head.labels)}
        options["label2id"] = {label: number for number, label in enumerate(head.labels)}
    if head.problem is not None:
        options["problem_type"] = _PROBLEMS[head.problem]
    return options
