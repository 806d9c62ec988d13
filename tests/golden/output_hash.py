"""What a program computes, as hashes: numpy and the runtime only, so it runs where PyTorch does not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyqrt import _runtime
from pyqrt.program import Program

HASHES = Path(__file__).parent / "hashes.json"

Built = tuple[Program, Mapping[str, npt.NDArray[Any]]]


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
    model = _runtime.Model(program.to_dict(), dict(tensors), isa)
    (values,) = _runtime.Session(model, threads).run(*batch(program))
    return hashlib.sha256(values.tobytes()).hexdigest()


def read_hashes() -> dict[str, Any]:
    """The committed hashes."""
    return dict(json.loads(HASHES.read_text()))
