"""MobileBERT (Sun et al. 2020, arXiv 2004.02984): BERT in bottlenecks, norms without normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.models import bert
from pyqrt.nn.config import Bottleneck, EncoderConfig
from pyqrt.nn.huggingface import Source, labels, parameter_sources, tiny_config

MODEL_TYPE = "mobilebert"
PREFIX = "mobilebert."
UNUSED = (*bert.UNUSED, "embeddings.embedding_transformation.", "encoder.layer.*.bottleneck.")
TOKENIZER_CLASSES = ("MobileBertTokenizer", "MobileBertTokenizerFast", *bert.TOKENIZER_CLASSES)

_CLASS_PREFIX = "MobileBert"
_DEFAULTS: dict[str, Any] = {
    "hidden_size": 512,
    "num_hidden_layers": 24,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "hidden_act": "relu",
}
# transformers gives some of the layer norms this epsilon, whatever layer_norm_eps is.
_EPSILON = 1e-5


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig."""
    options = {**_DEFAULTS, **hf}
    config: EncoderConfig = bert.configure(
        {**options, "num_attention_heads": 1}, task, _CLASS_PREFIX
    )  # heads divide the bottleneck, not hidden_size
    kind = options.get("normalization_type", "no_norm")
    if kind not in ("no_norm", "layer_norm"):
        raise ModelError(f"normalization_type is {kind!r}; known: no_norm, layer_norm")
    if kind == "layer_norm" and config.layer_norm_eps != _EPSILON:
        raise ModelError(
            f"layer_norm_eps is {config.layer_norm_eps}; implemented with layer norms is {_EPSILON}"
        )
    head = config.head
    if head.pooling == "first" and not options.get("classifier_activation", True):
        head = replace(head, transform_activation=None)
    size, trigram = options.get("embedding_size", 128), options.get("trigram_input", True)
    projected = trigram or size != config.hidden_size
    return replace(
        config,
        family=MODEL_TYPE,
        embedding_size=size,
        word_reach=int(bool(trigram)) if projected else None,
        normalize=kind == "layer_norm",
        ffn_blocks=options.get("num_feedforward_networks", 4),
        num_attention_heads=options["num_attention_heads"],
        bottleneck=_bottleneck(options),
        head=head,
    )


def _bottleneck(options: Mapping[str, Any]) -> Bottleneck | None:
    if not options.get("use_bottleneck", True):
        return None
    apart = not options.get("use_bottleneck_attention", False)
    if apart and not options.get("key_query_shared_bottleneck", True):
        raise ModelError(
            "key_query_shared_bottleneck and use_bottleneck_attention are False; implemented is either"
        )
    return Bottleneck(size=options.get("intra_bottleneck_size", 128), apart=apart)


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX."""
    modules = bert.encoder_modules(config) | bert.head_modules(config)
    modules["embeddings.word_projection"] = "embeddings.embedding_transformation"
    if config.head.task == "masked_lm":  # the decoder has columns that the word embeddings lack
        decoder = modules["head.classifier.weight"]
        modules["head.classifier.weight"] = replace(decoder, further="cls.predictions.dense.weight")
    for index in range(config.num_hidden_layers):
        ours, theirs = f"layers.{index}", f"encoder.layer.{index}"
        for name, place in (("narrow", "input"), ("narrow_matched", "attention")):
            modules[f"{ours}.{name}.linear"] = f"{theirs}.bottleneck.{place}.dense"
            modules[f"{ours}.{name}.norm"] = f"{theirs}.bottleneck.{place}.LayerNorm"
        for block in range(config.ffn_blocks - 1):
            modules |= {
                f"{ours}.ffns.{block}.up": f"{theirs}.ffn.{block}.intermediate.dense",
                f"{ours}.ffns.{block}.down": f"{theirs}.ffn.{block}.output.dense",
                f"{ours}.ffns.{block}.norm": f"{theirs}.ffn.{block}.output.LayerNorm",
            }
        modules[f"{ours}.widen.output"] = f"{theirs}.output.bottleneck.dense"
        modules[f"{ours}.widen.norm"] = f"{theirs}.output.bottleneck.LayerNorm"
    return parameter_sources(config, modules)


def tiny() -> list[dict[str, Any]]:
    """Every task; each option otherwise; odd sizes."""
    mobile = partial(tiny_config, MODEL_TYPE, _CLASS_PREFIX, embedding_size=12, intra_bottleneck_size=16)
    odd: dict[str, Any] = {"hidden_size": 39, "num_attention_heads": 3, "intra_bottleneck_size": 21}
    plain: dict[str, Any] = {"use_bottleneck": False, "trigram_input": False, "embedding_size": 32}
    normal: dict[str, Any] = {"normalization_type": "layer_norm", "layer_norm_eps": _EPSILON}
    return [
        mobile("Model"),
        mobile("Model", **odd, **normal, num_feedforward_networks=1, hidden_act="gelu"),
        mobile("ForSequenceClassification", **labels("no", "maybe", "yes"), use_bottleneck_attention=True),
        mobile("ForTokenClassification", **labels("O", "B", "I"), **plain, num_feedforward_networks=2),
        mobile("ForQuestionAnswering", **odd, trigram_input=False),
        mobile("ForMaskedLM", num_hidden_layers=1),
        mobile("ForMaskedLM", **odd, tie_word_embeddings=False, num_hidden_layers=1),
        mobile("ForMultipleChoice", **normal, classifier_activation=False, num_hidden_layers=1),
        mobile("ForNextSentencePrediction", num_hidden_layers=1),
    ]
