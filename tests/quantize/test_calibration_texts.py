"""Calibration files, samples and batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pyqrt.errors import ModelError
from pyqrt.models import family
from pyqrt.quantize.api import seen_and_unseen
from pyqrt.quantize.checkpoint import load_checkpoint
from pyqrt.quantize.texts import (
    Encoded,
    Example,
    pack,
    random_sequences,
    read_examples,
    read_token_ids,
    sample,
)
from tiny_checkpoint import checkpoint
from tiny_encoders import tiny_encoder


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_plain_text_is_one_example_per_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\n\n  two words \nDrei Wörter hier\n")
    assert read_examples(path) == [Example("one"), Example("two words"), Example("Drei Wörter hier")]


def test_only_a_new_line_ends_one(tmp_path: Path) -> None:
    """Texts of the web hold other separators, and files of other systems a mark at the front."""
    text = "a\u2028b\x85c\x0bd"
    assert read_examples(write(tmp_path / "a.txt", f"\ufeffone\r\n{text}")) == [Example("one"), Example(text)]
    table = f"\ufefflabel\tsentence\r\n1\t{text}\r\n0\te\r\n"
    assert read_examples(write(tmp_path / "a.tsv", table)) == [Example(text), Example("e")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("sentence\tlabel\na\t1\nb\t0\n", [Example("a"), Example("b")]),
        ("id\tsentence1\tsentence2\n7\ta\tb\n", [Example("a", "b")]),
        ("question\tcontext\nwho?\tme\n", [Example("who?", "me")]),
        ("tokens\ttags\nA b\tO O\n", [Example("A b")]),
    ],
)
def test_tables_are_read_by_their_header(tmp_path: Path, content: str, expected: list[Example]) -> None:
    assert read_examples(write(tmp_path / "a.tsv", content)) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "\n \n", "holds no text"),
        ("a.tsv", "", "the header names"),
        ("a.tsv", "label\n1\n", "the header names"),
        ("a.tsv", "sentence1\tsentence2\nonly one\n", "line 2: 1 columns"),
    ],
)
def test_unusable_files_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_examples(write(tmp_path / name, content))


@pytest.mark.parametrize(
    ("task", "every"),
    [("embedding", 0), ("BertForQuestionAnswering", 1), ("BertForSequenceClassification", 2)],
)
def test_bundled_texts_stand_behind_others_where_a_task_reads_pairs(
    tmp_path: Path, task: str, every: int
) -> None:
    architectures = [hf["architectures"][0] for hf in family("bert").tiny()]
    number = architectures.index(task) if every else 0
    encoder, loaded = load_checkpoint(checkpoint(tmp_path / "checkpoint", number))
    sep = 3  # in the vocabulary
    for sequences in seen_and_unseen(encoder, loaded, None, seed=0):
        pairs = [sequence.ids.count(sep) == 2 for sequence in sequences]
        assert pairs == [bool(every) and place % every == 0 for place in range(len(sequences))]
        assert [1 in sequence.types for sequence in sequences] == pairs


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot read calibration text"):
        read_examples(tmp_path / "missing.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="cannot read calibration text"):
        read_examples(tmp_path / "binary.txt")


def test_samples_repeat_for_a_seed_and_hold_no_text_twice() -> None:
    examples = [Example(str(i)) for i in range(100)]
    drawn = sample(examples, 20, seed=1)
    assert drawn == sample(examples, 20, seed=1) != sample(examples, 20, seed=2)
    assert len(set(drawn)) == 20
    assert sample(examples[:5], 20, seed=1) == examples[:5]


def test_batches_hold_every_sequence_once_and_keep_to_their_size() -> None:
    sequences = [Encoded([i] * n, [0] * n) for i, n in enumerate([5, 1, 9, 30, 2, 8])]
    batches = list(pack(sequences, batch_tokens=12))
    seen = [
        batch.ids[a:b].tolist()
        for batch in batches
        for a, b in zip(batch.offsets, batch.offsets[1:], strict=False)
    ]
    assert sorted(seen) == sorted(s.ids for s in sequences)
    assert all(len(batch.ids) <= 12 or len(batch.offsets) == 2 for batch in batches)


def test_random_sequences_stay_within_the_model() -> None:
    sequences = random_sequences(7, 5, count=50, seed=0)
    assert all(1 <= len(s.ids) <= 5 and set(s.ids) <= set(range(7)) for s in sequences)
    assert sequences == random_sequences(7, 5, count=50, seed=0)


CONFIG = replace(tiny_encoder("bert").config, vocab_size=50, max_length=4, type_vocab_size=2)


def test_token_ids_are_read_line_by_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"ids": [1, 49], "types": [0, 1]}\n\n{"ids": [0, 2, 3, 4]}\n')
    assert read_token_ids(path, CONFIG) == [Encoded([1, 49], [0, 1]), Encoded([0, 2, 3, 4], [0] * 4)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.jsonl holds no token ids"),
        ("\n \n", "a.jsonl holds no token ids"),
        ('{"ids": [1]}\n{"ids": [1, 50]}', r"line 2: ids\[1\] is 50; it must be in \[0, 50\)"),
        ('{"ids": [-1]}', r"line 1: ids\[0\] is -1; it must be in \[0, 50\)"),
        ('{"ids": [1], "types": [2]}', r"line 1: types\[0\] is 2; it must be in \[0, 2\)"),
        ('\n{"ids": []}', "line 2: 0 ids; the model takes 1 to 4"),
        ('{"ids": [1, 1, 1, 1, 1]}', "line 1: 5 ids; the model takes 1 to 4: cut"),
        ('{"ids": [1, 1], "types": [0]}', "line 1: 1 types for 2 ids"),
        ('{"ids": [1.0]}', "line 1: ids must be a list of integers"),
        ('{"ids": [true]}', "line 1: ids must be a list of integers"),
        ('{"ids": 7}', "line 1: ids must be a list of integers"),
        ('{"ids": [1], "mask": [1]}', "line 1: expected an object"),
        ('{"types": [0]}', "line 1: expected an object"),
        ("[1, 2]", "line 1: expected an object"),
        ("1 2", "line 1: not JSON"),
    ],
)
def test_unusable_token_ids_are_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_token_ids(write(tmp_path / "a.jsonl", content), CONFIG)
