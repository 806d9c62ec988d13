"""A tiny checkpoint directory with a tokenizer over letters."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from pyqrt.models import family
from tiny_encoders import tiny_encoder

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"abcdefghijklmnopqrstuvwxyz",
    "##a",
    "##e",
    "##n",
]


def checkpoint(
    directory: Path,
    number: int = 0,
    *,
    tokenizer: bool = True,
    name: str = "bert",
    task: str | None = None,
) -> Path:
    """A tiny checkpoint in Hugging Face form, with a word-piece vocabulary, of BERT or another family.

    task: the first tiny configuration of the family with that task, instead of its `number`.
    """
    described_by = family(name)
    if task is not None:
        tasks = [described_by.configure(hf, None).head.task for hf in described_by.tiny()]
        number = tasks.index(task)
    encoder = tiny_encoder(name, number)
    names = described_by.parameters(encoder.config)
    weights = {names[key].names[0]: value.detach().contiguous() for key, value in encoder.named_parameters()}
    directory.mkdir()
    save_file(weights, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(described_by.tiny()[number]))
    if tokenizer:
        words = (VOCABULARY + [f"word{i}" for i in range(encoder.config.vocab_size)])[
            : encoder.config.vocab_size
        ]
        (directory / "vocab.txt").write_text("\n".join(words) + "\n")
        (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    return directory
