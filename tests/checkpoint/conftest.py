"""A small real checkpoint directory to take apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from pyqrt.models import bert

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    *SPECIAL,
    "the",
    "cat",
    "sat",
    "on",
    "mat",
    "##s",
    "un",
    "##able",
    "café",
    "cafe",
    ",",
    ".",
    "漢",
    "字",
]
WORDS += ["The", "Cat"]
HF = bert.tiny()[0] | {"vocab_size": len(WORDS)}


class Checkpoint:
    """A checkpoint directory: BertModel with random weights, config.json and vocab.txt."""

    def __init__(self, path: Path, architecture: str = "BertModel") -> None:
        self.path = path
        options = {name: value for name, value in HF.items() if name not in ("model_type", "architectures")}
        torch.manual_seed(7)
        model = getattr(transformers, architecture)(transformers.BertConfig(**options))
        model.save_pretrained(path)
        (path / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")

    def json(self, name: str, value: Any) -> None:
        """Write a JSON file, in a folder that need not exist."""
        (self.path / name).parent.mkdir(exist_ok=True)
        (self.path / name).write_text(json.dumps(value), encoding="utf-8")

    def options(self, name: str, **changes: Any) -> None:
        """Change options of an existing JSON file."""
        self.json(name, json.loads((self.path / name).read_text(encoding="utf-8")) | changes)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors of model.safetensors."""
        return {name: tensor.clone() for name, tensor in load_file(self.path / "model.safetensors").items()}

    @tensors.setter
    def tensors(self, tensors: dict[str, Tensor]) -> None:
        save_file(tensors, self.path / "model.safetensors")


@pytest.fixture
def saved(tmp_path: Path) -> Checkpoint:
    """A BertModel checkpoint."""
    return Checkpoint(tmp_path)


@pytest.fixture
def saved_as(tmp_path: Path) -> Callable[[str], Checkpoint]:
    """A checkpoint of the given architecture."""
    return lambda architecture: Checkpoint(tmp_path, architecture)
