"""XLM-RoBERTa (Conneau et al. 2020, arXiv 1911.02116): RoBERTa with a vocabulary of a hundred languages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyqrt.models import roberta
from pyqrt.nn.config import EncoderConfig

MODEL_TYPE = "xlm-roberta"
PREFIX = "roberta."
UNUSED = roberta.UNUSED
TOKENIZER_CLASSES = ()
parameters = roberta.parameters

_CLASS_PREFIX = "XLMRoberta"
_DEFAULTS = {"vocab_size": 30522, "pad_token_id": 1}


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig."""
    config: EncoderConfig = roberta.configure(hf, task, _CLASS_PREFIX, _DEFAULTS, MODEL_TYPE)
    return config


def tiny() -> list[dict[str, Any]]:
    """RoBERTa's."""
    configurations: list[dict[str, Any]] = roberta.tiny(MODEL_TYPE, _CLASS_PREFIX)
    return configurations
