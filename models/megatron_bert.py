"""Megatron-BERT (Shoeybi et al. 2019, arXiv 1909.08053): BERT with norms before the blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pyqrt.models import bert
from pyqrt.nn.config import EncoderConfig
from pyqrt.nn.huggingface import Source, labels, parameter_sources, tiny_config

MODEL_TYPE = "megatron-bert"
PREFIX = "bert."
UNUSED = bert.UNUSED
TOKENIZER_CLASSES = bert.TOKENIZER_CLASSES

_CLASS_PREFIX = "MegatronBert"
_DEFAULTS = {
    "vocab_size": 29056,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig."""
    config: EncoderConfig = bert.configure({**_DEFAULTS, **hf}, task, _CLASS_PREFIX)
    return replace(config, family=MODEL_TYPE, norm="pre", embedding_norm=False)


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX."""
    modules = bert.encoder_modules(config) | bert.head_modules(config)
    for index in range(config.num_hidden_layers):
        modules[f"layers.{index}.attention.norm"] = f"encoder.layer.{index}.attention.ln"
        modules[f"layers.{index}.ffn.norm"] = f"encoder.layer.{index}.ln"
    return parameter_sources(config, modules | {"norm": "encoder.ln"})


def tiny() -> list[dict[str, Any]]:
    """Every task and an odd head size."""
    megatron = partial(tiny_config, MODEL_TYPE, _CLASS_PREFIX)
    odd: dict[str, Any] = {"hidden_size": 39, "num_attention_heads": 3, "intermediate_size": 51}
    return [
        megatron("Model", num_hidden_layers=3),
        megatron("ForSequenceClassification", **labels("no", "maybe", "yes"), hidden_act="relu"),
        megatron("ForTokenClassification", **labels("O", "B", "I"), **odd),
        megatron("ForQuestionAnswering", hidden_act="gelu_new"),
        megatron("ForMaskedLM", **odd, tie_word_embeddings=False),
        megatron("ForMultipleChoice", num_hidden_layers=1),
        megatron("ForNextSentencePrediction", num_hidden_layers=1),
    ]
