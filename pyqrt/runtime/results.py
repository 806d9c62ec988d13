"""From a model's integers to what its user asked for. Floats begin here, after the last kernel.

Real value = integer * scale. The softmax and sigmoid are computed in double precision from the
exact integers, so equal integers give equal results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pyqrt.runtime.tasks import Task
from pyqrt.runtime.tokenization import Encoded, Tokenizer

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer[Any]]

MAX_ANSWER_TOKENS = 30  # as in the evaluation of SQuAD
CANDIDATES = 5  # for each mask token


@dataclass(frozen=True)
class Classification:
    """The best label of a sequence; `scores` has all: probabilities, or values for regression."""

    label: str
    score: float
    scores: dict[str, float]


@dataclass(frozen=True)
class Word:
    """A word's label, from its first sub-token; `start`, `end` count characters of the text."""

    text: str
    label: str
    score: float
    start: int
    end: int


@dataclass(frozen=True)
class Entity:
    """Neighbouring words of one type; `score` is their mean."""

    text: str
    type: str
    score: float
    start: int
    end: int


@dataclass(frozen=True)
class Answer:
    """The best span of the context; `start`, `end` count its characters.

    `score` is P(start) P(end) among the context's tokens and the first token of the sequence;
    `no_answer_score` is the same for the first token, which models trained on unanswerable
    questions point at.
    """

    text: str
    score: float
    start: int
    end: int
    no_answer_score: float


@dataclass(frozen=True)
class Candidate:
    """A vocabulary entry and its probability."""

    token: str
    id: int
    score: float


@dataclass(frozen=True)
class Mask:
    """What may stand at a mask token: the most probable entries, best first.

    `start`, `end` count characters of the text.
    """

    start: int
    end: int
    candidates: list[Candidate]


@dataclass(frozen=True)
class Choice:
    """The best choice of a question: its number, text and probability; `scores` are those of all."""

    index: int
    text: str
    score: float
    scores: list[float]


Result = npt.NDArray[np.float32] | list[Any]


def interpret(
    task: Task,
    values: Integers | list[Integers],
    scale: float,
    texts: Sequence[str],
    encoded: Sequence[Encoded],
    tokenizer: Tokenizer,
) -> Result:
    """The results of a task on single sequences, in order. `values`, `scale`: of the task's output."""
    if task.kind == "embedding":
        return embeddings(values, scale)
    reals = [np.asarray(row, np.float64) * scale for row in values]
    if task.kind == "sequence_classification":
        return [classify(row, task) for row in reals]
    if task.kind == "token_classification":
        return [label_words(*item, task) for item in zip(reals, texts, encoded, strict=True)]
    return [fill_masks(*item, tokenizer) for item in zip(reals, encoded, strict=True)]


def embeddings(values: Integers | list[Integers], scale: float) -> Result:
    """float32 [texts, width]; for a per-token output a list of float32 [tokens, width]."""
    if isinstance(values, list):
        return [(row.astype(np.float64) * scale).astype(np.float32) for row in values]
    return (values.astype(np.float64) * scale).astype(np.float32)


def classify(logits: Floats, task: Task) -> Classification:
    """`logits` [labels] -> probabilities (softmax; sigmoid for multi_label) or values (regression)."""
    if task.problem == "regression":
        scores = logits
    elif task.problem == "multi_label_classification":
        scores = _sigmoid(logits)
    else:
        scores = _softmax(logits)
    best = int(np.argmax(scores))
    named = dict(zip(task.labels, map(float, scores), strict=True))
    return Classification(task.labels[best], float(scores[best]), named)


def word_spans(text: str, encoded: Encoded) -> list[tuple[int, int, int]]:
    """First token, first character and end of every word that the tokenizer finds in `text`."""
    spans: dict[int, tuple[int, int, int]] = {}
    for token, (word, (start, end)) in enumerate(zip(encoded.words, encoded.offsets, strict=True)):
        if word is not None:
            first, begin, _ = spans.get(word, (token, start, end))
            spans[word] = (first, begin, end)
    found = []
    for first, start, end in spans.values():
        while start < end and text[start].isspace():  # byte-level tokenizers may keep the blank
            start += 1
        found.append((first, start, end))
    return found


def label_words(logits: Floats, text: str, encoded: Encoded, task: Task) -> list[Word]:
    """`logits` [tokens, labels] -> the words of `text`, each with the label of its first sub-token."""
    labels, scores_of = task.labels, _sigmoid if task.problem == "multi_label_classification" else _softmax
    words: list[Word] = []
    for first, start, end in word_spans(text, encoded):
        probabilities = scores_of(logits[first])
        best = int(np.argmax(probabilities))
        words.append(Word(text[start:end], labels[best], float(probabilities[best]), start, end))
    return words


def entities(text: str, words: Sequence[Word]) -> list[Entity]:
    """Join neighbouring words with BIO labels into entities.

    "B-X" begins one; "I-X" (or a bare "X") continues one of type X, or begins it if none is open;
    "O" ends it.
    """
    found: list[Entity] = []
    group: list[Word] = []

    def close() -> None:
        if group:
            start, end = group[0].start, group[-1].end
            score = sum(word.score for word in group) / len(group)
            found.append(Entity(text[start:end], _entity_type(group[0]), score, start, end))
            group.clear()

    for word in words:
        continues = word.label[:2] != "B-" and group and _entity_type(group[0]) == _entity_type(word)
        if not continues:
            close()
        if word.label != "O":
            group.append(word)
    close()
    return found


def fill_masks(logits: Floats, encoded: Encoded, tokenizer: Tokenizer) -> list[Mask]:
    """`logits` [tokens, vocabulary] -> for every mask token of the text, in order, what may stand there."""
    masks = []
    for token in np.flatnonzero(encoded.ids == tokenizer.mask_id):
        probabilities = _softmax(logits[token])
        best = np.argsort(-probabilities, kind="stable")[:CANDIDATES]
        start, end = encoded.offsets[token]
        candidates = [Candidate(tokenizer.token(int(i)), int(i), float(probabilities[i])) for i in best]
        masks.append(Mask(start, end, candidates))
    return masks


def choose(logits: Floats, choices: Sequence[str]) -> Choice:
    """`logits` [choices] of one question -> the choice with the largest softmax."""
    scores = _softmax(logits)
    best = int(np.argmax(scores))
    return Choice(best, choices[best], float(scores[best]), [float(score) for score in scores])


def best_answer(windows: Sequence[Floats], context: str, encoded: Sequence[Encoded]) -> Answer:
    """`windows`, each logits [tokens, 2] (start, end) -> the best span of `context`.

    It is the one with the largest P(start) P(end) over the tokens of all windows, lies within one
    window's part of the context, and has at most `MAX_ANSWER_TOKENS` tokens.
    """
    lengths = [len(window) for window in windows]
    inside = np.concatenate([np.array([s == 1 for s in item.segments], bool) for item in encoded])
    first_tokens = np.cumsum([0, *lengths[:-1]])
    allowed = inside.copy()
    allowed[first_tokens] = True
    logits = np.concatenate(windows)
    start, end = (_softmax(np.where(allowed, column, -np.inf)) for column in logits.T)
    null = float((start[first_tokens] * end[first_tokens]).min())  # as SQuAD's evaluation takes it
    best, first, last = -1.0, 0, -1
    window_ends = np.repeat(np.cumsum(lengths), lengths)
    for i in np.flatnonzero(inside):
        stop = min(i + MAX_ANSWER_TOKENS, window_ends[i])
        products = np.where(inside[i:stop], start[i] * end[i:stop], -1.0)
        j = int(np.argmax(products))
        if products[j] > best:
            best, first, last = float(products[j]), int(i), int(i) + j
    if last < 0:
        return Answer("", 0.0, 0, 0, null)
    offsets = [offset for item in encoded for offset in item.offsets]
    begin, finish = offsets[first][0], offsets[last][1]
    return Answer(context[begin:finish], best, begin, finish, null)


def _entity_type(word: Word) -> str:
    return word.label[2:] if word.label[:2] in ("B-", "I-") else word.label


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float64)


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)), np.float64)
