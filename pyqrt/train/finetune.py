"""Fine-tuning of a float encoder on a task's labelled data."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pyqrt.errors import ModelError
from pyqrt.eval.tasks import task as task_of
from pyqrt.eval.tasks.classification import Classification, LabelledText
from pyqrt.eval.tasks.entities import TaggedTokens
from pyqrt.eval.tasks.similarity import ScoredPair
from pyqrt.nn import Task
from pyqrt.progress import Progress, silent
from pyqrt.quantize.texts import Encoded, pack_one
from pyqrt.runtime.results import word_spans
from pyqrt.runtime.tokenization import Encoded as Tokens
from pyqrt.runtime.tokenization import Tokenizer
from pyqrt.train.batches import epoch_batches
from pyqrt.train.device import training_device
from pyqrt.train.dropout import dropout
from pyqrt.train.head import with_new_head
from pyqrt.train.loop import Options, SavePoint, fit
from pyqrt.train.save import save_checkpoint

IGNORED = -100  # the target of a token that the loss leaves out


@dataclass(frozen=True)
class LabelledSequence:
    """A tokenized example. target: int64 number of its label, or of every token's (`IGNORED` where there
    is none), or float32 value of a regression; [1] or [tokens]."""

    tokens: Encoded
    target: Tensor


@dataclass(frozen=True)
class LabelledData:
    """A task's examples as the training needs them. labels: of the classifier; one: a regression."""

    task: Task
    labels: tuple[str, ...]
    examples: Sequence[Any]


def finetune(
    checkpoint: Path,
    task: str,
    data: Path,
    output: Path,
    options: Options,
    *,
    batch_size: int = 32,
    limit: int | None = None,
    max_length: int = 128,
    dropout_rate: float = 0.1,
    freeze_embeddings: bool = False,
    bfloat16: bool = False,
    device: str = "cpu",
    state: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Trains the encoder of a checkpoint directory, with a new head, and writes the result to `output`.

    task, data: one of `pyqrt.eval`'s with labels of texts or tokens, and its training file. limit: use
    so many examples only, drawn with options.seed. max_length: tokens; longer texts are cut.
    dropout_rate: see `pyqrt.train.dropout`; 0: none.
    freeze_embeddings: leave the embedding tables as they are. bfloat16: compute matrix products in it.
    device: "cpu", "cuda" or "cuda:N". state: file that the training continues from after a kill; deleted
    at the end.

    Returns the mean loss of every epoch and the numbers of examples and of texts that were cut. The same
    arguments give the same bytes on the same CPU with the same number of threads; GPUs add in any order.
    Raises ModelError for data or a checkpoint that cannot be used, for a device that is not there and for a
    rate outside [0, 1).
    """
    for name, value in (("batch_size", batch_size), ("limit", limit)):
        if value is not None and value < 1:
            raise ModelError(f"{name} is {value}; it must be at least 1")
    place = training_device(device)
    labelled = read_labelled(task, data)
    if limit is not None and limit < len(labelled.examples):
        drawn = random.Random(options.seed).sample(list(labelled.examples), limit)
        labelled = LabelledData(labelled.task, labelled.labels, drawn)
    encoder, source = with_new_head(
        checkpoint, labelled.task, labelled.labels, max_length=max_length, seed=options.seed
    )
    assert source.tokenizer_json is not None  # with_new_head refuses it
    tokenizer = Tokenizer(source.tokenizer_json, source.max_length)
    sequences, cut = label_sequences(labelled, tokenizer, typed=encoder.config.type_vocab_size > 1)
    lengths = [len(sequence.tokens.ids) for sequence in sequences]
    encoder.to(place).embeddings.requires_grad_(not freeze_embeddings)

    def loss(batch: list[int]) -> Tensor:
        chosen = [sequences[index] for index in batch]
        packed = pack_one([sequence.tokens for sequence in chosen]).to(place)
        with torch.autocast(place.type, torch.bfloat16, enabled=bfloat16):
            logits = encoder(packed.ids, packed.offsets, packed.types)
        return task_loss(logits.float(), torch.cat([sequence.target for sequence in chosen]).to(place))

    digest = hashlib.sha256(data.read_bytes()).hexdigest()
    details = [checkpoint.name, source.sha256, task, digest, len(sequences), batch_size, max_length]
    details += [dropout_rate, freeze_embeddings, bfloat16, place.type]
    with dropout(encoder, dropout_rate):
        losses = fit(
            encoder,
            lambda epoch: epoch_batches(lengths, batch_size, options.seed, epoch),
            loss,
            options,
            save_point=SavePoint(state, " ".join(map(str, details))) if state else None,
            progress=progress,
            stage=f"fine-tuning on {task}",
        )
    save_checkpoint(encoder.cpu(), source, output)
    if state is not None:
        state.unlink(missing_ok=True)
    return {"losses": losses, "examples": len(sequences), "cut": cut}


def read_labelled(task: str, data: Path) -> LabelledData:
    """A task's training file. Raises ModelError for a task without labelled texts."""
    of_task = task_of(task)
    if task in ("squad", "masked_lm"):
        raise ModelError(f"fine-tuning on {task} is not implemented")
    examples = of_task.read(data)
    if isinstance(of_task, Classification):
        return LabelledData("sequence_classification", of_task.labels, examples)
    if isinstance(examples[0], TaggedTokens):
        tags = {tag for example in examples for tag in example.tags}
        return LabelledData("token_classification", ("O", *sorted(tags - {"O"})), examples)
    return LabelledData("sequence_classification", ("score",), examples)


def label_sequences(
    data: LabelledData, tokenizer: Tokenizer, *, typed: bool
) -> tuple[list[LabelledSequence], int]:
    """The examples tokenized, and the number of those that were cut.

    typed: keep the tokenizer's token types; else all are 0.
    """
    numbers = {label: number for number, label in enumerate(data.labels)}
    texts, pairs = [], []
    for example in data.examples:
        texts.append(" ".join(example.tokens) if isinstance(example, TaggedTokens) else example.text)
        pair = getattr(example, "pair", None)
        if pair is not None:
            pairs.append(pair)
    encoded = tokenizer.encode(texts, pairs or None, truncate=True)
    sequences = []
    for example, item in zip(data.examples, encoded, strict=True):
        types = item.types.tolist() if typed else [0] * len(item)
        tokens = Encoded(item.ids.tolist(), types)
        sequences.append(LabelledSequence(tokens, _target(example, item, numbers)))
    tagged = any(isinstance(example, TaggedTokens) for example in data.examples)
    if tagged and all(bool((sequence.target == IGNORED).all()) for sequence in sequences):
        raise ModelError("no token of the data begins where the tokenizer sees a word; nothing can be learnt")
    return sequences, sum(item.truncated for item in encoded)


def _target(
    example: LabelledText | ScoredPair | TaggedTokens, item: Tokens, numbers: dict[str, int]
) -> Tensor:
    if isinstance(example, LabelledText):
        return torch.tensor([example.label])
    if isinstance(example, ScoredPair):
        return torch.tensor([example.score])
    tag_at = dict(zip(example.starts(), example.tags, strict=True))
    # A token's first piece has its label, as where results are made of words; the others have none.
    target = torch.full((len(item),), IGNORED)
    for first, start, _ in word_spans(" ".join(example.tokens), item):
        target[first] = numbers.get(tag_at.get(start, ""), IGNORED)
    return target


def task_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of numbered labels, squared error of values.

    logits: float [rows, labels]; target: [rows], int64 with `IGNORED` where a row does not count, or
    float32 for a regression with one column of logits. Without a row that counts it is 0.
    """
    if target.is_floating_point():
        return functional.mse_loss(logits[:, 0], target)
    if (target == IGNORED).all():
        return logits.sum() * 0.0
    return functional.cross_entropy(logits, target, ignore_index=IGNORED)
