"""Encoder families: one file says what is different about one family. See README.md."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from pyqrt.errors import ModelError
from pyqrt.nn.config import EncoderConfig
from pyqrt.nn.huggingface import Source


class Family(Protocol):
    """What a family file provides.

    One whose checkpoints may hold ranges of activations also has ``activation_ranges(hf, config)``: tap name
    -> the modules (names without PREFIX) whose `x_min` and `x_max` bound it, in turn; empty if not in use.
    One whose vocab.txt joins two texts otherwise than BERT's has ``PAIR``, as "[CLS] $A [SEP] $B:1 [SEP]:1";
    one whose encoders have token types that its tokenizer does not give, ``WITHOUT_TOKEN_TYPES``, the tasks.
    """

    MODEL_TYPE: str  # `model_type` in config.json; the file is named after it, with "_" for "-"
    PREFIX: str | tuple[str, ...]  # of the encoder's tensors in a checkpoint with a head, as "bert."
    UNUSED: tuple[str, ...]  # how names of tensors beyond `parameters` begin, "*" for anything
    TOKENIZER_CLASSES: tuple[str, ...]  # whose vocab.txt is a WordPiece vocabulary

    def configure(self, hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
        """config.json as an EncoderConfig; ModelError for what cannot be represented exactly."""

    def parameters(self, config: EncoderConfig) -> dict[str, Source]:
        """Name of every Encoder parameter -> where the checkpoint has it, names without PREFIX."""

    def tiny(self) -> list[dict[str, Any]]:
        """Small config.json contents that together use everything the family can do, for tests."""


@cache
def _files() -> dict[str, str]:
    """Model type -> name of its file, without the ending."""
    files = (file.stem for file in Path(__file__).parent.glob("*.py") if file.stem != "__init__")
    return {import_module(f"{__name__}.{file}").MODEL_TYPE: file for file in sorted(files)}


def families() -> tuple[str, ...]:
    """The model types that have a file here, sorted."""
    return tuple(sorted(_files()))


def family(model_type: object) -> Family:
    """The family of config.json's `model_type`. Raises ModelError, listing the known, if there is none."""
    if not isinstance(model_type, str) or model_type not in _files():
        raise ModelError(f"model_type is {model_type!r}; known: {', '.join(families())}")
    return cast(Family, import_module(f"{__name__}.{_files()[model_type]}"))
