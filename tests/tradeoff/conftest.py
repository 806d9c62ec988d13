from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))  # small_model

import small_model
from made_results import WORDS


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of random weights that chooses one of two labels."""
    task = small_model.Task("sequence_classification", "logits", ("LABEL_0", "LABEL_1"))
    return small_model.save(tmp_path_factory.mktemp("model") / "small.qrt", task)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled texts for it."""
    path = tmp_path_factory.mktemp("data") / "dev.tsv"
    lines = [f"{text}\t{number % 2}" for number, text in enumerate(WORDS)]
    path.write_text("\n".join(["sentence\tlabel", *lines]) + "\n")
    return path
