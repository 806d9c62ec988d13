"""Masked language models: how many masked tokens does the model name?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyqrt.errors import ModelError
from pyqrt.eval.metrics import MASKED_ACCURACY, Metric, Rows
from pyqrt.eval.predict import Predictor
from pyqrt.eval.table import read_text
from pyqrt.runtime import Task
from pyqrt.runtime.tokenization import Encoded

SHARE = 0.15  # of a text's tokens; as in Devlin et al. 2018, but all of them become the mask
MASKS = ("[MASK]", "<mask>")


@dataclass(frozen=True)
class Line:
    """number: of the line in its file; which tokens are masked depends on it alone."""

    number: int
    text: str


class MaskedTokens:
    """Accuracy over masked tokens."""

    def metrics(self, head: Task) -> tuple[Metric, ...]:
        """Of rows (named, masked tokens)."""
        return (MASKED_ACCURACY,)

    def read(self, path: Path) -> list[Line]:
        """One text per line; empty lines are skipped."""
        lines = [Line(number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), 1)]
        lines = [line for line in lines if line.text]
        if not lines:
            raise ModelError(f"{path} has no text")
        return lines

    def check(self, head: Task, labels: Sequence[str], examples: Sequence[Line]) -> None:
        """Whether the outputs are a masked language model's shows with the first of them."""
        if head.kind in ("embedding", "sequence_classification", "question_answering"):
            raise ModelError(f"the model is for {head.kind}; this task needs a masked language model")

    def score(self, predict: Predictor, reading: None, examples: Sequence[Line]) -> Rows:
        """(named, masked tokens) of every text."""
        mask = next((i for token in MASKS if (i := predict.tokenizer.id_of(token)) is not None), None)
        if mask is None:
            raise ModelError(f"the model's tokenizer has no mask token; looked for {' and '.join(MASKS)}")
        encoded = predict.encode([example.text for example in examples])
        chosen = [_chosen(example, item) for example, item in zip(examples, encoded, strict=True)]
        masked = [item.ids for item in encoded]
        for ids, places in zip(masked, chosen, strict=True):
            ids[places] = mask
        logits, _ = predict.run(masked, [item.types for item in encoded])
        rows = []
        for item, places, values in zip(encoded, chosen, logits, strict=True):
            if np.ndim(values) != 2 or values.shape[1] != predict.vocab_size:
                raise ModelError(
                    f"the model gives {list(np.shape(values))} numbers for a text; a masked language model "
                    f"gives one for each token and each of its {predict.vocab_size} words"
                )
            named = np.argmax(values[places], axis=1) == item.ids[places]
            rows.append((named.sum(), len(places)))
        return np.array(rows, np.float64)


def _chosen(line: Line, encoded: Encoded) -> list[int]:
    """The places to mask, at least one: the same for the same number of the line."""
    places = [place for place, special in enumerate(encoded.special) if not special]
    if not places:
        raise ModelError(f"line {line.number} has no tokens that could be masked; remove it")
    return sorted(random.Random(line.number).sample(places, max(1, round(SHARE * len(places)))))
