"""What is timed: the task's own sequences, at the lengths that were asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_results import WORDS

import pyqrt
from pyqrt.errors import ModelError
from pyqrt.eval.tasks import task
from pyqrt.tradeoff.workloads import Tokens, make_workloads, pad, spread, task_sequences


@pytest.fixture(scope="module")
def sequences(model: Path, data: Path) -> list[Tokens]:
    loaded, of_task = pyqrt.load(model), task("sst2")
    examples = of_task.read(data)
    reading = of_task.check(loaded.task, loaded.task.labels, examples)
    return task_sequences(of_task, examples, reading, loaded, truncate=False)


def test_sequences_are_what_the_model_is_given(model: Path, sequences: list[Tokens]) -> None:
    tokenizer = pyqrt.load(model).tokenizer
    assert tokenizer is not None
    expected = sorted(item.ids.tolist() for item in tokenizer.encode(WORDS))
    assert sorted(ids for ids, _ in sequences) == expected
    assert [len(ids) for ids, _ in sequences] == sorted(len(ids) for ids, _ in sequences)


def test_lengths_and_batches(model: Path, sequences: list[Tokens]) -> None:
    loaded = pyqrt.load(model)
    found = {w.key: w.batches for w in make_workloads(sequences, ["real", 7, 24], 20, loaded)}
    assert list(found) == [
        "1 x real, single",
        "1 x 7, single",
        "1 x 24, single",
        "20 x real, packed",
        "20 x real, padded",
        "20 x real, sorted",
    ]
    assert all(len(batch) == 1 for batch in found["1 x real, single"])
    assert [len(ids) for ids, types in found["1 x 7, single"][0]] == [7]
    assert found["20 x real, packed"] == found["20 x real, padded"]
    chunks = found["20 x real, sorted"]
    assert [len(chunk) for chunk in chunks] == [8, 8, 4]
    assert sorted(str(text) for chunk in chunks for text in chunk) == sorted(
        map(str, found["20 x real, packed"][0])
    )
    assert [len(ids) for chunk in chunks for ids, _ in chunk] == sorted(len(i) for c in chunks for i, _ in c)


def test_a_spread_has_the_lengths_of_all(sequences: list[Tokens]) -> None:
    lengths = [len(ids) for ids, _ in sequences]
    assert sorted(len(ids) for ids, _ in spread(sequences, len(sequences))) == lengths
    half = sorted(len(ids) for ids, _ in spread(sequences, 5))
    assert half == [lengths[i] for i in (1, 3, 5, 7, 9)]


def test_padding_computes_a_rectangle() -> None:
    assert pad([([1, 2, 3, 4, 5], [0] * 5), ([7, 8], [0, 1])]) == [
        ([1, 2, 3, 4, 5], [0] * 5),
        ([7, 8, 7, 8, 7], [0, 1, 0, 1, 0]),
    ]


def test_a_length_the_model_does_not_take(model: Path, sequences: list[Tokens]) -> None:
    with pytest.raises(ModelError, match=r"a length is 25 tokens; .*small.qrt takes 1 to 24"):
        make_workloads(sequences, [25], 0, pyqrt.load(model))
