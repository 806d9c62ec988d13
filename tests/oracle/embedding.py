"""embedding: csrc/ops/embedding/embedding.h in exact integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oracle.budget import Ledger, budget, record, within
from oracle.exact import Exact, Integers, Interval
from oracle.fixed import INT8_VALUES, rshr, sat16

Table = tuple[NDArray[np.int8], NDArray[np.int16], NDArray[np.int32]]  # data, multiplier, index


def embedding(tables: Sequence[Table], *, shift: int) -> NDArray[np.int16]:
    """[rows, width]: the sum of one row of every table, each times its own multiplier."""
    within("tables", len(tables), Interval(1, 4))
    total: Integers = 0
    for data, multiplier, index in tables:
        within("index", Exact(index), Interval(0, len(data) - 1))
        rows = within("entry", Exact(data[index]), INT8_VALUES)
        scale = within("multiplier", Exact(multiplier[index][:, None]), Interval(0, 32767))
        total = budget("sum", rows * scale + total, 25)
    result: Exact = sat16(rshr(total, shift, "sum"))
    return result.to(np.int16)


def worst_case(multipliers: Sequence[ArrayLike], shift: int) -> Ledger:
    """The range of every intermediate over all entries, from the multipliers of every table."""
    total: Any = Interval(0, 0)
    with record() as proven:
        within("tables", len(multipliers), Interval(1, 4))
        for multiplier in multipliers:
            scale = within("multiplier", Exact(multiplier), Interval(0, 32767)).extent()
            total = budget("sum", total + INT8_VALUES * Interval(0, scale.high), 25)
        rshr(total, shift, "sum")
    return proven
