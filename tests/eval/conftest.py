from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

import small_model


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model files of random weights, not to be changed: one of each task, and some for special cases."""
    folder = tmp_path_factory.mktemp("models")
    task = small_model.Task
    models = {
        "embedding": small_model.EMBEDDING,
        "three": small_model.SEQUENCE,
        "two": task("sequence_classification", "logits", ("LABEL_0", "LABEL_1")),
        "value": task("sequence_classification", "logits", ("score",), "regression"),
        "several": task("sequence_classification", "logits", ("a", "b"), "multi_label_classification"),
        "tokens": small_model.TOKENS,
        "answers": small_model.ANSWERS,
    }
    for name, of_model in models.items():
        small_model.save(folder / f"{name}.qrt", of_model)
    small_model.save(folder / "mute.qrt", tokenizer=False)
    return folder
