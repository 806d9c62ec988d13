"""Every intermediate of a program: what quantization-aware training and comparisons look at."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pyqrt.program import Output, Program
from pyqrt.runtime.devices import find_device
from pyqrt.runtime.results import Integers

Int32 = npt.NDArray[np.int32]


def trace(
    program: Program,
    tensors: Mapping[str, npt.NDArray[np.integer]],
    ids: Int32,
    offsets: Int32,
    types: Int32,
    *,
    threads: int = 1,
    device: str = "cpu",
) -> list[Integers]:
    """All buffers of `program` after a packed batch, by number: [tokens or sequences, width].

    The kernels and the order of a model file's session, with every buffer declared an output. tensors:
    the program's constants in file layout. ids, types: [tokens]; offsets: [sequences + 1]. threads: of
    device "cpu"; others as `pyqrt.load` names them.
    Raises ModelError as `Model` does, for programs as for batches, and for a device that is not there.
    """
    outputs = tuple(Output(str(number), number, 1.0) for number in range(len(program.buffers)))
    whole = program._replace(outputs=outputs)
    where = find_device(device, threads=threads if device == "cpu" else None)
    session = where.new_session(where.new_model(whole.to_dict(), dict(tensors)))
    buffers: list[Integers] = session.run(ids, offsets, types)
    return buffers
