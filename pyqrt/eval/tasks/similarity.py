"""STS-B: how alike two sentences are, by a regression head on the pair or the cosine of embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyqrt.errors import ModelError
from pyqrt.eval.metrics import PEARSON, SPEARMAN, Metric, Rows
from pyqrt.eval.predict import Predictor
from pyqrt.eval.table import read_table
from pyqrt.runtime import Task


@dataclass(frozen=True)
class ScoredPair:
    """Two sentences and their similarity."""

    text: str
    pair: str
    score: float


class Similarity:
    """Correlation of (true score, predicted score)."""

    def metrics(self, head: Task) -> tuple[Metric, ...]:
        """Of embeddings Spearman first, as is usual for each."""
        return (SPEARMAN, PEARSON) if head.kind == "embedding" else (PEARSON, SPEARMAN)

    def read(self, path: Path) -> list[ScoredPair]:
        """A table of `sentence1`, `sentence2`, `score` (or `label`, as the Hugging Face hub calls it)."""
        texts = ("sentence1", "sentence2")
        examples = []
        for where, (text, pair, cell) in read_table(path, [(*texts, "score"), (*texts, "label")]):
            try:
                score = float(cell)
            except ValueError:
                score = math.nan
            if not math.isfinite(score):
                raise ModelError(f"{where}: the score {cell!r} is no finite number")
            examples.append(ScoredPair(text, pair, score))
        return examples

    def check(self, head: Task, labels: Sequence[str], examples: Sequence[ScoredPair]) -> None:
        """Embeddings of sentences, or a regression of one value."""
        regression = head.kind == "sequence_classification" and head.problem == "regression"
        if head.kind != "embedding" and not (regression and len(head.labels) == 1):
            raise ModelError(
                f"the model is for {head.kind}; this task needs an embedding, or a "
                "sequence_classification that is a regression of one value"
            )

    def score(self, predict: Predictor, reading: None, examples: Sequence[ScoredPair]) -> Rows:
        """(true score, predicted score) of every example."""
        texts, pairs = [example.text for example in examples], [example.pair for example in examples]
        if predict.task.kind == "embedding":
            a, b = (np.asarray(predict(side), np.float64) for side in (texts, pairs))
            norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            scores = (a * b).sum(axis=1) / np.maximum(norms, np.finfo(np.float64).tiny)
        else:
            scores = np.array([result.score for result in predict(texts, pairs)])
        return np.stack([np.array([example.score for example in examples]), scores], axis=1)
