"""RoBERTa (Liu et al. 2019, arXiv 1907.11692): BERT whose positions begin behind the padding token's.

transformers numbers the tokens of a text from pad_token_id + 1 and leaves padding tokens out. A text has
none, so token i is at position pad_token_id + 1 + i.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.models import bert
from pyqrt.nn.config import EncoderConfig
from pyqrt.nn.huggingface import (
    POSITIONS,
    Source,
    head_of,
    labels,
    parameter_sources,
    task_of,
    tied_decoder,
    tiny_config,
)

MODEL_TYPE = "roberta"
PREFIX = "roberta."
UNUSED = (*POSITIONS, "pooler.", "lm_head.", "classifier.", "qa_outputs.")
TOKENIZER_CLASSES = ()

CLASS_PREFIX = "Roberta"
# What an option means that config.json leaves out, where it differs from BERT.
DEFAULTS: dict[str, Any] = {"vocab_size": 50265, "pad_token_id": 1}


def configure(
    hf: Mapping[str, Any],
    task: str | None,
    class_prefix: str = CLASS_PREFIX,
    defaults: Mapping[str, Any] = DEFAULTS,
    family: str = MODEL_TYPE,
) -> EncoderConfig:
    """config.json as an EncoderConfig. The last three are of relatives that differ in nothing else."""
    options = {**defaults, **hf}
    config: EncoderConfig = bert.configure(options, "embedding")
    padding = options["pad_token_id"]
    if not isinstance(padding, int):
        raise ModelError(f"pad_token_id is {padding!r}; positions begin behind it, so it must be an integer")
    offset = padding + 1
    head = head_of(
        options,
        task_of(options, class_prefix, task),
        transform_activation="tanh",
        vocab_size=config.vocab_size,
        masked_lm_activation="gelu",  # whatever hidden_act is
    )
    return replace(
        config,
        family=family,
        max_length=config.max_length - offset,
        position_offset=offset if config.num_positions else 0,
        head=head,
    )


def modules(config: EncoderConfig) -> dict[str, str | Source]:
    """Module of the encoder -> module of the checkpoint, without PREFIX."""
    task = config.head.task
    found: dict[str, str | Source] = bert.encoder_modules(config)
    if task == "masked_lm":
        found |= {
            "head.transform": "lm_head.dense",
            "head.norm": "lm_head.layer_norm",
            **tied_decoder(config, "lm_head.decoder", "embeddings.word_embeddings", "lm_head.bias"),
        }
    elif task == "sequence_classification":
        found |= {"head.transform": "classifier.dense", "head.classifier": "classifier.out_proj"}
    elif task == "question_answering":
        found["head.classifier"] = "qa_outputs"
    else:
        found |= {"head.transform": "pooler.dense", "head.classifier": "classifier"}
    return found


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX."""
    return parameter_sources(config, modules(config))


def tiny(model_type: str = MODEL_TYPE, class_prefix: str = CLASS_PREFIX) -> list[dict[str, Any]]:
    """Every task, an odd head size, positions from the front and from behind another padding token."""
    roberta = partial(tiny_config, model_type, class_prefix)
    odd: dict[str, Any] = {"hidden_size": 39, "num_attention_heads": 3, "intermediate_size": 51}
    return [
        roberta("Model", type_vocab_size=1, layer_norm_eps=1e-5),
        roberta("Model", **odd, hidden_act="gelu_new", pad_token_id=0),
        roberta("ForSequenceClassification", **labels("no", "maybe", "yes"), pad_token_id=4),
        roberta("ForTokenClassification", **labels("O", "B", "I"), **odd, hidden_act="relu"),
        roberta("ForQuestionAnswering", hidden_act="silu"),
        roberta("ForMaskedLM", **odd),
        roberta("ForMaskedLM", tie_word_embeddings=False, hidden_act="tanh"),
        roberta("ForMultipleChoice", type_vocab_size=1),
    ]
