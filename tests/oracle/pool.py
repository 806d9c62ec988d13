"""pool: csrc/ops/pool/pool.h in exact integers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oracle.budget import Ledger, budget, record, within
from oracle.exact import Exact, Interval
from oracle.fixed import INT16_VALUES, rounded_mean


def pool(
    input: NDArray[np.int16],
    offsets: ArrayLike,
    *,
    kind: str = "mean",
    ids: ArrayLike | None = None,
    token: int = 0,
) -> NDArray[np.int16]:
    """[sequences, width] from [tokens, width]; an empty sequence gives zeros."""
    edges = [int(edge) for edge in np.ravel(offsets)]
    output = np.zeros((len(edges) - 1, input.shape[1]), np.int16)
    for row, (begin, end) in enumerate(pairwise(edges)):
        if end > begin and kind == "first":
            output[row] = input[begin]
        elif end > begin and kind == "last":
            output[row] = input[end - 1]
        elif end > begin and kind == "mean":
            total = budget("sum", Exact(input[begin:end]).sum(0), 32)
            output[row] = rounded_mean(total, end - begin).to(np.int16)
        elif end > begin and kind == "max":
            output[row] = input[begin:end].max(axis=0)
        elif end > begin and kind == "token":
            own = [int(number) for number in np.ravel(ids)[begin:end]]
            output[row] = input[begin + (own.index(token) if token in own else 0)]
        elif kind not in ("first", "last", "mean", "max", "token"):
            raise ValueError(f"unknown kind {kind!r}")
    return output


def worst_case(max_length: int) -> Ledger:
    """The range of every intermediate over all inputs."""
    with record() as proven:
        within("length", max_length, Interval(1, 65536))
        total = budget("sum", INT16_VALUES * max_length, 32)
        within("mean", rounded_mean(total, max_length), INT16_VALUES)
    return proven
