"""CoNLL-2003: named entities (Tjong Kim Sang and De Meulder 2003, arXiv cs/0306050)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from seqeval.metrics.sequence_labeling import get_entities

from pyqrt.errors import ModelError
from pyqrt.eval.metrics import ENTITY_F1, Metric, Rows
from pyqrt.eval.predict import Predictor
from pyqrt.eval.table import read_table
from pyqrt.runtime import Task

_TAG = re.compile(r"O|[BI]-(.+)")


@dataclass(frozen=True)
class TaggedTokens:
    """A sentence's tokens and the BIO tag of each."""

    tokens: list[str]
    tags: list[str]

    def starts(self) -> list[int]:
        """The first character of every token in the text, which is the tokens joined by blanks."""
        ends = np.cumsum([len(token) + 1 for token in self.tokens])
        return [0, *map(int, ends[:-1])]


class Entities:
    """F1 of whole entities: type, first and last token must be right."""

    def metrics(self, head: Task) -> tuple[Metric, ...]:
        """Of rows (rightly found, found, true entities)."""
        return (ENTITY_F1,)

    def read(self, path: Path) -> list[TaggedTokens]:
        """A table of `tokens` and `tags`, joined by blanks."""
        examples = []
        for where, (tokens, tags) in read_table(path, [("tokens", "tags")]):
            example = TaggedTokens(tokens.split(" "), tags.split(" "))
            if len(example.tokens) != len(example.tags):
                raise ModelError(f"{where}: {len(example.tokens)} tokens but {len(example.tags)} tags")
            _types(example.tags, where)
            examples.append(example)
        return examples

    def check(self, head: Task, labels: Sequence[str], examples: Sequence[TaggedTokens]) -> dict[str, str]:
        """The BIO tag for each label in the model file."""
        if head.kind != "token_classification":
            raise ModelError(f"the model is for {head.kind}; this task needs token_classification")
        tags = [tag for example in examples for tag in example.tags]
        unknown = _types(tags, "the data") - _types(labels, "the model's labels")
        if unknown:
            raise ModelError(
                f"the data have entities of type {', '.join(sorted(unknown))}; the model's labels are "
                f"{', '.join(labels)}. Give their tags in the model's order: labels=[...], on the command "
                "line --labels O,B-PER,..."
            )
        return dict(zip(head.labels, labels, strict=True))

    def score(self, predict: Predictor, reading: dict[str, str], examples: Sequence[TaggedTokens]) -> Rows:
        """(rightly found, found, true) entities of every example.

        A token's tag is that of its first piece; "O" if it has none (it was cut, or is no text to the
        tokenizer).
        """
        rows = []
        results = predict([" ".join(example.tokens) for example in examples])
        for example, words in zip(examples, results, strict=True):
            tag_at = {word.start: reading[word.label] for word in words}
            found = set(get_entities([tag_at.get(start, "O") for start in example.starts()]))
            true = set(get_entities(example.tags))
            rows.append((len(found & true), len(found), len(true)))
        return np.array(rows, np.float64)


def _types(tags: Sequence[str], source: str) -> set[str]:
    """The entity types of BIO tags. Raises ModelError for what is no BIO tag."""
    matches = {tag: _TAG.fullmatch(tag) for tag in tags}
    wrong = [tag for tag, match in matches.items() if match is None]
    if wrong:
        raise ModelError(
            f"{source}: {', '.join(map(repr, wrong[:8]))} are no BIO tags (O, B-type, I-type); "
            "a model's can be given as labels=[...], on the command line --labels O,B-PER,..."
        )
    return {match[1] for match in matches.values() if match and match[1]}
