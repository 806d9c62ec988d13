"""DeBERTa (He et al. 2020, arXiv 2006.03654): DeBERTa v2, its projections fused, without buckets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pyqrt.models import deberta_v2
from pyqrt.nn.config import EncoderConfig
from pyqrt.nn.huggingface import Source, labels, refuse_unsupported, tiny_config

MODEL_TYPE = "deberta"
PREFIX = "deberta."
UNUSED = deberta_v2.UNUSED
TOKENIZER_CLASSES = ()

_CLASS_PREFIX = "Deberta"
_DEFAULTS: dict[str, Any] = {
    "vocab_size": 50265,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
_ONLY = {"talking_head": (False, "heads mixed before and after the softmax are not implemented")}
# Options that only later versions have; in a config.json of this one they say nothing.
_LATER = {"position_buckets": -1, "share_att_key": False, "norm_rel_ebd": "none", "conv_kernel_size": 0}


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig."""
    refuse_unsupported(hf, _ONLY)
    options = {**_DEFAULTS, **hf, **_LATER}
    config: EncoderConfig = deberta_v2.configure(options, task, _CLASS_PREFIX, MODEL_TYPE)
    return replace(config, attention_biases=("query", "value", "output"))


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX."""
    sources: dict[str, Source] = deberta_v2.parameters(config)
    own: dict[str, Source] = {}
    for index in range(config.num_hidden_layers):
        ours, theirs = f"layers.{index}.attention", f"encoder.layer.{index}.attention.self"
        for part, name in enumerate(("query", "key", "value")):
            fused = Source((f"{theirs}.in_proj.weight",), part, 3, groups=config.num_attention_heads)
            own[f"{ours}.{name}.weight"] = fused
        own |= {
            f"{ours}.query.bias": Source((f"{theirs}.q_bias",)),
            f"{ours}.value.bias": Source((f"{theirs}.v_bias",)),
            f"{ours}.relative_key.weight": Source((f"{theirs}.pos_proj.weight",)),
            f"{ours}.relative_query.weight": Source((f"{theirs}.pos_q_proj.weight",)),
            f"{ours}.relative_query.bias": Source((f"{theirs}.pos_q_proj.bias",)),
        }
    return {name: own.get(name, source) for name, source in sources.items()}


def tiny() -> list[dict[str, Any]]:
    """Every task; each term of a score with and without the others; sequences beyond the distances."""
    plain = partial(tiny_config, MODEL_TYPE, _CLASS_PREFIX)
    both = partial(plain, relative_attention=True, pos_att_type="c2p|p2c", position_biased_input=False)
    odd: dict[str, Any] = {"hidden_size": 39, "num_attention_heads": 3, "intermediate_size": 51}
    return [
        both("Model"),
        plain("Model", **odd, type_vocab_size=2),
        both("ForSequenceClassification", **labels("no", "maybe", "yes"), max_relative_positions=7),
        both("ForTokenClassification", **labels("O", "B", "I"), **odd, pos_att_type=["c2p"]),
        both("ForQuestionAnswering", pos_att_type=["p2c"], position_biased_input=True),
        both("ForMaskedLM", **odd),
        both("ForMaskedLM", tie_word_embeddings=False),
        both("ForMaskedLM", legacy=False, tie_word_embeddings=False),
    ]
