"""A Hugging Face or sentence-transformers directory as a float encoder and what belongs to it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, cast

import torch

from pyqrt.errors import ModelError
from pyqrt.models import family
from pyqrt.nn import Encoder
from pyqrt.nn.config import Head, Pooling
from pyqrt.nn.huggingface import Source
from pyqrt.program import Program
from pyqrt.quantize.checkpoint.files import Directory
from pyqrt.quantize.checkpoint.ranges import read_limits
from pyqrt.quantize.checkpoint.sentence_transformers import read_sentence_transformer
from pyqrt.quantize.checkpoint.tokenizer import read_tokenizer
from pyqrt.quantize.checkpoint.weights import dense_sources, load_weights, read_dense, read_weights

__all__ = ["Checkpoint", "load_checkpoint", "load_origin"]


@dataclass(frozen=True)
class Checkpoint:
    """What came with the weights.

    path: the directory. config: config.json. tokenizer_json: text of a tokenizer.json without truncation
    and padding, None if the checkpoint has no tokenizer. sha256: hexadecimal digest of every weight file.
    max_length: tokens a sequence may have, the encoder's too. files: those read, relative to `path`.
    limits: largest magnitudes of activations by tap name, if the weights were trained with fixed ranges.
    dense: folder of the module of sentence-transformers that is the head's transform, or "".
    """

    path: Path
    config: dict[str, Any]
    tokenizer_json: str | None
    sha256: dict[str, str]
    max_length: int
    files: tuple[str, ...]
    limits: dict[str, float] = field(default_factory=dict)
    dense: str = ""


def load_checkpoint(
    directory: str | PathLike[str], task: str | None = None, pooling: str | None = None
) -> tuple[Encoder, Checkpoint]:
    """Read a checkpoint into a float32 encoder (CPU, evaluation mode).

    directory: config.json, weights (model.safetensors or pytorch_model.bin, also sharded, or an exported
    model.onnx) and, for text, tokenizer.json or vocab.txt; with modules.json a sentence-transformers
    model.
    task: "embedding", "sequence_classification", "token_classification" or "question_answering"; None
    takes it from the files. Embeddings are pooled, projected and normalised as modules.json says; without
    one they are the mean of all tokens, normalised to length 1.
    pooling: of embeddings, instead of that: "mean", "first" (or "cls"), "last" or "max".

    max_length is the smallest of the position table, and max_seq_length of sentence-transformers or else
    the tokenizer's model_max_length.

    Raises ModelError for anything missing, damaged or not representable exactly.
    """
    root = Directory(Path(directory))
    if not root.path.is_dir():
        raise ModelError(
            f"{root.path}: no such directory; a model of the Hugging Face hub must be downloaded first, "
            "as with `hf download NAME --local-dir DIRECTORY`"
        )
    sentences = read_sentence_transformer(root) if task in (None, "embedding") else None
    transformer = sentences.transformer if sentences else root
    if transformer.has("adapter_config.json"):
        raise ModelError(
            f"{transformer.path}: adapter_config.json changes the weights; merge the adapter into them, "
            "as with peft's merge_and_unload, and quantize the result"
        )
    hf = transformer.object("config.json")
    try:
        described_by = family(hf.get("model_type"))
        config = described_by.configure(hf, "embedding" if sentences else task)
        stated, where = (sentences.max_length if sentences else None), "max_seq_length"
        if stated is None:
            where = "tokenizer_config.json: model_max_length"
            stated = transformer.optional_object("tokenizer_config.json").get("model_max_length")
        if stated is not None:
            # transformers writes 1e30 for "no limit"
            if not isinstance(stated, (int, float)) or stated < 1:
                raise ModelError(f"{where} is {stated!r}; expected a number of at least 1")
            config = replace(config, max_length=int(min(config.max_length, stated)))
        if sentences:
            config = replace(config, head=sentences.head(config.head, config.hidden_size))
    except ModelError as error:
        raise ModelError(f"{transformer.path}/config.json: {error}") from None
    if pooling is not None:
        config = replace(config, head=_pooled(config.head, pooling))

    with torch.device("meta"):
        encoder = Encoder(config)
    tensors, sha256 = read_weights(transformer, encoder, described_by)
    also: dict[str, Source] = {}
    if sentences and sentences.dense:
        module = read_dense(sentences.dense)
        tensors, sha256 = tensors | module[0], sha256 | module[1]
        also = dense_sources(sentences.dense)
    load_weights(encoder, tensors, described_by, transformer.path, also)
    try:
        limits = read_limits(tensors, described_by, hf, config)
    except ModelError as error:
        raise ModelError(f"{transformer.path}: {error}") from None
    tokenizer_json = read_tokenizer(
        transformer,
        hf,
        described_by,
        config,
        lowercase_first=sentences is not None and sentences.lowercase,
    )
    checkpoint = Checkpoint(
        path=root.path,
        config=hf,
        tokenizer_json=tokenizer_json,
        sha256=sha256,
        max_length=config.max_length,
        files=root.files_read(),
        limits=limits,
        dense=sentences.dense.name if sentences and sentences.dense else "",
    )
    return encoder.eval(), checkpoint


def load_origin(directory: str | PathLike[str], kind: str, program: Program) -> tuple[Encoder, Checkpoint]:
    """The checkpoint that a model file was made from, with the head that the file has.

    kind, program: the file's. Raises ModelError as `load_checkpoint` does.
    """
    kinds = [str(node.attributes["kind"]) for node in program.nodes if node.op == "pool"]
    return load_checkpoint(directory, kind, kinds[-1] if kind == "embedding" and kinds else None)


def _pooled(head: Head, pooling: str) -> Head:
    if head.task != "embedding":
        raise ModelError(f"pooling is {pooling!r}; it can be chosen for embeddings, the task is {head.task}")
    return replace(head, pooling=cast(Pooling, "first" if pooling == "cls" else pooling))
