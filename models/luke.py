"""LUKE (Yamada et al. 2020, arXiv 2010.01057) reading words only: RoBERTa with BERT's heads.

Without entities LUKE's attention among words is the ordinary one; what stands for entities is not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from pyqrt.models import bert, roberta
from pyqrt.nn.config import EncoderConfig
from pyqrt.nn.huggingface import Source, labels, parameter_sources, tiny_config

MODEL_TYPE = "luke"
PREFIX = "luke."
UNUSED = (
    *roberta.UNUSED,
    "entity_embeddings.",
    "entity_predictions.",
    "encoder.layer.*.attention.self.w2e_query.",
    "encoder.layer.*.attention.self.e2w_query.",
    "encoder.layer.*.attention.self.e2e_query.",
)
TOKENIZER_CLASSES = ()

_CLASS_PREFIX = "Luke"
_DEFAULTS = {"vocab_size": 50267, "pad_token_id": 1}


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig."""
    options = {**hf, "tie_word_embeddings": False}  # the decoder is its own, or missing
    config: EncoderConfig = roberta.configure(options, task, _CLASS_PREFIX, _DEFAULTS, MODEL_TYPE)
    return config


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX."""
    modules = roberta.modules(config)
    if config.head.task == "sequence_classification":
        modules |= bert.head_modules(config)
    elif config.head.task == "masked_lm":
        decoders = ("lm_head.decoder.weight", "embeddings.word_embeddings.weight")
        modules["head.classifier.weight"] = Source(decoders)
    return parameter_sources(config, modules)


def tiny() -> list[dict[str, Any]]:
    """Every task, with and without projections for entities."""
    luke = partial(tiny_config, MODEL_TYPE, _CLASS_PREFIX, entity_vocab_size=7, entity_emb_size=8)
    odd: dict[str, Any] = {"hidden_size": 39, "num_attention_heads": 3, "intermediate_size": 51}
    return [
        luke("Model", use_entity_aware_attention=False),
        luke("ForSequenceClassification", **labels("no", "maybe", "yes"), pad_token_id=3),
        luke("ForTokenClassification", **labels("O", "B", "I"), **odd),
        luke("ForQuestionAnswering", hidden_act="relu"),
        luke("ForMaskedLM", **odd),
        luke("ForMultipleChoice", num_hidden_layers=1),
    ]
