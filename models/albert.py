"""ALBERT (Lan et al. 2020, arXiv 1909.11942): layers share weights, embeddings are narrow and projected."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from pyqrt.nn.config import EncoderConfig
from pyqrt.nn.huggingface import (
    POSITIONS,
    Source,
    head_of,
    labels,
    parameter_sources,
    refuse_unsupported,
    relative_positions,
    task_of,
    tied_decoder,
    tiny_config,
)

MODEL_TYPE = "albert"
PREFIX = "albert."
UNUSED = (
    *POSITIONS,
    "pooler.",
    "predictions.",
    "sop_classifier.",
    "classifier.",
    "qa_outputs.",
)
TOKENIZER_CLASSES = ()

_DEFAULTS: dict[str, Any] = {
    "vocab_size": 30000,
    "embedding_size": 128,
    "hidden_size": 4096,
    "num_attention_heads": 64,
    "intermediate_size": 16384,
    "hidden_act": "gelu_new",
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig."""
    refuse_unsupported(hf)
    option = {name: hf.get(name, default) for name, default in _DEFAULTS.items()}
    inner, positions = hf.get("inner_group_num", 1), hf.get("max_position_embeddings", 512)
    relative = relative_positions(hf, positions)
    head = head_of(
        hf,
        task_of(hf, "Albert", task),
        transform_activation="tanh",
        vocab_size=option["vocab_size"],
        masked_lm_activation=option["hidden_act"],
        masked_lm_size=option["embedding_size"],
    )
    return EncoderConfig(
        family=MODEL_TYPE,
        **option,
        embedding_projection=True,
        num_hidden_layers=hf.get("num_hidden_layers", 12) * inner,
        layer_groups=hf.get("num_hidden_groups", 1),
        layers_per_group=inner,
        max_length=positions,
        num_positions=0 if relative else positions,
        relative=relative,
        head=head,
    )


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX."""
    modules: dict[str, str | Source] = {
        "embeddings.word": "embeddings.word_embeddings",
        "embeddings.position": "embeddings.position_embeddings",
        "embeddings.token_type": "embeddings.token_type_embeddings",
        "embeddings.norm": "embeddings.LayerNorm",
        "embeddings.projection": "encoder.embedding_hidden_mapping_in",
        "head.transform": "pooler",
        "head.classifier": "classifier",
    }
    for index in set(config.layer_order):
        group, layer = divmod(index, config.layers_per_group)
        ours = f"layers.{index}"
        theirs = f"encoder.albert_layer_groups.{group}.albert_layers.{layer}"
        modules |= {
            f"{ours}.attention.query": f"{theirs}.attention.query",
            f"{ours}.attention.key": f"{theirs}.attention.key",
            f"{ours}.attention.value": f"{theirs}.attention.value",
            f"{ours}.attention.distances": f"{theirs}.attention.distance_embedding",
            f"{ours}.attention.output": f"{theirs}.attention.dense",
            f"{ours}.attention.norm": f"{theirs}.attention.LayerNorm",
            f"{ours}.ffn.up": f"{theirs}.ffn",
            f"{ours}.ffn.down": f"{theirs}.ffn_output",
            f"{ours}.ffn.norm": f"{theirs}.full_layer_layer_norm",
        }
    if config.head.task == "question_answering":
        modules["head.classifier"] = "qa_outputs"
    if config.head.task == "masked_lm":
        modules |= {
            "head.transform": "predictions.dense",
            "head.norm": "predictions.LayerNorm",
            **tied_decoder(config, "predictions.decoder", "embeddings.word_embeddings", "predictions.bias"),
        }
    return parameter_sources(config, modules)


def tiny() -> list[dict[str, Any]]:
    """Every task; one group, several groups, several layers in a group; embeddings narrow, equal and wide."""
    albert = partial(tiny_config, MODEL_TYPE, "Albert", embedding_size=12)
    odd: dict[str, Any] = {"hidden_size": 39, "num_attention_heads": 3, "intermediate_size": 51}
    return [
        albert("Model", num_hidden_layers=3),
        albert("Model", num_hidden_layers=4, num_hidden_groups=2, inner_group_num=2, hidden_act="relu"),
        albert("ForSequenceClassification", **labels("no", "maybe", "yes"), **odd, num_hidden_groups=2),
        albert("ForTokenClassification", **labels("O", "B", "I"), embedding_size=32, hidden_act="gelu"),
        albert("ForQuestionAnswering", num_hidden_layers=3, num_hidden_groups=2, embedding_size=40),
        albert("ForMaskedLM", **odd, hidden_act="gelu"),
        albert("ForMaskedLM", tie_word_embeddings=False, inner_group_num=2, embedding_size=40),
        albert("ForMultipleChoice", num_hidden_layers=1),
    ]
