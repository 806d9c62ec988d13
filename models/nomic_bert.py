"""Nomic BERT (Nussbaum et al. 2024, arXiv 2402.01613): BERT with rotary positions, gated, without biases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.models import bert
from pyqrt.nn.config import EncoderConfig, Rotary
from pyqrt.nn.huggingface import Source, labels, parameter_sources, refuse_scaled_rotary, tiny_config

MODEL_TYPE = "nomic_bert"
PREFIX = "nomic_bert."
UNUSED = bert.UNUSED
TOKENIZER_CLASSES = bert.TOKENIZER_CLASSES

_CLASS_PREFIX = "NomicBert"
_DEFAULTS = {"vocab_size": 30528, "hidden_act": "silu", "max_position_embeddings": 2048}


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig."""
    config: EncoderConfig = bert.configure({**_DEFAULTS, **hf}, task, _CLASS_PREFIX)
    rope = hf.get("rope_parameters") or {}
    refuse_scaled_rotary(rope)
    if hf.get("head_dim") not in (None, config.head_dim):
        raise ModelError(f"head_dim is {hf['head_dim']!r}; implemented is {config.head_dim}")
    base = float(rope.get("rope_theta", 1000.0))
    return replace(
        config,
        family=MODEL_TYPE,
        num_positions=0,
        attention_biases=(),
        ffn_bias=False,
        gated=True,
        rotary=Rotary(bases=(base,) * config.num_hidden_layers),
    )


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX; in Nomic's names, which transformers keeps."""
    modules = bert.encoder_modules(config) | bert.head_modules(config)
    modules["embeddings.norm"] = "emb_ln"
    if config.head.task == "masked_lm":
        modules["head.norm"] = "cls.predictions.transform.layer_norm"
    for index in range(config.num_hidden_layers):
        ours, theirs = f"layers.{index}", f"encoder.layers.{index}"
        modules |= {
            f"{ours}.attention.query": Source((f"{theirs}.attn.Wqkv",), 0, 3),
            f"{ours}.attention.key": Source((f"{theirs}.attn.Wqkv",), 1, 3),
            f"{ours}.attention.value": Source((f"{theirs}.attn.Wqkv",), 2, 3),
            f"{ours}.attention.output": f"{theirs}.attn.out_proj",
            f"{ours}.attention.norm": f"{theirs}.norm1",
            f"{ours}.ffn.up": f"{theirs}.mlp.fc12",
            f"{ours}.ffn.gate": f"{theirs}.mlp.fc11",
            f"{ours}.ffn.down": f"{theirs}.mlp.fc2",
            f"{ours}.ffn.norm": f"{theirs}.norm2",
        }
    return parameter_sources(config, modules)


def tiny() -> list[dict[str, Any]]:
    """Every task transformers has and an odd size of the feed-forward network."""
    nomic = partial(tiny_config, MODEL_TYPE, _CLASS_PREFIX)
    return [
        nomic("Model", max_position_embeddings=60),
        nomic("ForSequenceClassification", **labels("no", "maybe", "yes"), intermediate_size=51),
        nomic("ForTokenClassification", **labels("O", "B", "I"), hidden_act="gelu"),
        nomic("ForMaskedLM", num_attention_heads=2),
    ]
