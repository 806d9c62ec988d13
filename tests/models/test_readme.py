"""The page that shows a family from nothing: its file works as it stands there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from transformers_reference import TOLERANCE, largest_difference, save_tiny

import pyqrt.models
from oracle import program as oracle
from pyqrt.errors import ModelError
from pyqrt.quantize.api import quantize_encoder
from pyqrt.quantize.checkpoint import load_checkpoint
from pyqrt.runtime.model import Model
from tiny_encoders import mixed_lengths, random_sequences

README = Path(__file__).parents[2] / "models" / "README.md"


@pytest.fixture(scope="module")
def ernie() -> Iterator[ModuleType]:
    """The page's file, in the package as if it lay in the folder."""
    (source,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    module = ModuleType("pyqrt.models.ernie")
    exec(compile(source, "ernie.py", "exec"), module.__dict__)
    files = pyqrt.models._files()
    sys.modules[module.__name__] = module
    files["ernie"] = "ernie"
    yield module
    del sys.modules[module.__name__], files["ernie"]


def test_it_equals_transformers_and_its_integers_the_oracle(ernie: ModuleType, tmp_path: Path) -> None:
    for number, hf in enumerate(ernie.tiny()):
        directory = save_tiny(hf, tmp_path / str(number))
        encoder, _ = load_checkpoint(directory)
        longest = encoder.config.max_length
        assert largest_difference(encoder, directory, lengths=[1, longest, 5], with_types=True) < TOLERANCE
        file = quantize_encoder(encoder, random_sequences(encoder, mixed_lengths(encoder, 16)))
        sequences = random_sequences(encoder, [1, longest], seed=1)
        ids, types = [s.ids for s in sequences], [s.types for s in sequences]
        (expected,) = oracle.run(file.program, file.tensors, ids, types).values()
        values, _ = Model(file).run(ids, types)
        actual = np.concatenate([np.atleast_2d(rows) for rows in values])
        np.testing.assert_array_equal(actual, np.asarray(expected, np.int64))


def test_it_refuses_what_it_says(ernie: ModuleType) -> None:
    with pytest.raises(ModelError, match="use_task_id is True: rows for kinds of tasks"):
        ernie.configure(ernie.tiny()[0] | {"use_task_id": True}, None)


def test_the_table_lists_the_files() -> None:
    listed = set(re.findall(r"`(\w+)\.py`", README.read_text().split("## A family from nothing")[0]))
    files = {path.stem for path in Path(pyqrt.models.__file__).parent.glob("*.py")} - {"__init__"}
    assert listed - {"__init__", "huggingface"} == files
