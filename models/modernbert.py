"""ModernBERT (Warner et al. 2024, arXiv 2412.13663): pre-norm, rotary, gated, most layers see a window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.nn.config import EncoderConfig, Head, Pooling, Rotary
from pyqrt.nn.huggingface import (
    Source,
    head_of,
    labels,
    parameter_sources,
    refuse_scaled_rotary,
    refuse_unsupported,
    rotary_base,
    task_of,
    tied_table,
    tiny_config,
)

MODEL_TYPE = "modernbert"
PREFIX = "model."
UNUSED = ("head.", "decoder.", "classifier.")
TOKENIZER_CLASSES = ()

_DEFAULTS: dict[str, Any] = {
    "vocab_size": 50368,
    "hidden_size": 768,
    "num_hidden_layers": 22,
    "num_attention_heads": 12,
    "intermediate_size": 1152,
}
# Names of a layer's kind: config.json's since transformers 5, its rotary base's before and by default.
_BASES = {
    "full_attention": ("global_rope_theta", 160_000.0),
    "sliding_attention": ("local_rope_theta", 10_000.0),
}
_POOLING: dict[str, Pooling] = {"cls": "first", "mean": "mean"}


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig."""
    refuse_unsupported(hf)
    option = {name: hf.get(name, default) for name, default in _DEFAULTS.items()}
    count, every = option["num_hidden_layers"], hf.get("global_attn_every_n_layers", 3)
    kinds = hf.get("layer_types") or [tuple(_BASES)[i % every > 0] for i in range(count)]
    if len(kinds) != count or set(kinds) - set(_BASES):
        raise ModelError(f"layer_types is {kinds}; expected {count} of {', '.join(_BASES)}")
    window, length = hf.get("local_attention", 128) // 2, hf.get("max_position_embeddings", 8192)
    return EncoderConfig(
        family=MODEL_TYPE,
        **option,
        embedding_size=option["hidden_size"],
        hidden_act=hf.get("hidden_activation", "gelu"),
        max_length=length,
        num_positions=0,
        type_vocab_size=0,
        layer_norm_eps=hf.get("norm_eps", 1e-5),
        norm="pre",
        norm_bias=hf.get("norm_bias", False),
        first_norm=False,
        attention_biases=("query", "key", "value", "output") if hf.get("attention_bias") else (),
        ffn_bias=hf.get("mlp_bias", False),
        gated=True,
        rotary=Rotary(bases=tuple(_base(hf, kind) for kind in kinds)),
        windows=tuple(window if kind == "sliding_attention" else None for kind in kinds),
        head=_head(hf, task, option["vocab_size"]),
    )


def _base(hf: Mapping[str, Any], kind: str) -> float:
    rope = (hf.get("rope_parameters") or {}).get(kind) or {}
    refuse_scaled_rotary(hf.get("rope_scaling") or rope)
    return rotary_base(rope.get("rope_theta", hf.get(*_BASES[kind])))


def _head(hf: Mapping[str, Any], task: str | None, vocab_size: int) -> Head:
    activation = hf.get("classifier_activation", "gelu")
    head = head_of(
        hf,
        task_of(hf, "ModernBert", task),
        transform_activation=activation,
        vocab_size=vocab_size,
        masked_lm_activation=activation,
    )
    if head.task == "embedding":
        return head
    pooling = hf.get("classifier_pooling", "cls")
    if pooling not in _POOLING:
        raise ModelError(f"classifier_pooling is {pooling!r}; known: {', '.join(_POOLING)}")
    return replace(
        head,
        pooling=_POOLING[pooling] if head.pooling else None,
        transform_activation=activation,
        transform_bias=hf.get("classifier_bias", False),
        transform_norm=True,
        classifier_bias=head.task != "masked_lm" or hf.get("decoder_bias", True),
    )


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX."""
    table = "embeddings.tok_embeddings"
    modules: dict[str, str | Source] = {
        "embeddings.word": table,
        "embeddings.norm": "embeddings.norm",
        "norm": "final_norm",
        "head.transform": "head.dense",
        "head.norm": "head.norm",
        "head.classifier": "decoder" if config.head.task == "masked_lm" else "classifier",
    }
    if config.head.tied:
        modules |= tied_table("decoder", table)
    for index in range(config.num_hidden_layers):
        ours = theirs = f"layers.{index}"
        modules |= {
            f"{ours}.attention.norm": f"{theirs}.attn_norm",
            f"{ours}.attention.output": f"{theirs}.attn.Wo",
            f"{ours}.ffn.norm": f"{theirs}.mlp_norm",
            f"{ours}.ffn.up": Source((f"{theirs}.mlp.Wi",), 0, 2),
            f"{ours}.ffn.gate": Source((f"{theirs}.mlp.Wi",), 1, 2),
            f"{ours}.ffn.down": f"{theirs}.mlp.Wo",
        }
        for part, name in enumerate(("query", "key", "value")):
            modules[f"{ours}.attention.{name}"] = Source((f"{theirs}.attn.Wqkv",), part, 3)
    return parameter_sources(config, modules)


def tiny() -> list[dict[str, Any]]:
    """Every task, windows, biases, both ways to pool."""
    ids = {f"{token}_token_id": 1 for token in ("pad", "bos", "eos", "cls", "sep")}

    def small(head: str, **options: Any) -> dict[str, Any]:
        return tiny_config(MODEL_TYPE, "ModernBert", head, **{**ids, "local_attention": 8, **options})

    odd: dict[str, Any] = {"hidden_size": 42, "num_attention_heads": 3, "intermediate_size": 51}
    biased = dict.fromkeys(("norm_bias", "attention_bias", "mlp_bias", "classifier_bias"), True)
    return [
        small("Model", num_hidden_layers=4, max_position_embeddings=60),
        small("Model", **odd, **biased, hidden_activation="silu", local_attention=5),
        small("ForSequenceClassification", **labels("no", "maybe", "yes"), classifier_pooling="mean"),
        small("ForTokenClassification", **labels("O", "B", "I"), **odd, classifier_activation="relu"),
        small("ForQuestionAnswering", **biased, norm_eps=1e-12),
        small("ForMaskedLM", **odd),
        small("ForMaskedLM", decoder_bias=False, tie_word_embeddings=False),
        small("ForMultipleChoice", num_hidden_layers=1),
    ]
