"""SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, arXiv 1606.05250; 2018, arXiv 1806.03822)."""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyqrt.errors import ModelError
from pyqrt.eval.metrics import Metric, Rows, mean_of
from pyqrt.eval.predict import Predictor
from pyqrt.eval.table import read_text
from pyqrt.runtime import Task

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Question:
    """answers: any of them is right; empty: the context does not answer the question."""

    question: str
    context: str
    answers: tuple[str, ...]


class Answers:
    """Exact match and F1 of words, each the best over a question's answers."""

    def metrics(self, head: Task) -> tuple[Metric, ...]:
        """Of rows (F1, exact match)."""
        return (mean_of("F1", 0), mean_of("exact match", 1))

    def read(self, path: Path) -> list[Question]:
        """The official JSON."""
        try:
            questions = [
                Question(
                    _text(item, "question"),
                    _text(paragraph, "context"),
                    tuple(_text(answer, "text") for answer in item["answers"]),
                )
                for article in json.loads(read_text(path))["data"]
                for paragraph in article["paragraphs"]
                for item in paragraph["qas"]
            ]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelError(f"{path} is not JSON in the form of SQuAD: {error!r}") from None
        if not questions:
            raise ModelError(f"{path} has no questions")
        return questions

    def check(self, head: Task, labels: Sequence[str], examples: Sequence[Question]) -> bool:
        """Whether there are questions without an answer, so that a model may give none."""
        if head.kind != "question_answering":
            raise ModelError(f"the model is for {head.kind}; this task needs question_answering")
        return any(not example.answers for example in examples)

    def score(self, predict: Predictor, reading: bool, examples: Sequence[Question]) -> Rows:
        """(F1, exact match) of every question."""
        results = predict([e.question for e in examples], [e.context for e in examples])
        rows = []
        for example, result in zip(examples, results, strict=True):
            text = "" if reading and result.no_answer_score > result.score else result.text
            answers = example.answers or ("",)
            rows.append(
                (
                    max(word_f1(text, answer) for answer in answers),
                    max(float(normalized(text) == normalized(answer)) for answer in answers),
                )
            )
        return np.array(rows, np.float64)


def _text(item: dict[str, Any], key: str) -> str:
    """Raises TypeError for null, and whatever else is no text."""
    text = item[key]
    if not isinstance(text, str):
        raise TypeError(f"{key} is {text!r:.80}; it must be a text")
    return text


def normalized(text: str) -> str:
    """In lower case, without punctuation, articles and more than one blank, as SQuAD compares answers."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def word_f1(predicted: str, true: str) -> float:
    """F1 of the words that two normalized answers share; of an empty one, whether both are."""
    a, b = normalized(predicted).split(), normalized(true).split()
    if not a or not b:
        return float(a == b)
    return 2.0 * (Counter(a) & Counter(b)).total() / (len(a) + len(b))
