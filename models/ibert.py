"""I-BERT (Kim et al. 2021, arXiv 2101.01321): RoBERTa trained for integer arithmetic.

A checkpoint holds float weights, and beside them what quantization-aware training knew: ranges of
activations (running extremes), integer weights, scales. The network here is the float one; the ranges become
grids (`activation_ranges`), the integers are made anew from the float weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.models import roberta
from pyqrt.nn.config import EncoderConfig
from pyqrt.nn.huggingface import labels, tiny_config

MODEL_TYPE = "ibert"
PREFIX = "ibert."
UNUSED = (
    *roberta.UNUSED,
    *(f"*.{kind}_integer" for kind in ("weight", "bias")),
    *(f"*.{kind}_scaling_factor" for kind in ("weight", "fc", "act")),
    *("*.x_min", "*.x_max", "*.LayerNorm.shift"),
)
TOKENIZER_CLASSES = ()
parameters = roberta.parameters

_CLASS_PREFIX = "IBert"
_DEFAULTS = {"vocab_size": 30522, "pad_token_id": 1}
_FORCED = ("none", "gelu", "softmax", "layernorm", "nonlinear")
_LAYER_RANGES = {
    "attention.query": ("attention.self.query_activation",),
    "attention.key": ("attention.self.key_activation",),
    "attention.value": ("attention.self.value_activation",),
    "attention.context": ("attention.self.output_activation",),
    "attention.sum": ("attention.output.ln_input_act",),
    "attention.output": ("attention.output.output_activation", "pre_intermediate_act"),
    "ffn.activation": ("intermediate.output_activation", "pre_output_act"),
    "ffn.sum": ("output.ln_input_act",),
    "ffn.output": ("output.output_activation",),
}


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig."""
    if hf.get("hidden_act", "gelu") != "gelu":
        raise ModelError(f"hidden_act is {hf['hidden_act']!r}; I-BERT has 'gelu' only")
    if hf.get("force_dequant", "none") not in _FORCED:
        raise ModelError(f"force_dequant is {hf['force_dequant']!r}; known: {', '.join(_FORCED)}")
    config: EncoderConfig = roberta.configure(hf, task, _CLASS_PREFIX, _DEFAULTS, MODEL_TYPE)
    return config


def activation_ranges(hf: Mapping[str, Any], config: EncoderConfig) -> dict[str, tuple[str, ...]]:
    """Tap -> the modules whose `x_min` and `x_max` bound it in turn; none without `quant_mode`.

    The scale of the embeddings' sum is not taken: here no sum of rows can exceed its own.
    """
    if not hf.get("quant_mode"):
        return {}
    layers = {
        f"layers.{layer}.{tap}": tuple(f"encoder.layer.{layer}.{module}" for module in modules)
        for layer in range(config.num_hidden_layers)
        for tap, modules in _LAYER_RANGES.items()
    }
    return {"embeddings.output": ("embeddings.output_activation",), **layers}


def tiny() -> list[dict[str, Any]]:
    """Every task, an odd head size, positions from the front and from behind another padding token."""
    odd: dict[str, Any] = {"hidden_size": 39, "num_attention_heads": 3, "intermediate_size": 51}
    options: list[tuple[str, dict[str, Any]]] = [
        ("Model", {"type_vocab_size": 1, "layer_norm_eps": 1e-5}),
        ("Model", {**odd, "pad_token_id": 0, "num_hidden_layers": 3}),
        ("ForSequenceClassification", {**labels("no", "maybe", "yes"), "pad_token_id": 4}),
        ("ForTokenClassification", {**labels("O", "B", "I"), **odd}),
        ("ForQuestionAnswering", {}),
        ("ForMaskedLM", odd),
        ("ForMultipleChoice", {"type_vocab_size": 1}),
    ]
    return [tiny_config(MODEL_TYPE, _CLASS_PREFIX, head, **own) for head, own in options]
