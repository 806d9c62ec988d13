"""Longformer (Beltagy et al. 2020, arXiv 2004.05150): RoBERTa that sees windows.

transformers makes tokens global that a caller names, and by itself the first one in sequence classification,
those before the first separator, the question, in question answering, and those behind the first two, the
choice, in multiple choice. In embeddings, token classification and masked language models there are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.models import roberta
from pyqrt.nn.config import EncoderConfig, GlobalTokens
from pyqrt.nn.huggingface import Source, labels, parameter_sources, tiny_config

MODEL_TYPE = "longformer"
PREFIX = "longformer."
UNUSED = (
    *roberta.UNUSED,
    *(f"encoder.layer.*.attention.self.{x}_global." for x in ("query", "key", "value")),
)
TOKENIZER_CLASSES = ()

_CLASS_PREFIX = "Longformer"
_DEFAULTS = {"vocab_size": 30522, "pad_token_id": 1}
_WINDOW = 512
_SEPARATOR = 2  # transformers' LongformerConfig


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig."""
    config: EncoderConfig = roberta.configure(hf, task, _CLASS_PREFIX, _DEFAULTS, MODEL_TYPE)
    stated = hf.get("attention_window", _WINDOW)
    windows = [stated] * config.num_hidden_layers if isinstance(stated, int) else stated
    for window in windows:
        if not isinstance(window, int) or window < 2 or window % 2:
            raise ModelError(f"attention_window is {stated!r}; it must be even numbers of at least 2")
    separator = hf.get("sep_token_id", _SEPARATOR)
    global_tokens = {
        "sequence_classification": GlobalTokens(),
        "question_answering": GlobalTokens(until=separator),
        "multiple_choice": GlobalTokens(after=separator),
    }
    return replace(
        config,
        windows=tuple(window // 2 for window in windows),
        global_tokens=global_tokens.get(config.head.task),
    )


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX."""
    modules = roberta.modules(config)
    for index in range(config.num_hidden_layers):
        ours, theirs = f"layers.{index}.attention.globals", f"encoder.layer.{index}.attention.self"
        modules |= {f"{ours}.{part}": f"{theirs}.{part}_global" for part in ("query", "key", "value")}
    return parameter_sources(config, modules)


def tiny() -> list[dict[str, Any]]:
    """Every task, an odd head size, windows narrow, wide and of each layer."""
    longformer = partial(tiny_config, MODEL_TYPE, _CLASS_PREFIX, attention_window=8)
    odd: dict[str, Any] = {"hidden_size": 39, "num_attention_heads": 3, "intermediate_size": 51}
    return [
        longformer("Model", max_position_embeddings=80, attention_window=[4, 16]),
        longformer("ForTokenClassification", **labels("O", "B", "I"), **odd),
        longformer("ForSequenceClassification", **labels("no", "maybe", "yes"), max_position_embeddings=90),
        longformer("ForSequenceClassification", **labels("no", "yes"), **odd, attention_window=[4, 64]),
        longformer("ForQuestionAnswering", **odd, max_position_embeddings=90),
        longformer(
            "ForQuestionAnswering", sep_token_id=9, attention_window=[4, 16], max_position_embeddings=60
        ),
        longformer("ForMultipleChoice", **odd, max_position_embeddings=90),
        longformer("ForMultipleChoice", sep_token_id=9, attention_window=[4, 16], num_hidden_layers=2),
        longformer("ForMaskedLM", attention_window=64, pad_token_id=0),
    ]
