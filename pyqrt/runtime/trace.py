"""Every intermediate of a program: what quantization-aware training and comparisons look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pyqrt import _runtime
from pyqrt.program import Output, Program
from pyqrt.runtime.tasks import Integers

Int32 = npt.NDArray[np.int32]


def trace(
    program: Program,
    tensors: Mapping[str, npt.NDArray[np.integer]],
    ids: Int32,
    offsets: Int32,
    types: Int32,
    *,
    threads: int = 1,
) -> list[Integers]:
    """All buffers of `program` after a packed batch, by number: [tokens or sequences, width].

    The kernels and the order of a model file's session, with every buffer declared an output. tensors:
    the program's constants in file layout. ids, types: [tokens]; offsets: [sequences + 1].
    Raises ModelError as `Model` does, for programs as for batches.
    """
    outputs = tuple(Output(str(number), number, 1.0) for number in range(len(program.buffers)))
    whole = replace(program, outputs=outputs)
    model = _runtime.Model(whole.to_dict(), dict(tensors), _runtime.default_isa())
    buffers: list[Integers] = _runtime.Session(model, threads).run(ids, offsets, types)
    return buffers
