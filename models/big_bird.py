"""BigBird (Zaheer et al. 2020, arXiv 2007.14062): BERT that sees blocks of long texts, with its own heads.

Up to a length of (5 + 2 num_random_blocks) block_size tokens transformers computes full attention whatever
attention_type says. Beyond it a token sees blocks around it, the ends, and in training some drawn by
chance, in place of each of which evaluation counts the first block once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import sqrt
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.models import bert
from pyqrt.nn.config import TASKS, Blocks, EncoderConfig
from pyqrt.nn.huggingface import Source, labels, parameter_sources, tiny_config

MODEL_TYPE = "big_bird"
PREFIX = "bert."
UNUSED = (*bert.UNUSED, "embeddings.token_type_ids", "qa_classifier.")
TOKENIZER_CLASSES = ()
WITHOUT_TOKEN_TYPES = tuple(task for task in TASKS if task != "question_answering")  # whose head makes them

_CLASS_PREFIX = "BigBird"
_DEFAULTS: dict[str, Any] = {
    "vocab_size": 50358,
    "hidden_act": "gelu_new",
    "max_position_embeddings": 4096,
}
_ATTENTION = ("block_sparse", "original_full")


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig."""
    options = {**_DEFAULTS, **hf}
    config: EncoderConfig = bert.configure(options, task, _CLASS_PREFIX)
    kind = options.get("attention_type", _ATTENTION[0])
    if kind not in _ATTENTION:
        raise ModelError(f"attention_type is {kind!r}; known: {', '.join(_ATTENTION)}")
    size, drawn = options.get("block_size", 64), options.get("num_random_blocks", 3)
    for name, value, least in (("block_size", size, 1), ("num_random_blocks", drawn, 0)):
        if not isinstance(value, int) or value < least:
            raise ModelError(f"{name} is {value!r}; it must be an integer of at least {least}")
    blocks = Blocks(size=size, beyond=(5 + 2 * drawn) * size, repeats=drawn)
    sparse = kind == "block_sparse" and config.max_length > blocks.beyond
    head = config.head
    if head.task == "sequence_classification":
        head = replace(head, transform_activation=config.hidden_act)
    elif head.task == "question_answering":
        head = replace(head, feed_forward=True)
    return replace(
        config,
        family=MODEL_TYPE,
        blocks=blocks if sparse else None,
        word_scale=sqrt(config.hidden_size) if options.get("rescale_embeddings") else 1.0,
        attention_biases=config.attention_biases if options.get("use_bias", True) else ("output",),
        head=head,
    )


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX."""
    modules = bert.encoder_modules(config) | bert.head_modules(config)
    if config.head.task == "sequence_classification":
        modules |= {"head.transform": "classifier.dense", "head.classifier": "classifier.out_proj"}
    elif config.head.task == "multiple_choice":
        modules["head.transform"] = "pooler"
    elif config.head.task == "question_answering":
        modules |= {
            "head.ffn.up": "qa_classifier.intermediate.dense",
            "head.ffn.down": "qa_classifier.output.dense",
            "head.ffn.norm": "qa_classifier.output.LayerNorm",
            "head.classifier": "qa_classifier.qa_outputs",
        }
    return parameter_sources(config, modules)


def tiny() -> list[dict[str, Any]]:
    """Every task; both kinds of attention, texts longer than its blocks and none."""
    big_bird = partial(tiny_config, MODEL_TYPE, _CLASS_PREFIX)
    odd: dict[str, Any] = {"hidden_size": 39, "num_attention_heads": 3, "intermediate_size": 51}
    return [
        big_bird("Model", max_position_embeddings=80, block_size=4, num_random_blocks=2),
        big_bird("ForMaskedLM", **odd, max_position_embeddings=72, block_size=6, num_random_blocks=1),
        big_bird("Model", **odd, attention_type="original_full", rescale_embeddings=True),
        big_bird("ForSequenceClassification", **labels("no", "maybe", "yes"), hidden_act="relu"),
        big_bird(
            "ForTokenClassification",
            **labels("O", "B"),
            max_position_embeddings=96,
            block_size=3,
            use_bias=False,
        ),
        big_bird("ForQuestionAnswering", num_hidden_layers=1),
        big_bird("ForMaskedLM", **odd),
        big_bird("ForMultipleChoice", num_hidden_layers=1),
    ]
