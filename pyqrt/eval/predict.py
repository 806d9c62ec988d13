"""A model file, or a float checkpoint in its place, as a function from texts to results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pyqrt.errors import ModelError
from pyqrt.runtime import Model, Task
from pyqrt.runtime.results import Result
from pyqrt.runtime.texts import decode_outputs, encode_texts
from pyqrt.runtime.tokenization import Encoded, Ids, Tokenizer

Outputs = tuple[Any, float]  # of every sequence [width], or of every token [tokens, width]; their scale
Run = Callable[[Sequence[Ids], Sequence[Ids]], Outputs]  # token ids and types of every sequence


class Predictor:
    """Tokenizes texts as `model` does and gives what `run` makes of them."""

    def __init__(self, model: Model, run: Run, *, truncate: bool) -> None:
        """Raises ModelError for a model file without tokenizer."""
        if model.tokenizer is None:
            raise ModelError("the model file has no tokenizer, so it cannot be evaluated on text")
        self.task: Task = model.task
        self.tokenizer: Tokenizer = model.tokenizer
        self.vocab_size = model.limits.vocab_size
        self.run = run
        self.truncated = 0  # texts that were cut so far
        self._truncate = truncate

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Encoded]:
        """Tokens of every text or pair."""
        encoded = self.tokenizer.encode(texts, pairs, truncate=self._truncate)
        self.truncated += sum(item.truncated for item in encoded)
        return encoded

    def __call__(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Result:
        """The task's result for every text, as `Model.__call__` gives it."""
        groups = encode_texts(self.task, self.tokenizer, texts, pairs, truncate=self._truncate)
        encoded = [item for group in groups for item in group]
        if self.task.kind != "question_answering":  # whose windows cut nothing off
            self.truncated += sum(item.truncated for item in encoded)
        values, scale = self.run([item.ids for item in encoded], [item.types for item in encoded])
        return decode_outputs(self.task, self.tokenizer, values, scale, texts, pairs, groups)


def integer_run(model: Model) -> Run:
    """The integers of a model file."""
    typed = model.limits.type_vocab_size > 1
    return lambda ids, types: model.run(ids, types if typed else None)


def float_run(checkpoint: Path, model: Model) -> Run:
    """The float encoder of a checkpoint directory, which must have the head of `model`. Needs torch.

    Raises ModelError if the checkpoint cannot be read or is of another task, other labels or another
    vocabulary.
    """
    import torch

    from pyqrt.quantize.checkpoint import load_origin
    from pyqrt.quantize.texts import Encoded as Tokens
    from pyqrt.quantize.texts import pack_one

    encoder, _ = load_origin(checkpoint, model.task.kind, model.program)
    config = encoder.config
    labels = config.head.labels if model.task.labels else ()
    for what, theirs, ours in (
        ("labels", labels, model.task.labels),
        ("vocabulary", config.vocab_size, model.limits.vocab_size),
    ):
        if theirs != ours:
            raise ModelError(
                f"the {what} of {checkpoint}, {theirs}, differ from the model file's, {ours}; "
                "give the checkpoint that the model file was made from"
            )
    typed = config.type_vocab_size > 1

    def run(ids: Sequence[Ids], types: Sequence[Ids]) -> Outputs:
        sequences = [
            Tokens(i.tolist(), t.tolist() if typed else [0] * len(i)) for i, t in zip(ids, types, strict=True)
        ]
        batch = pack_one(sequences)
        with torch.inference_mode():
            values = encoder(batch.ids, batch.offsets, batch.types).numpy()
        if config.head.pooling is not None:
            return values, 1.0
        return [values[begin:end] for begin, end in pairwise(batch.offsets)], 1.0

    return run
