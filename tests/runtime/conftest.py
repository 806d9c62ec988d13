from __future__ import annotations

from pathlib import Path

import pytest
import small_model

from pyqrt.runtime import Model, load


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model file of each task, not to be changed."""
    folder = tmp_path_factory.mktemp("models")
    for task in (small_model.EMBEDDING, small_model.SEQUENCE, small_model.TOKENS, small_model.ANSWERS):
        small_model.save(folder / f"{task.kind}.qrt", task)
    return folder


@pytest.fixture(scope="session")
def sound(folder: Path) -> Path:
    """A sound model file, not to be changed."""
    return folder / "embedding.qrt"


@pytest.fixture(scope="session")
def model(sound: Path) -> Model:
    return load(sound, threads=1)
