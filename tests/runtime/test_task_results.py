"""From integers to results: labels, words, entities, answers."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import small_model

from pyqrt.errors import ModelError
from pyqrt.runtime import Answer, Classification, Entity, Task, Word, entities, load
from pyqrt.runtime.results import (
    MAX_ANSWER_TOKENS,
    Choice,
    best_answer,
    choose,
    classify,
    embeddings,
    fill_masks,
    label_words,
)
from pyqrt.runtime.tokenization import Encoded, Tokenizer


def encode(text: str, pair: str | None = None) -> Encoded:
    tokenizer = Tokenizer(small_model.tokenizer_json(), 999)
    return tokenizer.encode([text], None if pair is None else [pair])[0]


def test_embeddings_are_rounded_once() -> None:
    values = np.array([[1, -3], [(1 << 31) - 1, -(1 << 31)]], np.int32)
    scale = 1 / 3
    result = embeddings(values, scale)
    assert result.dtype == np.float32
    assert result.tolist() == [[float(np.float32(int(v) * scale)) for v in row] for row in values]
    per_token = embeddings([values, values[:1]], scale)
    assert [row.shape for row in per_token] == [(2, 2), (1, 2)]


def test_single_label() -> None:
    result = classify(np.array([0.0, math.log(3.0)]), Task("sequence_classification", "x", ("a", "b")))
    assert result.label == "b"
    assert result.scores == pytest.approx({"a": 0.25, "b": 0.75})
    assert result.score == result.scores["b"]


def test_extreme_logits_do_not_overflow() -> None:
    logits = np.array([1e9, -1e9, 0.0])
    for problem in ("single_label_classification", "multi_label_classification"):
        task = Task("sequence_classification", "x", ("a", "b", "c"), problem)  # type: ignore[arg-type]
        scores = classify(logits, task).scores
        assert (scores["a"], scores["b"]) == (1.0, 0.0)


def test_multi_label() -> None:
    task = Task("sequence_classification", "x", ("a", "b"), "multi_label_classification")
    result = classify(np.array([0.0, -math.log(3.0)]), task)
    assert result == Classification("a", 0.5, {"a": 0.5, "b": pytest.approx(0.25)})


def test_regression() -> None:
    task = Task("sequence_classification", "x", ("score",), "regression")
    assert classify(np.array([-2.5]), task) == Classification("score", -2.5, {"score": -2.5})


WORDS = Task("token_classification", "x", ("O", "B-X", "B-Y"))


def test_labels_of_words_may_be_independent() -> None:
    task = Task("token_classification", "x", ("replaced",), "multi_label_classification")
    logits = np.array([[9.0], [0.0], [-math.log(3.0)], [9.0]])
    words = label_words(logits, "a b", encode("a b"), task)
    assert [(w.label, w.score) for w in words] == [("replaced", 0.5), ("replaced", pytest.approx(0.25))]


def test_words_take_the_label_of_their_first_token() -> None:
    text = "a  abc, Paris"
    encoded = encode(text)  # [CLS] a ab ##c , Paris [SEP]
    logits = np.full((7, 3), -9.0)
    for token, label in enumerate([2, 0, 1, 2, 0, 2, 1]):
        logits[token, label] = 9.0
    words = label_words(logits, text, encoded, WORDS)
    assert [(w.text, w.label, w.start, w.end) for w in words] == [
        ("a", "O", 0, 1),
        ("abc", "B-X", 3, 6),
        (",", "O", 6, 7),
        ("Paris", "B-Y", 8, 13),
    ]
    assert all(text[w.start : w.end] == w.text and w.score == pytest.approx(1) for w in words)
    assert label_words(logits[:2], "", encode(""), WORDS) == []


def word(text: str, label: str, start: int, score: float = 1.0) -> Word:
    return Word(text, label, score, start, start + len(text))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("O O O", []),
        ("B-X I-X O", [("aa bb", "X")]),
        ("B-X B-X I-X", [("aa", "X"), ("bb cc", "X")]),
        ("I-X I-X O", [("aa bb", "X")]),
        ("B-X I-Y O", [("aa", "X"), ("bb", "Y")]),
        ("B-X O I-X", [("aa", "X"), ("cc", "X")]),
        ("X X Y", [("aa bb", "X"), ("cc", "Y")]),
        ("O O B-X", [("cc", "X")]),
    ],
)
def test_entities(labels: str, expected: list[tuple[str, str]]) -> None:
    text = "aa bb cc"
    words = [word(text[3 * i : 3 * i + 2], label, 3 * i) for i, label in enumerate(labels.split())]
    found = entities(text, words)
    assert [(entity.text, entity.type) for entity in found] == expected
    assert all(text[entity.start : entity.end] == entity.text for entity in found)


def test_an_entitys_score_is_the_mean() -> None:
    words = [word("aa", "B-X", 0, 0.5), word("bb", "I-X", 3, 1.0)]
    assert entities("aa bb", words) == [Entity("aa bb", "X", 0.75, 0, 5)]
    assert entities("", []) == []


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def test_the_best_answer_is_the_best_span() -> None:
    """Against a search of all spans, with the definition of the score."""
    question, context = "a b", "c a b c a b c a b c " * 5
    encoded = encode(question, context)
    inside = [i for i, segment in enumerate(encoded.segments) if segment == 1]
    for seed in range(20):
        logits = np.random.default_rng(seed).normal(0, 3, (len(encoded), 2))
        allowed = [0, *inside]
        start, end = (dict(zip(allowed, softmax(list(c[allowed])), strict=True)) for c in logits.T)
        spans = [(i, j) for i, j in product(inside, inside) if i <= j < i + MAX_ANSWER_TOKENS]
        i, j = max(spans, key=lambda span: start[span[0]] * end[span[1]])
        answer = best_answer([logits], context, [encoded])
        begin, finish = encoded.offsets[i][0], encoded.offsets[j][1]
        assert (answer.text, answer.start, answer.end) == (context[begin:finish], begin, finish)
        assert answer.score == pytest.approx(start[i] * end[j])
        assert answer.no_answer_score == pytest.approx(start[0] * end[0])


def test_answers_come_from_the_context_only() -> None:
    encoded = encode("a b", "c")  # [CLS] a b [SEP] c [SEP]
    logits = np.zeros((6, 2))
    logits[[1, 2, 3, 5]] = 50
    answer = best_answer([logits], "c", [encoded])
    assert (answer.text, answer.start, answer.end) == ("c", 0, 1)
    assert answer.score == pytest.approx(0.25)


def test_no_context() -> None:
    assert best_answer([np.zeros((4, 2))], "", [encode("a", "")]) == Answer("", 0.0, 0, 0, 1.0)


def test_a_long_context_is_seen_in_windows() -> None:
    """The best span of all windows; none reaches from one into the next."""
    tokenizer = Tokenizer(small_model.tokenizer_json(), 9)
    context = "a b c a b c a b c Paris"
    (windows,) = tokenizer.windows(["a b"], [context], 2)  # [CLS] a b [SEP], four tokens, [SEP]
    assert [item.ids[4:-1].tolist() for item in windows] == [
        [4, 5, 6, 4],
        [6, 4, 5, 6],
        [5, 6, 4, 5],
        [4, 5, 6, 9],
    ]
    logits = [np.zeros((len(item), 2)) for item in windows]
    logits[3][7] = 9.0
    assert best_answer(logits, context, windows).text == "Paris"
    logits[0][7, 0], logits[1][4, 1] = 30.0, 30.0  # a start and an end in different windows
    assert len(best_answer(logits, context, windows).text) <= len("a b c a")
    assert [len(group) for group in tokenizer.windows(["a", "a b"], ["b", context], 2)] == [1, 4]
    with pytest.raises(ModelError, match="leaves 4 of the model's 9 tokens to its context, stride is 4"):
        tokenizer.windows(["a b"], [context], 4)


def test_what_fits_needs_no_windows() -> None:
    """However little room its text leaves to the context."""
    tokenizer = Tokenizer(small_model.tokenizer_json(), 9)
    ((whole,), windows) = tokenizer.windows(["a b c a b", "a b"], ["c", "a b c a b c"], 2)
    assert whole.ids.tolist() == tokenizer.encode(["a b c a b"], ["c"])[0].ids.tolist()
    assert len(windows) == 2


@pytest.mark.parametrize("stride", [-1, 9, 10**30, 1.5, "8", None])
def test_a_stride_is_a_number_of_tokens(stride: object) -> None:
    tokenizer = Tokenizer(small_model.tokenizer_json(), 9)
    with pytest.raises(ModelError, match=r"stride is .*; it must be an integer of at least 0 and below 9"):
        tokenizer.windows(["a"], ["b"], stride)


def test_the_best_choice() -> None:
    choice = choose(np.array([0.0, math.log(3.0)]), ["a", "b"])
    assert choice == Choice(1, "b", pytest.approx(0.75), [pytest.approx(0.25), pytest.approx(0.75)])


def test_masks_are_filled() -> None:
    tokenizer = Tokenizer(small_model.tokenizer_json().replace("[UNK]", "[MASK]"), 12)
    (encoded,) = tokenizer.encode(["a [MASK] c"])
    logits = np.zeros((5, 14))
    logits[2, 5] = 2.0
    (mask,) = fill_masks(logits, encoded, tokenizer)
    assert (mask.start, mask.end, len(mask.candidates)) == (2, 8, 5)
    best = mask.candidates[0]
    assert (best.token, best.id) == ("b", 5)
    assert best.score == pytest.approx(math.e**2 / (math.e**2 + 13))
    assert fill_masks(np.zeros((3, 14)), encode("a"), tokenizer) == []
    with pytest.raises(ModelError, match="no mask token"):
        fill_masks(logits, encoded, Tokenizer(small_model.tokenizer_json(), 12))


def test_tasks_end_to_end(folder: Path) -> None:
    """Results are those of the integers, for the texts in order."""
    text = "anna lives in Paris ."
    sequence = load(folder / "sequence_classification.qrt")
    values, scale = sequence.run([[2, 12, 11, 10, 9, 13, 3], [2, 4, 3]])
    results = sequence([text, "a"])
    assert [list(result.scores) for result in results] == [["no", "maybe", "yes"]] * 2
    for result, row in zip(results, values, strict=True):
        assert list(result.scores.values()) == pytest.approx(softmax([v * scale for v in row.tolist()]))
        assert result.label == ("no", "maybe", "yes")[int(np.argmax(row))]
    tokens = load(folder / "token_classification.qrt")
    (words,) = tokens(text)
    labels = [
        small_model.TOKENS.labels[i] for i in np.argmax(tokens.run([[2, 12, 11, 10, 9, 13, 3]]).values[0], 1)
    ]
    assert [(w.text, w.label) for w in words] == list(zip(text.split(), labels[1:-1], strict=True))
    answers = load(folder / "question_answering.qrt")
    (answer,) = answers("a", text)
    assert answer.text == text[answer.start : answer.end]
    assert answer.text
