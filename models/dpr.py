"""DPR (Karpukhin et al. 2020, arXiv 2004.04906): BERT whose first token is the embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.models import bert
from pyqrt.nn.config import EncoderConfig, Head
from pyqrt.nn.huggingface import Source, architecture_of, parameter_sources, tiny_config

MODEL_TYPE = "dpr"
PREFIX = ("question_encoder.bert_model.", "ctx_encoder.bert_model.")
UNUSED = bert.UNUSED
TOKENIZER_CLASSES = (
    "DPRQuestionEncoderTokenizer",
    "DPRQuestionEncoderTokenizerFast",
    "DPRContextEncoderTokenizer",
    "DPRContextEncoderTokenizerFast",
    *bert.TOKENIZER_CLASSES,
)

_CLASSES = ("DPRQuestionEncoder", "DPRContextEncoder")


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig. A reader (DPRReader) is refused."""
    if architecture_of(hf) not in _CLASSES or task not in (None, "embedding"):
        raise ModelError(
            f"architectures is {hf.get('architectures')}, the task {task}; implemented are the embeddings of "
            f"{' and '.join(_CLASSES)}"
        )
    size = hf.get("projection_dim", 0)
    head = Head(
        task="embedding",
        pooling="first",
        transform_activation="linear" if size else None,
        transform_size=size,
    )
    config: EncoderConfig = bert.configure(hf, "embedding")
    return replace(config, family=MODEL_TYPE, head=head)


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX."""
    projection = Source(("question_encoder.encode_proj", "ctx_encoder.encode_proj"))
    return parameter_sources(config, bert.encoder_modules(config) | {"head.transform": projection})


def tiny() -> list[dict[str, Any]]:
    """Both encoders, with and without projection."""
    dpr = partial(tiny_config, MODEL_TYPE, "DPR")
    return [dpr("QuestionEncoder"), dpr("ContextEncoder", projection_dim=20)]
