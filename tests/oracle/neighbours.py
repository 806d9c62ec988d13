"""neighbours: csrc/ops/neighbours/neighbours.h."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray


def neighbours(input: NDArray[np.int16], offsets: ArrayLike, *, reach: int = 1) -> NDArray[np.int16]:
    """[tokens, (2 reach + 1) width] from [tokens, width]; zeros beyond a sequence and for rows of none."""
    tokens, width = input.shape
    output = np.zeros((tokens, 2 * reach + 1, width), np.int16)
    for begin, end in pairwise(int(edge) for edge in np.ravel(offsets)):
        for token in range(begin, end):
            for block in range(2 * reach + 1):
                source = token + reach - block
                if begin <= source < end:
                    output[token, block] = input[source]
    return output.reshape(tokens, (2 * reach + 1) * width)
