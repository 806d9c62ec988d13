"""Rows of tokens from tables, and rows that depend on the sequence they are in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyqrt import _ops
from pyqrt._arguments import (
    MAX_LENGTH,
    MAX_S8,
    MAX_S16,
    MAX_S32,
    POOL_KINDS,
    Array,
    check_range,
    choice,
    integer,
    like,
    matrix,
    sequence_offsets,
    token_ids,
    vector,
)
from pyqrt.errors import ModelError
from pyqrt.ops.on_gpus import also_on_gpus


@also_on_gpus
def embedding(
    tables: Sequence[tuple[Array, Array, Array]], *, shift: int, variant: str | None = None
) -> Array:
    """The sum of rows of 1 to 4 tables, int16 [rows, width] (csrc/ops/embedding/embedding.h).

    A table is (data int8 [entries, width] in [-127, 127], multiplier int16 [entries], not negative,
    index int32 [rows] in [0, entries)). multiplier * 2^-shift, shift in [1, 30], is the scale of a
    table's row over the output's.
    """
    integer("number of tables", len(tables), 1, 4)
    data: list[NDArray[Any]] = []
    multipliers: list[NDArray[Any]] = []
    indices: list[NDArray[Any]] = []
    for t, (table, multiplier, index) in enumerate(tables):
        width = data[0].shape[1] if data else None
        rows = np.ascontiguousarray(matrix(f"data of table {t}", table, np.int8, width=width))
        data.append(check_range(f"data of table {t}", rows, -MAX_S8, MAX_S8))
        factors = vector(f"multiplier of table {t}", multiplier, np.int16, rows.shape[0])
        multipliers.append(check_range(f"multiplier of table {t}", factors, 0, MAX_S16))
        count = indices[0].shape[0] if indices else None
        numbers = vector(f"index of table {t}", index, np.int32, count)
        indices.append(check_range(f"index of table {t}", numbers, 0, rows.shape[0] - 1))
    output = np.empty((indices[0].shape[0], data[0].shape[1]), np.int16)
    _ops.embedding(data, multipliers, indices, integer("shift", shift, 1, 30), output, variant)
    return like(tables[0][0], output)


@also_on_gpus
def pool(
    input: Array,
    offsets: Array,
    *,
    kind: str = "mean",
    ids: Array | None = None,
    token: int = 0,
    variant: str | None = None,
) -> Array:
    """One row per sequence at the same scale, int16 [sequences, width] (csrc/ops/pool/pool.h).

    input: int16 [tokens, width] in [-32767, 32767]. offsets: int32 [sequences + 1]. kind: "mean" of
    the tokens, rounded, the "first" or "last" token, the "max" of every column, or the first "token" whose
    id, of `ids` int32 [tokens], is `token`, the first of all if none is. An empty sequence gives zeros.
    """
    rows = check_range("input", matrix("input", input, np.int16), -MAX_S16, MAX_S16)
    ends = sequence_offsets(offsets, rows.shape[0], MAX_LENGTH)
    output = np.empty((ends.shape[0] - 1, rows.shape[1]), np.int16)
    chosen = _ops.PoolKind[choice("kind", kind, POOL_KINDS)]
    numbers = token_ids(ids, rows.shape[0], "kind 'token'") if kind == "token" else None
    _ops.pool(rows, ends, chosen, numbers, integer("token", token, 0, MAX_S32), output, variant)
    return like(input, output)


def neighbours(input: Array, offsets: Array, *, reach: int = 1, variant: str | None = None) -> Array:
    """Every row beside those around it in its sequence (csrc/ops/neighbours/neighbours.h).

    input: int16 [tokens, width]. offsets: int32 [sequences + 1]. reach: in [1, 16]. int16 [tokens,
    (2 reach + 1) width]: the rows `reach` after to `reach` before a token, zeros beyond its sequence. Rows of
    no sequence are zero.
    """
    rows = matrix("input", input, np.int16)
    ends = sequence_offsets(offsets, rows.shape[0], MAX_LENGTH)
    blocks = 2 * integer("reach", reach, 1, 16) + 1
    output = np.zeros((rows.shape[0], blocks * rows.shape[1]), np.int16)
    _ops.neighbours(rows, ends, reach, output, variant)
    return like(input, output)


def match(tokens: Array, rows: Array, offsets: Array, *, shift: int, variant: str | None = None) -> Array:
    """The product of every token's row with its sequence's, int32 [tokens] (csrc/ops/match/match.h).

    tokens: int16 [tokens, width], rows: int16 [sequences, width], in [-32767, 32767]. offsets: int32
    [sequences + 1]. shift: in [1, 16], width at most 2^shift; sums lose so many bits, rounded. Tokens of no
    sequence give 0.
    """
    of_tokens = check_range("tokens", matrix("tokens", tokens, np.int16), -MAX_S16, MAX_S16)
    width = of_tokens.shape[1]
    of_sequences = check_range("rows", matrix("rows", rows, np.int16, width=width), -MAX_S16, MAX_S16)
    ends = sequence_offsets(offsets, of_tokens.shape[0], MAX_LENGTH)
    if of_sequences.shape[0] != ends.shape[0] - 1:
        raise ModelError(
            f"rows has {of_sequences.shape[0]} rows; needed is one for each of {ends.shape[0] - 1} sequences"
        )
    if width > 1 << integer("shift", shift, 1, 16):
        raise ModelError(f"shift is {shift}, too little for a width of {width}: 2^shift must reach it")
    output = np.zeros((of_tokens.shape[0], 1), np.int32)
    _ops.match(of_tokens, of_sequences, ends, shift, output, variant)
    return like(tokens, output[:, 0])
