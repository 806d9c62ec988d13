"""DistilBERT (Sanh et al. 2019, arXiv 1910.01108): BERT without token types and pooler, other names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyqrt.nn.config import EncoderConfig
from pyqrt.nn.huggingface import (
    Source,
    head_of,
    labels,
    parameter_sources,
    refuse_unsupported,
    task_of,
    tied_decoder,
    tiny_config,
)

MODEL_TYPE = "distilbert"
PREFIX = "distilbert."
UNUSED = (
    "embeddings.position_ids",
    "vocab_transform.",
    "vocab_layer_norm.",
    "vocab_projector.",
    "pre_classifier.",
    "classifier.",
    "qa_outputs.",
)
TOKENIZER_CLASSES = ("DistilBertTokenizer", "DistilBertTokenizerFast", "BertTokenizer", "BertTokenizerFast")

# The family's own names first, then the general ones that transformers reads as well.
_OPTIONS: dict[str, tuple[tuple[str, ...], Any]] = {
    "vocab_size": (("vocab_size",), 30522),
    "hidden_size": (("dim", "hidden_size"), 768),
    "num_hidden_layers": (("n_layers", "num_hidden_layers"), 6),
    "num_attention_heads": (("n_heads", "num_attention_heads"), 12),
    "intermediate_size": (("hidden_dim",), 3072),
    "hidden_act": (("activation",), "gelu"),
    "num_positions": (("max_position_embeddings",), 512),
}


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig. Sinusoidal positions are a table in the checkpoint like any."""
    refuse_unsupported(hf)
    option = {
        ours: next((hf[name] for name in names if name in hf), default)
        for ours, (names, default) in _OPTIONS.items()
    }
    head = head_of(
        hf,
        task_of(hf, "DistilBert", task),
        transform_activation="relu",
        vocab_size=option["vocab_size"],
        masked_lm_activation=option["hidden_act"],
    )
    return EncoderConfig(
        family=MODEL_TYPE,
        **option,
        embedding_size=option["hidden_size"],
        max_length=option["num_positions"],
        type_vocab_size=0,
        layer_norm_eps=1e-12,
        head=head,
    )


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX."""
    modules: dict[str, str | Source] = {
        "embeddings.word": "embeddings.word_embeddings",
        "embeddings.position": "embeddings.position_embeddings",
        "embeddings.norm": "embeddings.LayerNorm",
        "head.transform": "pre_classifier",
        "head.classifier": "classifier",
    }
    for index in range(config.num_hidden_layers):
        ours, theirs = f"layers.{index}", f"transformer.layer.{index}"
        modules |= {
            f"{ours}.attention.query": f"{theirs}.attention.q_lin",
            f"{ours}.attention.key": f"{theirs}.attention.k_lin",
            f"{ours}.attention.value": f"{theirs}.attention.v_lin",
            f"{ours}.attention.output": f"{theirs}.attention.out_lin",
            f"{ours}.attention.norm": f"{theirs}.sa_layer_norm",
            f"{ours}.ffn.up": f"{theirs}.ffn.lin1",
            f"{ours}.ffn.down": f"{theirs}.ffn.lin2",
            f"{ours}.ffn.norm": f"{theirs}.output_layer_norm",
        }
    if config.head.task == "question_answering":
        modules["head.classifier"] = "qa_outputs"
    if config.head.task == "masked_lm":
        modules |= {
            "head.transform": "vocab_transform",
            "head.norm": "vocab_layer_norm",
            **tied_decoder(config, "vocab_projector", "embeddings.word_embeddings", "vocab_projector.bias"),
        }
    return parameter_sources(config, modules)


def tiny() -> list[dict[str, Any]]:
    """Every task, an odd head size, both spellings of the sizes."""

    def distilbert(head: str, **options: Any) -> dict[str, Any]:
        own = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 24}
        base = {"model_type": MODEL_TYPE, "architectures": [f"DistilBert{head}"], "vocab_size": 61}
        return base | own | options

    odd: dict[str, Any] = {"dim": 39, "n_heads": 3, "hidden_dim": 51}
    return [
        distilbert("Model"),
        tiny_config(MODEL_TYPE, "DistilBert", "Model", hidden_dim=40, sinusoidal_pos_embds=True),
        distilbert("ForSequenceClassification", **labels("no", "maybe", "yes"), activation="relu"),
        distilbert("ForTokenClassification", **labels("O", "B", "I"), **odd),
        distilbert("ForQuestionAnswering", activation="gelu_new"),
        distilbert("ForMaskedLM", **odd),
        distilbert("ForMaskedLM", tie_word_embeddings=False, activation="relu"),
        distilbert("ForMultipleChoice", n_layers=1),
    ]
