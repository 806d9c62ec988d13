"""The comparison with the float model and the gate."""

from __future__ import annotations

import numpy as np
import pytest

from pyqrt.errors import ModelError
from pyqrt.nn.config import Head
from pyqrt.quantize.gate import check, compare

EMBEDDING = Head(task="embedding", pooling="mean", normalize=True)
WORDS = Head(task="token_classification", num_labels=2, labels=("O", "B"))
SPANS = Head(task="question_answering", num_labels=2, labels=("start", "end"))


def sequence_head(problem: str, count: int = 2) -> Head:
    labels = tuple(str(i) for i in range(count))
    return Head(
        task="sequence_classification",
        pooling="first",
        num_labels=count,
        labels=labels,
        problem=problem,  # type: ignore[arg-type]
    )


def test_equal_outputs_score_one_in_every_task() -> None:
    rows = [np.array([[1.0, -2.0], [3.0, 4.0]]), np.array([[0.5, 0.25]])]
    for head in (EMBEDDING, WORDS, SPANS, sequence_head("single_label"), sequence_head("multi_label")):
        comparison = compare(head, rows, rows)
        assert comparison.score(head.task) == pytest.approx(1.0, abs=1e-12)
        assert comparison.relative_error == 0
        assert comparison.rows == 3


def test_each_task_is_judged_by_what_it_decides() -> None:
    a = [np.array([[1.0, 2.0], [3.0, 1.0], [0.0, 5.0], [-1.0, -2.0]])]
    b = [np.array([[1.0, 2.0], [1.0, 3.0], [0.0, 5.0], [-1.0, 2.0]])]
    assert compare(WORDS, a, b).agreement == 0.5  # rows 1 and 3 changed their label
    assert compare(sequence_head("multi_label"), a, b).agreement == 7 / 8  # one sign of eight
    assert compare(SPANS, a, b).agreement == 0.5  # start moved from token 1 to 0, end stayed at 2
    assert compare(EMBEDDING, a, b).agreement is None
    assert compare(sequence_head("regression", 1), a, b).score("sequence_classification") < 0.9


def test_the_gate_names_what_it_saw_and_what_to_do() -> None:
    comparison = compare(EMBEDDING, [np.eye(2)], [np.ones((2, 2))])
    assert comparison.mean_cosine == pytest.approx(0.5**0.5)
    check("embedding", comparison, 0.7)
    with pytest.raises(ModelError, match=r"0\.7071.*below the gate of 0\.98.*Calibrate"):
        check("embedding", comparison, 0.98)
