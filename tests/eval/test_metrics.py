"""Metrics against counts made by hand, and against the libraries over whole sets."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score

from pyqrt.eval import metrics
from pyqrt.eval.tasks.answers import normalized, word_f1
from pyqrt.eval.tasks.entities import get_entities


def rows(*values: tuple[float, ...]) -> metrics.Rows:
    return np.array(values, np.float64)


def test_classification_by_hand() -> None:
    # true 1: found 3 times, missed once; true 0: found twice, taken for 1 twice
    table = rows((1, 1), (1, 1), (1, 1), (1, 0), (0, 0), (0, 0), (0, 1), (0, 1))
    assert metrics.ACCURACY.value(table) == 5 / 8
    assert metrics.F1.value(table) == pytest.approx(2 * 3 / (2 * 3 + 2 + 1), rel=1e-15)
    assert metrics.MATTHEWS.value(table) == pytest.approx(
        (3 * 2 - 2 * 1) / math.sqrt(5 * 4 * 4 * 3), rel=1e-15
    )


def test_degenerate_predictions_score_zero_and_do_not_fail() -> None:
    never = rows((1, 0), (0, 0), (1, 0))
    assert metrics.F1.value(never) == 0.0
    assert metrics.MATTHEWS.value(never) == 0.0
    assert metrics.F1.value(rows((0, 0), (0, 0))) == 0.0
    assert metrics.PEARSON.value(rows((1, 2), (2, 2), (3, 2))) == 0.0
    assert metrics.SPEARMAN.value(rows((1, 2), (1, 3))) == 0.0
    assert metrics.ENTITY_F1.value(rows((0, 0, 0))) == 0.0


def test_correlations_by_hand() -> None:
    table = rows((1, 1), (2, 4), (3, 9), (4, 16))
    assert metrics.SPEARMAN.value(table) == pytest.approx(1.0, rel=1e-15)
    assert metrics.PEARSON.value(table) == pytest.approx(25 / math.sqrt(5 * 129), rel=1e-14)
    assert metrics.SPEARMAN.value(rows((1, 3), (2, 2), (3, 1))) == pytest.approx(-1.0, rel=1e-15)


TAGS = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])


@given(st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=9), min_size=1, max_size=9))
def test_entity_f1_is_seqevals(sentences: list[list[tuple[str, str]]]) -> None:
    true = [[tag for tag, _ in sentence] for sentence in sentences]
    found = [[tag for _, tag in sentence] for sentence in sentences]
    counts = []
    for a, b in zip(true, found, strict=True):
        wanted, got = set(get_entities(a)), set(get_entities(b))
        counts.append((len(wanted & got), len(got), len(wanted)))
    expected = f1_score(true, found, zero_division=0)
    assert metrics.ENTITY_F1.value(rows(*counts)) == pytest.approx(expected, rel=1e-12)


def test_masked_accuracy_counts_tokens_not_texts() -> None:
    assert metrics.MASKED_ACCURACY.value(rows((1, 1), (0, 9))) == 0.1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Cat!", "cat"),
        ("a  an the", ""),
        ("Theatre, an art", "theatre art"),
        ("it's 1,000\tU.S. dollars", "its 1000 us dollars"),
        ("", ""),
    ],
)
def test_answers_are_normalized(text: str, expected: str) -> None:
    assert normalized(text) == expected


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [
        ("the cat sat", "Cat sat.", 1.0),
        ("cat", "cat sat on", 2 * (1 / 1) * (1 / 3) / (1 + 1 / 3)),
        ("cat cat", "cat", 2 * (1 / 2) * 1 / (1 / 2 + 1)),
        ("dog", "cat", 0.0),
        ("", "", 1.0),
        ("the", "", 1.0),
        ("cat", "", 0.0),
        ("", "cat", 0.0),
    ],
)
def test_word_f1(predicted: str, true: str, expected: float) -> None:
    assert word_f1(predicted, true) == pytest.approx(expected, rel=1e-15)
