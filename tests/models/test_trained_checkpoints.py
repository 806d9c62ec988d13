"""Trained checkpoints equal transformers on real text. PYQRT_CHECKPOINTS: a folder of them."""

import pytest
import torch
from tokenizers import Tokenizer
from transformers_reference import TOLERANCE, load_reference, reference_output

from pyqrt.quantize.checkpoint import load_checkpoint
from trained_checkpoints import MISSING, trained_checkpoints

PAIRS = [
    ("The tide comes in twice a day.", "When is high water?"),
    ("", ""),
    ("Zürich-based naïve café: 漢字, emoji 🦊 and #tags!", "A second one"),
    ("word " * 600, "tail"),
]


def test_there_are_checkpoints():
    if not trained_checkpoints():
        pytest.skip(MISSING)


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in trained_checkpoints()])
def test_equals_transformers(path):
    encoder, checkpoint = load_checkpoint(path)
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer_json)
    tokenizer.enable_truncation(checkpoint.max_length)
    encodings = [tokenizer.encode(first) for first, _ in PAIRS] + [tokenizer.encode(*pair) for pair in PAIRS]
    ids = torch.tensor([i for encoding in encodings for i in encoding.ids])
    types = torch.tensor([i for encoding in encodings for i in encoding.type_ids])
    offsets = [0]
    for encoding in encodings:
        offsets.append(offsets[-1] + len(encoding.ids))
    with torch.no_grad():
        ours = encoder(ids, offsets, types)
    head = encoder.config.head
    expected = reference_output(load_reference(path, head), head, ids, offsets, types)
    assert max(len(encoding.ids) for encoding in encodings) == checkpoint.max_length
    assert (ours - expected).abs().max() < TOLERANCE
