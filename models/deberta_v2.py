"""DeBERTa v2 and v3 (He et al. 2021, arXiv 2006.03654 and 2111.09543): BERT with disentangled positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.models import bert
from pyqrt.nn.config import Convolution, Disentangled, EncoderConfig
from pyqrt.nn.huggingface import (
    Source,
    head_of,
    labels,
    parameter_sources,
    refuse_unsupported,
    task_of,
    tiny_config,
)

MODEL_TYPE = "deberta-v2"
PREFIX = "deberta."
UNUSED = (
    *bert.UNUSED,
    "*_predictions.",
    "embeddings.position_embeddings.",
    "encoder.rel_embeddings.",
    "encoder.LayerNorm.",
)
TOKENIZER_CLASSES = ()

_DEFAULTS: dict[str, Any] = {
    "vocab_size": 128100,
    "hidden_size": 1536,
    "num_hidden_layers": 24,
    "num_attention_heads": 24,
    "intermediate_size": 6144,
    "layer_norm_eps": 1e-7,
}
_ONLY = {"conv_groups": (1, "convolutions in groups are not implemented")}


def configure(
    hf: Mapping[str, Any], task: str | None, class_prefix: str = "DebertaV2", family: str = MODEL_TYPE
) -> EncoderConfig:
    """config.json as an EncoderConfig. The last two are of version 1."""
    refuse_unsupported(hf, _ONLY)
    types = hf.get("type_vocab_size", 0)
    tied = hf.get("tie_word_embeddings", True) or not hf.get("legacy", True)  # which has no decoder
    options = {**_DEFAULTS, **hf, "type_vocab_size": types or 1, "tie_word_embeddings": tied}
    config: EncoderConfig = bert.configure(options, "embedding")
    sizes = dict.fromkeys(("embedding_size", "pooler_hidden_size"), config.hidden_size)
    sizes["attention_head_size"] = config.head_dim
    refuse_unsupported(hf, {name: (size, f"implemented is {size}") for name, size in sizes.items()})
    kernel = max(options.get("conv_kernel_size", 0), 0)
    if kernel and kernel % 2 == 0:
        raise ModelError(f"conv_kernel_size is {kernel}; it must be odd")
    convolution = Convolution(reach=kernel // 2, activation=options.get("conv_act", "tanh"))
    head = head_of(
        options,
        task_of(options, class_prefix, task),
        transform_activation=options.get("pooler_hidden_act", "gelu"),
        vocab_size=config.vocab_size,
        masked_lm_activation=config.hidden_act,
    )
    positions = config.num_positions if options.get("position_biased_input", True) else 0
    return replace(
        config,
        family=family,
        type_vocab_size=types,
        num_positions=positions,
        relative=_relative(options, config.max_length),
        convolution=convolution if kernel else None,
        head=head,
    )


def _relative(options: Mapping[str, Any], max_length: int) -> Disentangled | None:
    terms = options.get("pos_att_type") or []
    terms = [term.strip() for term in terms.lower().split("|")] if isinstance(terms, str) else list(terms)
    if set(terms) - {"c2p", "p2c"} or (terms and not options.get("relative_attention")):
        raise ModelError(
            f"pos_att_type is {options['pos_att_type']!r}, relative_attention "
            f"{options.get('relative_attention', False)}; implemented are c2p and p2c, with it"
        )
    if not terms:
        return None
    distance = options.get("max_relative_positions", -1)
    distance = distance if distance > 0 else max_length
    buckets = max(options.get("position_buckets", -1), 0)
    return Disentangled(
        span=buckets or distance,
        buckets=buckets,
        max_distance=distance,
        keys="c2p" in terms,
        queries="p2c" in terms,
        shared=options.get("share_att_key", False),
        norm="layer_norm" in options.get("norm_rel_ebd", "none").lower(),
    )


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX."""
    modules = bert.encoder_modules(config) | bert.head_modules(config)
    kernel = 2 * config.convolution.reach + 1 if config.convolution is not None else 0
    modules |= {
        "relative.table": "encoder.rel_embeddings",
        "relative.norm": "encoder.LayerNorm",
        "layers.0.convolution.linear": Source(("encoder.conv.conv",), kernel=kernel),
        "layers.0.convolution.norm": "encoder.conv.LayerNorm",
    }
    for index in range(config.num_hidden_layers):
        ours, theirs = f"layers.{index}.attention", f"encoder.layer.{index}.attention.self"
        modules |= {f"{ours}.{part}": f"{theirs}.{part}_proj" for part in ("query", "key", "value")}
        modules |= {f"{ours}.relative_{part}": f"{theirs}.pos_{part}_proj" for part in ("query", "key")}
    if config.head.task == "masked_lm":  # the head of `legacy` checkpoints, or else the original one
        for ours, theirs in (("transform", "dense"), ("norm", "LayerNorm")):
            legacy = f"cls.predictions.transform.{theirs}"
            modules[f"head.{ours}"] = Source((legacy, f"lm_predictions.lm_head.{theirs}"))
        bias = modules["head.classifier.bias"]
        modules["head.classifier.bias"] = replace(bias, names=(*bias.names, "lm_predictions.lm_head.bias"))
    return parameter_sources(config, modules)


def tiny() -> list[dict[str, Any]]:
    """Every task; v3's options, each also otherwise; convolutions; buckets up to overflowing ones."""
    plain = partial(tiny_config, MODEL_TYPE, "DebertaV2")
    v3 = partial(
        plain,
        relative_attention=True,
        pos_att_type="p2c|c2p",
        position_buckets=8,
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
    )
    odd: dict[str, Any] = {"hidden_size": 39, "num_attention_heads": 3, "intermediate_size": 51}
    return [
        v3("Model", max_position_embeddings=70, position_buckets=16),
        plain("Model", **odd, type_vocab_size=2, conv_kernel_size=5, num_hidden_layers=1),
        v3("ForSequenceClassification", **labels("no", "maybe", "yes"), share_att_key=False),
        v3("ForTokenClassification", **labels("O", "B", "I"), pos_att_type=["c2p"], norm_rel_ebd="none"),
        v3("ForQuestionAnswering", pos_att_type=["p2c"], norm_rel_ebd="none", share_att_key=False),
        v3("ForMaskedLM", **odd, conv_kernel_size=3, conv_act="gelu", tie_word_embeddings=False),
        v3("ForMaskedLM", legacy=False, position_buckets=-1, max_relative_positions=6),
        v3("ForMultipleChoice", position_biased_input=True, pooler_hidden_act="tanh"),
    ]
