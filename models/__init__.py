"""Encoder families: one file says what is different about one family. See README.md."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from pyqrt.errors import ModelError
from pyqrt.nn.config import EncoderConfig
from pyqrt.nn.huggingface import Source


class Family(Protocol):
    """What a family file provides."""

    MODEL_TYPE: str  # `model_type` in config.json; the file's name with "_" for "-"
    PREFIX: str | tuple[str, ...]  # of the encoder's tensors in a checkpoint with a head, as "bert."
    UNUSED: tuple[str, ...]  # beginnings of names of tensors that checkpoints may have beyond `parameters`
    TOKENIZER_CLASSES: tuple[str, ...]  # whose vocab.txt is a WordPiece vocabulary

    def configure(self, hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
        """config.json as an EncoderConfig; ModelError for what cannot be represented exactly."""

    def parameters(self, config: EncoderConfig) -> dict[str, Source]:
        """Name of every Encoder parameter -> where the checkpoint has it, names without PREFIX."""

    def tiny(self) -> list[dict[str, Any]]:
        """Small config.json contents that together use everything the family can do, for tests."""


def families() -> tuple[str, ...]:
    """The model types that have a file here, sorted."""
    files = Path(__file__).parent.glob("*.py")
    return tuple(sorted(file.stem.replace("_", "-") for file in files if file.stem != "__init__"))


def family(model_type: object) -> Family:
    """The family of config.json's `model_type`. Raises ModelError, listing the known, if there is none."""
    if model_type not in families():
        raise ModelError(f"model_type is {model_type!r}; known: {', '.join(families())}")
    module = import_module(f"{__name__}.{str(model_type).replace('-', '_')}")
    return cast(Family, module)
