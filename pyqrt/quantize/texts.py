"""Texts and token ids to packed batches: reading calibration files, sampling, batching by token count."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from pyqrt.errors import ModelError
from pyqrt.nn import EncoderConfig
from pyqrt.quantize.statistics import PackedBatch

T = TypeVar("T")

BATCH_TOKENS = 2048
_TEXT_COLUMNS = ("sentence", "text", "tokens")
_PAIR_COLUMNS = (("sentence1", "sentence2"), ("question", "sentence"), ("question", "context"))


@dataclass(frozen=True)
class Example:
    """One text, or a pair."""

    text: str
    pair: str | None = None


@dataclass(frozen=True)
class Encoded:
    """Token ids and token types of one example."""

    ids: list[int]
    types: list[int]


def read_examples(path: Path) -> list[Example]:
    """Examples of a calibration file.

    `.tsv`: a header row names the columns; `sentence`, `text` or `tokens` is a text, `sentence1` and
    `sentence2` (or `question` with `sentence` or `context`) a pair, other columns are ignored.
    Anything else: one text per line. Empty lines are skipped. Raises ModelError.
    """
    lines = _lines(path)
    if path.suffix == ".tsv":
        examples = _read_table(path, lines)
    else:
        examples = [Example(line.strip()) for line in lines if line.strip()]
    if not examples:
        raise ModelError(f"{path} holds no text to calibrate on")
    return examples


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read calibration text {path}: {error}") from error
    return text.removesuffix("\n").split("\n") if text else []  # a text may hold other ends of lines


def _read_table(path: Path, lines: Sequence[str]) -> list[Example]:
    header = lines[0].split("\t") if lines else []
    known: list[tuple[str, ...]] = [*_PAIR_COLUMNS, *((column,) for column in _TEXT_COLUMNS)]
    columns = next((c for c in known if set(c) <= set(header)), None)
    if columns is None:
        raise ModelError(
            f"{path}: the header names {header or 'no columns'}; needed is one of {_TEXT_COLUMNS} "
            f"or a pair of {_PAIR_COLUMNS}"
        )
    places = [header.index(column) for column in columns]
    examples = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) <= max(places):
            raise ModelError(f"{path}, line {number}: {len(cells)} columns, the header has {len(header)}")
        examples.append(Example(*(cells[place] for place in places)))
    return examples


def read_token_ids(path: Path, config: EncoderConfig) -> list[Encoded]:
    """Sequences of a `.jsonl` calibration file: on every line ``{"ids": [...], "types": [...]}``.

    ids: all token ids of a sequence, special ones included; types: as many token types, zeros if left out.
    Empty lines are skipped. Raises ModelError, naming the line, for anything else, and for what the
    model of `config` does not take.
    """
    sequences = []
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            try:
                sequences.append(_read_sequence(line, config))
            except ModelError as error:
                raise ModelError(f"{path}, line {number}: {error}") from None
    if not sequences:
        raise ModelError(f"{path} holds no token ids to calibrate on")
    return sequences


def _read_sequence(line: str, config: EncoderConfig) -> Encoded:
    try:
        entry: Any = json.loads(line)
    except ValueError as error:
        raise ModelError(f"not JSON ({error})") from None
    if not isinstance(entry, dict) or "ids" not in entry or entry.keys() - {"ids", "types"}:
        raise ModelError('expected an object of "ids" and, optionally, "types"')
    ids = entry["ids"]
    limits = {"ids": config.vocab_size, "types": max(config.type_vocab_size, 1)}
    for name, values in entry.items():
        if not isinstance(values, list) or not all(type(value) is int for value in values):
            raise ModelError(f"{name} must be a list of integers")
        for place, value in enumerate(values):
            if not 0 <= value < limits[name]:
                raise ModelError(f"{name}[{place}] is {value}; it must be in [0, {limits[name]})")
    if not 1 <= len(ids) <= config.max_length:
        raise ModelError(f"{len(ids)} ids; the model takes 1 to {config.max_length}: cut the sequence")
    types = entry.get("types", [0] * len(ids))
    if len(types) != len(ids):
        raise ModelError(f"{len(types)} types for {len(ids)} ids")
    return Encoded(ids, types)


def sample(examples: Sequence[T], count: int, seed: int) -> list[T]:
    """At most `count` examples, drawn without repetition, the same ones for the same seed."""
    if len(examples) <= count:
        return list(examples)
    return random.Random(seed).sample(list(examples), count)


def random_sequences(vocab_size: int, max_length: int, count: int, seed: int) -> list[Encoded]:
    """Uniformly random token ids of mixed lengths, for a checkpoint that has no tokenizer."""
    generator = random.Random(seed)
    sequences = []
    for _ in range(count):
        length = generator.randint(1, max_length)
        ids = [generator.randrange(vocab_size) for _ in range(length)]
        sequences.append(Encoded(ids, [0] * length))
    return sequences


def pack(sequences: Sequence[Encoded], batch_tokens: int = BATCH_TOKENS) -> Iterator[PackedBatch]:
    """Batches of whole sequences of about `batch_tokens` tokens, neighbours in length together."""
    ordered = sorted(sequences, key=lambda sequence: len(sequence.ids))
    batch: list[Encoded] = []
    tokens = 0
    for sequence in ordered:
        if batch and tokens + len(sequence.ids) > batch_tokens:
            yield pack_one(batch)
            batch, tokens = [], 0
        batch.append(sequence)
        tokens += len(sequence.ids)
    if batch:
        yield pack_one(batch)


def pack_one(sequences: Sequence[Encoded]) -> PackedBatch:
    """The given sequences end to end, in order."""
    offsets = [0]
    for sequence in sequences:
        offsets.append(offsets[-1] + len(sequence.ids))
    return PackedBatch(
        ids=torch.tensor([i for s in sequences for i in s.ids], dtype=torch.int64),
        types=torch.tensor([t for s in sequences for t in s.types], dtype=torch.int64),
        offsets=offsets,
    )
