"""ELECTRA (Clark et al. 2020, arXiv 2003.10555): BERT without pooler, with projected embeddings.

Its discriminator says of every token whether it was replaced: a token classification with one label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.models import bert
from pyqrt.nn.config import EncoderConfig, Head
from pyqrt.nn.huggingface import (
    POSITIONS,
    Source,
    architecture_of,
    head_of,
    labels,
    parameter_sources,
    task_of,
    tied_decoder,
    tiny_config,
)

MODEL_TYPE = "electra"
PREFIX = "electra."
UNUSED = (
    *POSITIONS,
    "generator_predictions.",
    "generator_lm_head.",
    "discriminator_predictions.",
    "sequence_summary.",
    "classifier.",
    "qa_outputs.",
)
TOKENIZER_CLASSES = ("ElectraTokenizer", "ElectraTokenizerFast", "BertTokenizer", "BertTokenizerFast")

_DEFAULTS = {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}
_SUMMARY: dict[str, Any] = {
    "summary_type": "first",
    "summary_use_proj": True,
    "summary_activation": "gelu",
}


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig."""
    options = {**_DEFAULTS, **hf}
    config: EncoderConfig = bert.configure(options, "embedding")
    size = options.get("embedding_size", 128)
    head = head_of(
        options,
        task_of(options, "Electra", task, {"ForPreTraining": "token_classification"}),
        transform_activation="gelu",  # whatever hidden_act is
        vocab_size=config.vocab_size,
        masked_lm_activation="gelu",
        masked_lm_size=size,
    )
    if head.task == "multiple_choice":
        for name, accepted in _SUMMARY.items():
            if options.get(name, accepted) != accepted:
                raise ModelError(f"{name} is {options[name]!r}; implemented is {accepted!r}")
    if architecture_of(hf) == "ElectraForPreTraining" and head.task == "token_classification":
        head = Head(
            task="token_classification",
            transform_activation=config.hidden_act,
            num_labels=1,
            labels=("replaced",),
            problem="multi_label",
        )
    return replace(
        config,
        family=MODEL_TYPE,
        embedding_size=size,
        embedding_projection=size != config.hidden_size,
        head=head,
    )


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX."""
    task, modules = config.head.task, bert.encoder_modules(config)
    modules |= {"embeddings.projection": "embeddings_project", "head.classifier": "classifier"}
    if task == "masked_lm":
        modules |= {
            "head.transform": "generator_predictions.dense",
            "head.norm": "generator_predictions.LayerNorm",
            **tied_decoder(
                config, "generator_lm_head", "embeddings.word_embeddings", "generator_lm_head.bias"
            ),
        }
    elif task == "sequence_classification":
        modules |= {"head.transform": "classifier.dense", "head.classifier": "classifier.out_proj"}
    elif task == "multiple_choice":
        modules["head.transform"] = "sequence_summary.summary"
    elif task == "question_answering":
        modules["head.classifier"] = "qa_outputs"
    elif config.head.transform_activation:  # of tokens: the discriminator
        modules["head.transform"] = "discriminator_predictions.dense"
        modules["head.classifier"] = "discriminator_predictions.dense_prediction"
    return parameter_sources(config, modules)


def tiny() -> list[dict[str, Any]]:
    """Every task, the discriminator, embeddings with and without projection."""
    electra = partial(tiny_config, MODEL_TYPE, "Electra", embedding_size=12)
    odd: dict[str, Any] = {"hidden_size": 39, "num_attention_heads": 3, "intermediate_size": 51}
    return [
        electra("Model"),
        electra("Model", **odd, embedding_size=39, hidden_act="gelu_new"),
        electra("ForPreTraining", hidden_act="relu"),
        electra("ForSequenceClassification", **labels("no", "maybe", "yes")),
        electra("ForTokenClassification", **labels("O", "B", "I"), **odd),
        electra("ForQuestionAnswering", embedding_size=40),
        electra("ForMaskedLM", **odd),
        electra("ForMaskedLM", tie_word_embeddings=False, embedding_size=32),
        electra("ForMultipleChoice", num_hidden_layers=1),
    ]
