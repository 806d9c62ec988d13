from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

import small_model


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model file of each task, not to be changed."""
    folder = tmp_path_factory.mktemp("models")
    for task in (small_model.EMBEDDING, small_model.SEQUENCE, small_model.TOKENS, small_model.ANSWERS):
        small_model.save(folder / f"{task.kind}.qrt", task)
    return folder
