"""Splinter (Ram et al. 2021, arXiv 2101.00438): BERT; answers go by the question's token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.models import bert
from pyqrt.nn.config import TASKS, EncoderConfig, Spans
from pyqrt.nn.huggingface import Source, parameter_sources, tiny_config

MODEL_TYPE = "splinter"
PREFIX = "splinter."
UNUSED = (*bert.UNUSED, "splinter_qass.")
TOKENIZER_CLASSES = ("SplinterTokenizer", "SplinterTokenizerFast", *bert.TOKENIZER_CLASSES)
WITHOUT_TOKEN_TYPES = TASKS
PAIR = "[CLS] $A [QUESTION] . [SEP] $B [SEP]"

_CLASS_PREFIX = "Splinter"
_TASKS = ("embedding", "question_answering")
_QUESTION = 104  # transformers' SplinterConfig


def configure(hf: Mapping[str, Any], task: str | None) -> EncoderConfig:
    """config.json as an EncoderConfig."""
    config: EncoderConfig = bert.configure(hf, task, _CLASS_PREFIX)
    head = config.head
    if head.task not in _TASKS:
        raise ModelError(f"the task is {head.task}; implemented for {MODEL_TYPE} are {' and '.join(_TASKS)}")
    if head.task == "question_answering":
        head = replace(head, spans=Spans(token=hf.get("question_token_id", _QUESTION)))
    return replace(config, family=MODEL_TYPE, head=head)


def parameters(config: EncoderConfig) -> dict[str, Source]:
    """Encoder parameter -> checkpoint tensor, without PREFIX."""
    modules = bert.encoder_modules(config)
    for bound in ("start", "end"):
        ours, theirs = f"head.spans.{bound}", f"splinter_qass.{bound}"
        modules[f"{ours}.classifier"] = f"{theirs}_classifier"
        transforms = {"question": f"splinter_qass.query_{bound}_transform", "token": f"{theirs}_transform"}
        for part, transform in transforms.items():
            modules[f"{ours}.{part}.linear"] = f"{transform}.dense"
            modules[f"{ours}.{part}.norm"] = f"{transform}.LayerNorm"
    return parameter_sources(config, modules)


def tiny() -> list[dict[str, Any]]:
    """Both tasks, an odd head size, another activation."""
    splinter = partial(tiny_config, MODEL_TYPE, _CLASS_PREFIX)
    odd: dict[str, Any] = {"hidden_size": 39, "num_attention_heads": 3, "intermediate_size": 51}
    return [
        splinter("Model"),
        splinter("Model", **odd, hidden_act="relu"),
        splinter("ForQuestionAnswering", question_token_id=7),
        splinter("ForQuestionAnswering", **odd, vocab_size=5, question_token_id=0),
    ]
