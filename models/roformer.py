"""RoFormer (Su et al. 2021, arXiv 2104.09864): BERT with rotary positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.models import bert
from pyqrt.nn.config import EncoderConfig, Head, Pooling, Rotary
from pyqrt.nn.huggingface import (
    Source,
    head_of,
    labels,
    parameter_sources,
    refuse_unsupported,
    task_of,
    tiny_config,
)

MODEL_TYPE = "roformer"
PREFIX = "roformer."
UNUSED = (*bert.UNUSED, "encoder.embed_positions.", "sequence_summary.")
TOKENIZER_CLASSES = ()

_DEFAULTS = {"vocab_size": 50000, "max_position_embeddings": 1536}
_ONLY = {"rotary_value": (False, "values turned by their position are not implemented")}
_BASE = 10000.0
_POOLING: dict[str, Pooling] = {"last": "last", "cls_index": "last", "first": "first", "mean": "mean"}


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig."""
    refuse_unsupported(hf, _ONLY)
    options = {**_DEFAULTS, **hf}
    config: EncoderConfig = bert.configure(options, "embedding")
    size = options.get("embedding_size") or config.hidden_size
    head = head_of(
        options,
        task_of(options, "RoFormer", task),
        transform_activation=config.hidden_act,
        vocab_size=config.vocab_size,
        masked_lm_activation=config.hidden_act,
        masked_lm_size=size,
    )
    if head.task == "multiple_choice":
        head = _summary(options, head)
    return replace(
        config,
        family=MODEL_TYPE,
        num_positions=0,
        embedding_size=size,
        embedding_projection=size != config.hidden_size,
        rotary=Rotary(bases=(_BASE,) * config.num_hidden_layers, interleaved=True, double_precision=True),
        head=head,
    )


def _summary(options: Mapping[str, Any], head: Head) -> Head:
    """What multiple choice makes of a sequence: a token or the mean, projected or not."""
    kind, activation = options.get("summary_type", "last"), options.get("summary_activation")
    projected = bool(options.get("summary_use_proj"))
    if kind not in _POOLING:
        raise ModelError(f"summary_type is {kind!r}; known: {', '.join(_POOLING)}")
    if activation and not projected:
        raise ModelError(f"summary_activation is {activation!r}; implemented only with summary_use_proj")
    if projected and options.get("summary_proj_to_labels"):
        raise ModelError("summary_proj_to_labels is True; implemented is False")
    transform = (activation or "linear") if projected else None
    return replace(head, pooling=_POOLING[kind], transform_activation=transform)


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX."""
    modules = bert.encoder_modules(config) | bert.head_modules(config)
    modules["embeddings.projection"] = "embeddings_project"
    if config.head.task == "multiple_choice":
        modules["head.transform"] = "sequence_summary.summary"
    elif config.head.task == "sequence_classification":
        modules |= {"head.transform": "classifier.dense", "head.classifier": "classifier.out_proj"}
    return parameter_sources(config, modules)


def tiny() -> list[dict[str, Any]]:
    """Every task, narrow embeddings, every way to summarise choices."""
    roformer = partial(tiny_config, MODEL_TYPE, "RoFormer")
    odd: dict[str, Any] = {"hidden_size": 42, "num_attention_heads": 3, "intermediate_size": 51}
    projected = {"summary_type": "first", "summary_use_proj": True, "summary_activation": "tanh"}
    return [
        roformer("Model", max_position_embeddings=60),
        roformer("ForSequenceClassification", **labels("no", "maybe", "yes"), embedding_size=12),
        roformer("ForTokenClassification", **labels("O", "B", "I"), **odd, hidden_act="relu"),
        roformer("ForQuestionAnswering", num_hidden_layers=1),
        roformer("ForMaskedLM", **odd, embedding_size=24),
        roformer("ForMaskedLM", tie_word_embeddings=False),
        roformer("ForMultipleChoice", num_hidden_layers=1),
        roformer("ForMultipleChoice", num_hidden_layers=1, **projected),
    ]
