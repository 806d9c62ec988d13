"""MPNet (Song et al. 2020, arXiv 2004.09297): RoBERTa without token types, with a relative bias."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.models import roberta
from pyqrt.nn.config import EncoderConfig, RelativeBias
from pyqrt.nn.huggingface import Source, labels, parameter_sources, tiny_config

MODEL_TYPE = "mpnet"
PREFIX = "mpnet."
UNUSED = roberta.UNUSED
TOKENIZER_CLASSES = ()

_CLASS_PREFIX = "MPNet"
# The padding token is 1 whatever pad_token_id says, and so are these, whatever config.json says.
_BUCKETS, _MAX_DISTANCE = 32, 128
_FIXED = {"pad_token_id": 1, "type_vocab_size": 1}


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig."""
    buckets = hf.get("relative_attention_num_buckets", _BUCKETS)
    if buckets < _BUCKETS:
        raise ModelError(f"relative_attention_num_buckets is {buckets}; {_BUCKETS} are always read")
    config: EncoderConfig = roberta.configure(
        {"vocab_size": 30527, **hf, **_FIXED}, task, _CLASS_PREFIX, {}, MODEL_TYPE
    )
    relative = RelativeBias(buckets=_BUCKETS, max_distance=_MAX_DISTANCE)
    return replace(config, type_vocab_size=0, relative=relative)


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX."""
    modules = roberta.modules(config) | {"relative.table": "encoder.relative_attention_bias"}
    for index in range(config.num_hidden_layers):
        ours, theirs = f"layers.{index}.attention", f"encoder.layer.{index}.attention"
        modules |= {
            f"{ours}.query": f"{theirs}.attn.q",
            f"{ours}.key": f"{theirs}.attn.k",
            f"{ours}.value": f"{theirs}.attn.v",
            f"{ours}.output": f"{theirs}.attn.o",
            f"{ours}.norm": f"{theirs}.LayerNorm",
        }
    return parameter_sources(config, modules)


def tiny() -> list[dict[str, Any]]:
    """Every task, an odd head size, sequences beyond the exact buckets and beyond max_distance."""
    mpnet = partial(tiny_config, MODEL_TYPE, _CLASS_PREFIX)
    odd: dict[str, Any] = {"hidden_size": 39, "num_attention_heads": 3, "intermediate_size": 51}
    return [
        mpnet("Model", max_position_embeddings=150),
        mpnet("Model", **odd, hidden_act="relu", layer_norm_eps=1e-5),
        mpnet("ForSequenceClassification", **labels("no", "maybe", "yes")),
        mpnet("ForTokenClassification", **labels("O", "B", "I"), **odd),
        mpnet("ForQuestionAnswering", hidden_act="gelu_new"),
        mpnet("ForMaskedLM", **odd),
        mpnet("ForMultipleChoice", num_hidden_layers=1),
    ]
