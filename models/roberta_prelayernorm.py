"""RoBERTa with norms before the blocks (Ott et al. 2019, arXiv 1904.01038; Wettig et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pyqrt.models import roberta
from pyqrt.nn.config import EncoderConfig
from pyqrt.nn.huggingface import Source, parameter_sources

MODEL_TYPE = "roberta-prelayernorm"
PREFIX = "roberta_prelayernorm."
UNUSED = roberta.UNUSED
TOKENIZER_CLASSES = ()

_CLASS_PREFIX = "RobertaPreLayerNorm"


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig."""
    config: EncoderConfig = roberta.configure(hf, task, _CLASS_PREFIX, roberta.DEFAULTS, MODEL_TYPE)
    return replace(config, norm="pre")


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX."""
    modules = roberta.modules(config) | {"norm": "LayerNorm"}
    for index in range(config.num_hidden_layers):
        modules[f"layers.{index}.attention.norm"] = f"encoder.layer.{index}.attention.LayerNorm"
        modules[f"layers.{index}.ffn.norm"] = f"encoder.layer.{index}.intermediate.LayerNorm"
    return parameter_sources(config, modules)


def tiny() -> list[dict[str, Any]]:
    """RoBERTa's."""
    configurations: list[dict[str, Any]] = roberta.tiny(MODEL_TYPE, _CLASS_PREFIX)
    return configurations
