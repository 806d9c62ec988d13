"""How close does a model file stand to its float checkpoint, on texts or token ids of your own?

    python tools/closeness.py MODEL.qrt CHECKPOINT_DIR --data FILE [--every 3] [--tokens 320 --limit 24]
    python tools/closeness.py MODEL.qrt CHECKPOINT_DIR --data IDS.jsonl --mask 14

FILE: as for calibration: lines of text, a .tsv (a pair is two texts), or .jsonl of token ids. --tokens joins
the lines to documents of exactly so many tokens. --mask hides 15 % of every sequence's tokens, all but the
first and the last, behind the token of that id: a masked language model is then scored by how many it names.
Prints what `pyqrt quantize` reports of held-out texts, 1 - the mean cosine first, as JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pyqrt import ModelError, load
from pyqrt.nn import Encoder
from pyqrt.quantize.api import encode
from pyqrt.quantize.checkpoint import Checkpoint, load_origin
from pyqrt.quantize.gate import FloatRows, compare, float_outputs, integer_outputs
from pyqrt.quantize.texts import Encoded, Example, read_examples, read_token_ids
from pyqrt.runtime.tokenization import Tokenizer

SHARE = 0.15  # of a sequence's tokens are masked


def read(
    data: Path, encoder: Encoder, checkpoint: Checkpoint, every: int, limit: int | None, tokens: int | None
) -> list[Encoded]:
    """The sequences of `data`: every so many lines, at most `limit` sequences, of `tokens` each if given."""
    if data.suffix == ".jsonl":
        if tokens is not None:
            raise ModelError(f"{data} holds token ids; --tokens joins lines of text")
        return read_token_ids(data, encoder.config)[::every][:limit]
    if checkpoint.tokenizer_json is None:
        raise ModelError(f"{checkpoint.path} has no tokenizer: give token ids (.jsonl)")
    examples = read_examples(data)[::every]
    texts = [text for example in examples for text in (example.text, example.pair) if text is not None]
    tokenizer = Tokenizer(checkpoint.tokenizer_json, tokens or encoder.config.max_length)
    if tokens is None:
        chosen = [Example(text) for text in texts[:limit]]
        return encode(tokenizer, chosen, encoder.config.vocab_size)
    documents: list[Encoded] = []
    lines: list[str] = []
    for text in texts:
        lines.append(text)
        if len(documents) == limit:
            break
        (found,) = encode(tokenizer, [Example(" ".join(lines))], encoder.config.vocab_size)
        if len(found.ids) == tokens:  # cut there: the rest of its last line is left out
            documents.append(found)
            lines = []
    return documents


def masked(sequences: Sequence[Encoded], mask: int) -> tuple[list[Encoded], list[list[int]]]:
    """Copies with some tokens masked, and the places of those."""
    copies, places = [], []
    for number, sequence in enumerate(sequences):
        inner = range(1, len(sequence.ids) - 1)
        chosen = random.Random(number).sample(inner, min(len(inner), max(1, round(SHARE * len(inner)))))
        hidden = set(chosen)
        ids = [mask if place in hidden else token for place, token in enumerate(sequence.ids)]
        copies.append(Encoded(ids, sequence.types))
        places.append(chosen)
    return copies, places


def closeness(encoder: Encoder, model: Any, sequences: Sequence[Encoded], mask: int | None) -> dict[str, Any]:
    """The comparison of outputs; with `mask`, of the masked tokens' rows, and the share named rightly."""
    if not sequences:
        raise ModelError("the data gives no sequence: too few lines for documents of so many tokens?")
    shown, places = (sequences, None) if mask is None else masked(sequences, mask)
    expected, actual = float_outputs(encoder, shown), integer_outputs(model, shown)
    named = {}
    if places is not None:
        targets = [s.ids[place] for s, chosen in zip(sequences, places, strict=True) for place in chosen]
        expected, actual = (
            [rows[chosen] for rows, chosen in zip(outputs, places, strict=True)]
            for outputs in (expected, actual)
        )
        named = {name: _share(rows, targets) for name, rows in (("float", expected), ("integer", actual))}
    comparison = compare(encoder.config.head, expected, actual).to_dict()
    return {
        "one_minus_cosine": 1 - comparison["mean_cosine"],
        **comparison,
        **({"named": named} if named else {}),
        "sequences": len(sequences),
        "tokens": sum(len(s.ids) for s in sequences),
    }


def _share(rows: Sequence[FloatRows], targets: Sequence[int]) -> float:
    return float((np.concatenate(rows).argmax(axis=1) == np.array(targets)).mean())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="model file (.qrt)")
    parser.add_argument("checkpoint", type=Path, help="Hugging Face folder that it was made from")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="use every so many lines")
    parser.add_argument("--limit", type=int, help="use so many sequences")
    parser.add_argument("--tokens", type=int, help="join lines to documents of so many tokens")
    parser.add_argument("--mask", type=int, help="id of the mask token")
    arguments = parser.parse_args()
    try:
        model = load(arguments.model, threads=1)
        encoder, checkpoint = load_origin(arguments.checkpoint, model.task.kind, model.program)
        # a model file may take longer texts than the checkpoint says (pyqrt quantize --max-length)
        encoder.config = replace(encoder.config, max_length=model.limits.max_length)
        sequences = read(
            arguments.data, encoder, checkpoint, arguments.every, arguments.limit, arguments.tokens
        )
        print(json.dumps(closeness(encoder, model, sequences, arguments.mask), indent=2))
    except (ModelError, OSError) as error:
        print(f"closeness: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
