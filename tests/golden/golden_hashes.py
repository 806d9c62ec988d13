"""What must be the same bytes on every machine: programs made from fixed scales, and what they compute.

Calibration is left out, since it sums floats in an order that depends on the machine.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from pyqrt import _runtime
from pyqrt.grids import Scales
from pyqrt.lower import lower
from pyqrt.program import Program
from pyqrt.quantize.checkpoint import load_checkpoint

HASHES = Path(__file__).parent / "hashes.json"
DEMO_SCALES = Path(__file__).parent / "all-MiniLM-L6-v2.scales.safetensors"

Built = tuple[Program, dict[str, np.ndarray]]


def demo_program(checkpoint: Path) -> Built:
    """all-MiniLM-L6-v2 at the committed scales."""
    encoder, _ = load_checkpoint(checkpoint)
    return lower(encoder, Scales.load(DEMO_SCALES))


def batch(program: Program) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ids, offsets and types of sequences of many lengths, from 1 to the longest."""
    random, most = np.random.RandomState(7), program.limits.max_length
    lengths = sorted({n for n in (1, 2, 3, 15, 16, 17, 31, 33, 47, 64, 65, 128, most) if n <= most})
    offsets = np.cumsum([0, *lengths]).astype(np.int32)
    ids = random.randint(0, program.limits.vocab_size, offsets[-1]).astype(np.int32)
    types = random.randint(0, program.limits.type_vocab_size, offsets[-1]).astype(np.int32)
    return ids, offsets, types


def build_hashes(built: Built) -> dict[str, str]:
    """SHA-256 of a program's description and of its constants, in the file's order."""
    program, tensors = built
    text = json.dumps(program.to_dict(), sort_keys=True, separators=(",", ":"))
    constants = hashlib.sha256()
    for name, tensor in tensors.items():
        constants.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
        constants.update(tensor.tobytes())
    return {"program": hashlib.sha256(text.encode()).hexdigest(), "tensors": constants.hexdigest()}


def output_hash(built: Built, isa: str, threads: int = 2) -> str:
    """SHA-256 of what one variant computes for `batch`."""
    program, tensors = built
    model = _runtime.Model(program.to_dict(), tensors, isa)
    (values,) = _runtime.Session(model, threads).run(*batch(program))
    return hashlib.sha256(values.tobytes()).hexdigest()


def read_hashes() -> dict[str, Any]:
    """The committed hashes."""
    return dict(json.loads(HASHES.read_text()))
