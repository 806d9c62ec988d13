"""Splinter (Ram et al. 2021, arXiv 2101.00438) as an encoder: BERT. Its head for spans is not implemented."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.models import bert
from pyqrt.nn.config import EncoderConfig
from pyqrt.nn.huggingface import tiny_config

MODEL_TYPE = "splinter"
PREFIX = "splinter."
UNUSED = (*bert.UNUSED, "splinter_qass.")
TOKENIZER_CLASSES = ("SplinterTokenizer", "SplinterTokenizerFast", *bert.TOKENIZER_CLASSES)

_CLASS_PREFIX = "Splinter"

parameters = bert.parameters


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig."""
    config: EncoderConfig = bert.configure(hf, task, _CLASS_PREFIX)
    if config.head.task != "embedding":
        raise ModelError(
            f"the task is {config.head.task}; implemented for {MODEL_TYPE} is embedding: its selection of "
            "spans by the question's token is not"
        )
    return replace(config, family=MODEL_TYPE)


def tiny() -> list[dict[str, Any]]:
    """An odd head size, another activation."""
    splinter = partial(tiny_config, MODEL_TYPE, _CLASS_PREFIX)
    return [
        splinter("Model"),
        splinter("Model", hidden_size=39, num_attention_heads=3, intermediate_size=51, hidden_act="relu"),
    ]
