"""The committed hashes hold on this machine, for every variant it runs.

A hash may change only on purpose: `python tools/update_golden.py` writes them anew, and the
CHANGELOG says why the bits changed.
"""

from __future__ import annotations

import pytest
from golden_hashes import Built, build_hashes, demo_program, output_hash, read_hashes

from pyqrt import _runtime
from tiny_encoders import tiny_configurations, tiny_program
from trained_checkpoints import MISSING, demo_checkpoint

SUPPORTED = [isa["name"] for isa in _runtime.isas() if isa["supported"]]
NUMBERS = [number for name, number in tiny_configurations() if name == "bert"]


@pytest.mark.parametrize("number", NUMBERS)
def test_tiny_bert(number: int) -> None:
    built, expected = tiny_program(number), read_hashes()[f"tiny-bert-{number}"]
    assert build_hashes(built) == {key: expected[key] for key in ("program", "tensors")}
    assert {isa: output_hash(built, isa) for isa in SUPPORTED} == dict.fromkeys(
        SUPPORTED, expected["outputs"]
    )


@pytest.fixture(scope="module")
def demo() -> Built:
    checkpoint = demo_checkpoint()
    if checkpoint is None:
        pytest.skip(MISSING)
    return demo_program(checkpoint)


def test_demo_program(demo: Built) -> None:
    expected = read_hashes()["all-MiniLM-L6-v2"]
    assert build_hashes(demo) == {key: expected[key] for key in ("program", "tensors")}


@pytest.mark.parametrize("isa", SUPPORTED)
def test_demo_outputs(demo: Built, isa: str) -> None:
    assert output_hash(demo, isa) == read_hashes()["all-MiniLM-L6-v2"]["outputs"]
