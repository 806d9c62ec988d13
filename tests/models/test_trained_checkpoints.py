"""Trained checkpoints equal transformers on real text. PYQRT_CHECKPOINTS: a folder of them."""

from itertools import accumulate, pairwise

import pytest
import torch
from tokenizers import Tokenizer
from transformers_reference import TOLERANCE, load_reference, random_batch, reference_output

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


# In double precision: many layers amplify what single precision rounds.
@pytest.mark.filterwarnings("ignore:.*vocab.txt alone does not define")
@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in trained_checkpoints()])
def test_equals_transformers(path):
    encoder, checkpoint = load_checkpoint(path)
    if checkpoint.tokenizer_json is None:
        ids, offsets, types = random_batch(encoder, [1, 7, checkpoint.max_length])
    else:
        tokenizer = Tokenizer.from_str(checkpoint.tokenizer_json)
        tokenizer.enable_truncation(checkpoint.max_length)
        encodings = [tokenizer.encode(*texts) for pair in PAIRS for texts in (pair[:1], pair)]
        ids = torch.tensor([i for encoding in encodings for i in encoding.ids])
        types = torch.tensor([i for encoding in encodings for i in encoding.type_ids])
        offsets = [0, *accumulate(len(encoding.ids) for encoding in encodings)]
    types = types.clamp(max=max(encoder.config.type_vocab_size - 1, 0))
    with torch.no_grad():
        ours = encoder.double()(ids, offsets, types)
    head = encoder.config.head
    expected = reference_output(load_reference(path, head).double(), head, ids, offsets, types)
    assert max(end - begin for begin, end in pairwise(offsets)) == checkpoint.max_length
    assert (ours - expected).abs().max() < TOLERANCE
