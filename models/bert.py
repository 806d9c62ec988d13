"""BERT (Devlin et al. 2018, arXiv 1810.04805): the reference the other families differ from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.nn.config import EncoderConfig, Task
from pyqrt.nn.huggingface import (
    POSITIONS,
    Source,
    architecture_of,
    head_of,
    labels,
    parameter_sources,
    refuse_unsupported,
    relative_positions,
    task_of,
    tied_decoder,
    tiny_config,
)

MODEL_TYPE = "bert"
PREFIX = "bert."
UNUSED = (*POSITIONS, "pooler.", "cls.", "classifier.", "qa_outputs.")
TOKENIZER_CLASSES = ("BertTokenizer", "BertTokenizerFast")
MAY_BE_RELATIVE = "bert roberta xlm-roberta camembert data2vec-text electra megatron-bert dpr".split()

# What an option means that config.json leaves out: transformers' BertConfig.
_DEFAULTS: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}

# BertForNextSentencePrediction: does the second text follow the first?
_NEXT_SENTENCE = ("is_next", "not_next")


def configure(hf: Mapping[str, Any], task: str | None, class_prefix: str = "Bert") -> EncoderConfig:
    """config.json as an EncoderConfig.

    task: None takes it from `architectures`. class_prefix: of a relative's classes. Options without a say
    in the result of a forward pass (dropout, initialisation, caching, what to return) are not read.
    """
    refuse_unsupported(hf)
    option = {name: hf.get(name, default) for name, default in _DEFAULTS.items()}
    if option["type_vocab_size"] == 0:
        raise ModelError("type_vocab_size is 0: BERT adds a token type row to every token")
    positions = option.pop("max_position_embeddings")
    relative = relative_positions(hf, positions, known=hf.get("model_type") in MAY_BE_RELATIVE)
    also: dict[str, Task] = {"ForNextSentencePrediction": "sequence_classification"}
    head = head_of(
        hf,
        task_of(hf, class_prefix, task, also),
        transform_activation="tanh",
        vocab_size=option["vocab_size"],
        masked_lm_activation=option["hidden_act"],
    )
    next_sentence = architecture_of(hf).endswith("ForNextSentencePrediction")
    if next_sentence and head.task == "sequence_classification":
        head = replace(head, num_labels=2, labels=_NEXT_SENTENCE, problem="single_label")
    return EncoderConfig(
        family=MODEL_TYPE,
        **option,
        embedding_size=option["hidden_size"],
        max_length=positions,
        num_positions=0 if relative else positions,
        relative=relative,
        head=head,
    )


def encoder_modules(config: EncoderConfig) -> dict[str, str | Source]:
    """Modules of the embeddings and layers, by the names that BERT's relatives share."""
    modules: dict[str, str | Source] = {
        "embeddings.word": "embeddings.word_embeddings",
        "embeddings.position": "embeddings.position_embeddings",
        "embeddings.token_type": "embeddings.token_type_embeddings",
        "embeddings.norm": "embeddings.LayerNorm",
    }
    for index in range(config.num_hidden_layers):
        ours, theirs = f"layers.{index}", f"encoder.layer.{index}"
        modules |= {
            f"{ours}.attention.query": f"{theirs}.attention.self.query",
            f"{ours}.attention.key": f"{theirs}.attention.self.key",
            f"{ours}.attention.value": f"{theirs}.attention.self.value",
            f"{ours}.attention.distances": f"{theirs}.attention.self.distance_embedding",
            f"{ours}.attention.output": f"{theirs}.attention.output.dense",
            f"{ours}.attention.norm": f"{theirs}.attention.output.LayerNorm",
            f"{ours}.ffn.up": f"{theirs}.intermediate.dense",
            f"{ours}.ffn.down": f"{theirs}.output.dense",
            f"{ours}.ffn.norm": f"{theirs}.output.LayerNorm",
        }
    return modules


def head_modules(config: EncoderConfig) -> dict[str, str | Source]:
    """Modules of the head, by the names that BERT's nearest relatives share."""
    if config.head.task == "masked_lm":
        return {
            "head.transform": "cls.predictions.transform.dense",
            "head.norm": "cls.predictions.transform.LayerNorm",
            **tied_decoder(
                config, "cls.predictions.decoder", "embeddings.word_embeddings", "cls.predictions.bias"
            ),
        }
    classifier = "qa_outputs" if config.head.task == "question_answering" else "classifier"
    if config.head.labels == _NEXT_SENTENCE:
        classifier = "cls.seq_relationship"
    return {"head.transform": "pooler.dense", "head.classifier": classifier}


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX."""
    return parameter_sources(config, encoder_modules(config) | head_modules(config))


def tiny() -> list[dict[str, Any]]:
    """Every task, activation class, problem type and odd size in models of at most 64 columns."""
    head_13: dict[str, Any] = {"hidden_size": 39, "num_attention_heads": 3, "intermediate_size": 51}
    head_17: dict[str, Any] = {"hidden_size": 34, "num_attention_heads": 2, "intermediate_size": 70}
    head_64: dict[str, Any] = {"hidden_size": 64, "num_attention_heads": 1, "intermediate_size": 33}
    topics = {"problem_type": "multi_label_classification", **labels("art", "law", "sport")}
    bert = partial(tiny_config, MODEL_TYPE, "Bert")
    return [
        bert("Model"),
        bert("Model", **head_13, hidden_act="gelu_new", layer_norm_eps=1e-5, type_vocab_size=1),
        bert("Model", **head_64, hidden_act="tanh", num_hidden_layers=1, vocab_size=5),
        bert("ForSequenceClassification", **labels("no", "maybe", "yes"), hidden_act="gelu_pytorch_tanh"),
        bert("ForSequenceClassification", **topics, **head_17, hidden_act="relu"),
        bert("ForSequenceClassification", **labels("score"), hidden_act="quick_gelu", layer_norm_eps=1e-7),
        bert("ForTokenClassification", **labels("O", "B", "I", "E", "S"), **head_17, hidden_act="silu"),
        bert("ForTokenClassification", hidden_act="mish", num_hidden_layers=3, max_position_embeddings=7),
        bert("ForQuestionAnswering", **head_13, hidden_act="sigmoid", type_vocab_size=3),
        bert("ForMaskedLM", **head_13),
        bert("ForMaskedLM", hidden_act="relu", tie_word_embeddings=False),
        bert("ForMultipleChoice", **head_17),
        bert("ForNextSentencePrediction", hidden_act="gelu_new"),
    ]
