"""RemBERT (Chung et al. 2021, arXiv 2010.12821): BERT with narrow input and wide output embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pyqrt.models import bert
from pyqrt.nn.config import EncoderConfig
from pyqrt.nn.huggingface import Source, labels, parameter_sources, tiny_config

MODEL_TYPE = "rembert"
PREFIX = "rembert."
UNUSED = bert.UNUSED
TOKENIZER_CLASSES = ()

_CLASS_PREFIX = "RemBert"
_DEFAULTS = {
    "vocab_size": 250300,
    "hidden_size": 1152,
    "num_hidden_layers": 32,
    "num_attention_heads": 18,
    "intermediate_size": 4608,
}


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig."""
    config: EncoderConfig = bert.configure({**_DEFAULTS, **hf}, task, _CLASS_PREFIX)
    head = config.head
    if head.task == "masked_lm":  # never tied: the two tables differ in width
        head = replace(head, transform_size=hf.get("output_embedding_size", 1664), tied=False)
    size = hf.get("input_embedding_size", 256)
    return replace(config, family=MODEL_TYPE, embedding_size=size, embedding_projection=True, head=head)


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX."""
    modules = bert.encoder_modules(config) | bert.head_modules(config)
    modules["embeddings.projection"] = "encoder.embedding_hidden_mapping_in"
    if config.head.task == "masked_lm":
        modules |= {"head.transform": "cls.predictions.dense", "head.norm": "cls.predictions.LayerNorm"}
    return parameter_sources(config, modules)


def tiny() -> list[dict[str, Any]]:
    """Every task, an odd head size, embeddings narrower and wider than the layers."""
    rembert = partial(
        tiny_config, MODEL_TYPE, _CLASS_PREFIX, input_embedding_size=12, output_embedding_size=44
    )
    odd: dict[str, Any] = {"hidden_size": 39, "num_attention_heads": 3, "intermediate_size": 51}
    return [
        rembert("Model"),
        rembert("ForSequenceClassification", **labels("no", "maybe", "yes"), input_embedding_size=40),
        rembert("ForTokenClassification", **labels("O", "B", "I"), **odd),
        rembert("ForQuestionAnswering", hidden_act="gelu_new"),
        rembert("ForMaskedLM", **odd),
        rembert("ForMultipleChoice", num_hidden_layers=1),
    ]
