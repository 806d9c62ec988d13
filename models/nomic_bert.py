"""Nomic BERT (Nussbaum et al. 2024, arXiv 2402.01613): BERT with rotary positions, gated, without biases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.models import bert
from pyqrt.nn.config import EncoderConfig, Rotary
from pyqrt.nn.huggingface import (
    Source,
    labels,
    parameter_sources,
    refuse_scaled_rotary,
    refuse_unsupported,
    rotary_base,
    tiny_config,
)

MODEL_TYPE = "nomic_bert"
PREFIX = "nomic_bert."
UNUSED = bert.UNUSED
TOKENIZER_CLASSES = bert.TOKENIZER_CLASSES

_CLASS_PREFIX = "NomicBert"
_DEFAULTS = {"vocab_size": 30528, "hidden_act": "silu", "max_position_embeddings": 2048}

# Configurations that transformers has not written, as Nomic's own: their names for its options, ...
_NAMES = {
    "n_embd": "hidden_size",
    "n_head": "num_attention_heads",
    "n_layer": "num_hidden_layers",
    "n_inner": "intermediate_size",
    "n_positions": "max_position_embeddings",
    "layer_norm_epsilon": "layer_norm_eps",
}
_ACTIVATIONS = {"swiglu": "silu", "geglu": "gelu", "glu": "sigmoid"}
# ... and what of theirs is not implemented.
_ONLY: dict[str, tuple[Any, str]] = {
    "causal": (False, "every token sees every other"),
    "prenorm": (False, "norms come after the blocks"),
    "parallel_block": (False, "blocks come one after the other"),
    "use_rms_norm": (False, "norms are layer norms"),
    "qkv_proj_bias": (False, "projections have no bias"),
    "rotary_emb_interleaved": (False, "halves of a head are turned"),
    "rotary_emb_scale_base": (None, "scores do not decay with the distance"),
    "scale_attn_by_inverse_layer_idx": (False, "scores are scaled alike in all layers"),
}


def _translated(hf: Mapping[str, Any]) -> dict[str, Any]:
    """Options as transformers calls them. Nomic's code need not be run: transformers has its architecture."""
    options = {theirs: hf[ours] for ours, theirs in _NAMES.items() if ours in hf} | dict(hf)
    refuse_unsupported({name: value for name, value in hf.items() if name != "auto_map"}, _ONLY)
    code = hf.get("auto_map") or {}
    if all(str(name).rsplit(".", 1)[-1].startswith(_CLASS_PREFIX) for name in code.values()):
        options.pop("auto_map", None)
    if (function := hf.get("activation_function")) is not None:
        if function not in _ACTIVATIONS:
            known = ", ".join(_ACTIVATIONS)
            raise ModelError(f"activation_function is {function!r}; implemented: {known}")
        options.setdefault("hidden_act", _ACTIVATIONS[function])
    if (fraction := hf.get("rotary_emb_fraction", 1.0)) != 1.0:
        raise ModelError(f"rotary_emb_fraction is {fraction!r}; implemented is 1.0")
    if (base := hf.get("rotary_emb_base")) is not None:
        options.setdefault("rope_parameters", {"rope_theta": base})
    if hf.get("rotary_scaling_factor"):  # positions are stretched for longer texts
        lengths = [options.get("max_position_embeddings", 2048), hf.get("max_trained_positions", 2048)]
        options["max_position_embeddings"] = min(lengths)
    return options


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig."""
    hf = _translated(hf)
    config: EncoderConfig = bert.configure({**_DEFAULTS, **hf}, task, _CLASS_PREFIX)
    rope = {"rope_theta": hf.get("rope_theta", 1000.0)} | (hf.get("rope_parameters") or {})
    refuse_scaled_rotary(hf.get("rope_scaling") or rope)
    if hf.get("head_dim") not in (None, config.head_dim):
        raise ModelError(f"head_dim is {hf['head_dim']!r}; implemented is {config.head_dim}")
    base = rotary_base(rope["rope_theta"])
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
