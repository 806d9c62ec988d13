"""attention: csrc/ops/attention/attention.h in exact integers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oracle import softmax
from oracle.budget import Ledger, budget, record, within
from oracle.exact import Exact, Integers, Interval
from oracle.fixed import INT8_VALUES, bit_length, rshr, sat8


def divide(
    a: Integers, b: Integers, e: Integers, rho: Integers, multiplier: int, exponent: int, zero_point: int
) -> Integers:
    """The output from A, the row's bit length b, pre-shift e and reciprocal rho."""
    within("output multiplier", multiplier, Interval(1 << 13, (1 << 14) - 1))
    within("output exponent", exponent, Interval(-8, 16))
    reduced = budget("A >> e", a >> e, 32)
    scale = budget("rho * output multiplier", rho * multiplier, 32)
    shift = within("final shift", b + 30 - exponent - e, Interval(1, 62))
    rounded = rshr(reduced * scale, shift, "A * scale", 64)
    return sat8(budget("output before saturation", rounded + zero_point, 32))


def reciprocal(total: int) -> tuple[int, int, int]:
    """b, e and rho of one row sum."""
    b = bit_length(total)
    normalised = total >> (b - 16) if b >= 16 else total << (16 - b)
    within("L'", normalised, Interval(1 << 15, (1 << 16) - 1))
    return b, max(0, b - 24), budget("rho", (2**32 - 1) // normalised, 18, signed=False)


def global_tokens(ids: list[int], until: int | None, after: int | None) -> slice:
    """Those of a sequence: its first one, those before `until`, or from the second behind `after` on."""
    if until is not None:
        return slice(0, ids.index(until) if until in ids else len(ids))
    if after is not None:
        return slice(min(ids.index(after) + 2, len(ids)) if after in ids else len(ids), len(ids))
    return slice(0, min(1, len(ids)))


def blocks(length: int, size: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which tokens see which, [length, length], and which are in neither the first nor the last block."""
    own = np.arange(length) // size
    ends = (own == 0) | (own == own[-1])
    near = np.abs(own[:, None] - own[None, :]) <= 1
    return near | ends[:, None] | ends[None, :], ~ends


def attention(
    query: NDArray[np.int8],
    key: NDArray[np.int8],
    value: NDArray[np.int8],
    offsets: ArrayLike,
    score_multiplier: ArrayLike,
    output_multiplier: ArrayLike,
    output_exponent: ArrayLike,
    *,
    zero_point: int = 0,
    polynomial: str = "minimax",
    window: int | None = None,
    global_key: bool = False,
    global_query: bool = False,
    until: int | None = None,
    after: int | None = None,
    ids: ArrayLike | None = None,
    block: int | None = None,
    block_beyond: int = 0,
    block_bias: ArrayLike = (),
    relative_index: ArrayLike | None = None,
    relative_bias: NDArray[np.int32] | None = None,
    relative_key: NDArray[np.int8] | None = None,
    relative_query: NDArray[np.int8] | None = None,
) -> NDArray[np.int8]:
    """[tokens, heads * head_dim] context of packed sequences; rows of no sequence stay 0."""
    for name, array in (("query", query), ("key", key), ("value", value)):
        within(name, Exact(array), INT8_VALUES)
    score_scale, scale, exponent = map(np.ravel, (score_multiplier, output_multiplier, output_exponent))
    heads = len(score_scale)
    d = query.shape[1] // heads
    edges = [int(edge) for edge in np.ravel(offsets)]
    output = np.zeros(key.shape, np.int8)
    for sequence, (begin, end) in enumerate(pairwise(edges)):
        names = [0] * (end - begin) if ids is None else list(np.ravel(ids)[begin:end])
        chosen = global_tokens(names, until, after)
        rows = np.arange(end - begin)[chosen if global_query else slice(None)]  # with a query
        own = begin + rows if until is not None or after is not None or not global_query else [sequence]
        for head in range(heads if len(rows) else 0):
            part = (slice(begin, end), slice(head * d, head * d + d))
            queries = query[own, head * d : head * d + d]
            to = (begin + rows, part[1])
            scores = Exact(queries).matmul(Exact(key[part].T))
            distance = rows[:, None] - np.arange(end - begin)[None, :]
            seen = np.abs(distance) <= (end if window is None else window)
            seen[:, chosen] |= global_key
            if block is not None and end - begin > block_beyond:
                seen, middle = blocks(end - begin, block)
                bias = within("block bias", int(np.ravel(block_bias)[head]), Interval.symmetric(2**28 - 1))
                first = np.outer(middle, np.arange(end - begin) < block)
                scores = scores + Exact(first.astype(np.int64) * bias)
            if relative_index is not None:
                reach = len(np.ravel(relative_index)) // 2
                table = np.ravel(relative_index)[np.clip(distance, -reach, reach) + reach]
                columns = slice(head * d, head * d + d)
                if relative_bias is not None:
                    within("relative bias", Exact(relative_bias), Interval.symmetric(2**28 - 1))
                    scores = scores + Exact(relative_bias[head][table])
                if relative_key is not None:
                    products = Exact(queries).matmul(Exact(relative_key[:, columns].T))
                    scores = scores + Exact(np.take_along_axis(products.values, table, 1))
                if relative_query is not None:
                    products = Exact(key[part]).matmul(Exact(relative_query[:, columns].T))
                    scores = scores + Exact(np.take_along_axis(products.values, table.T, 1).T)
            budget("S", scores, 25 if relative_index is None and block is None else 31)
            p, total = _probabilities(scores, seen, int(score_scale[head]), polynomial)
            a = budget("A", p.matmul(Exact(value[part])), 39)
            ends = [reciprocal(int(row)) for row in total.values]
            b, e, rho = (Exact(np.array(column)[:, None]) for column in zip(*ends, strict=True))
            result: Exact = divide(a, b, e, rho, int(scale[head]), int(exponent[head]), zero_point)
            output[to] = result.to(np.int8)
    return output


def _probabilities(
    scores: Exact, seen: NDArray[np.bool_], multiplier: int, polynomial: str
) -> tuple[Exact, Exact]:
    """P [queries, n], 0 where a token does not see another, and the row sums [queries]."""
    if seen.all():
        p, total = softmax.probabilities(scores, multiplier, polynomial)
        return p, total
    p_rows = np.zeros(seen.shape, np.int64)
    totals = []
    for i, keys in enumerate(seen):
        p, total = softmax.probabilities(Exact(scores.values[i : i + 1, keys]), multiplier, polynomial)
        p_rows[i, keys] = p.values[0]
        totals.append(int(total.values[0]))
    return Exact(p_rows), Exact(np.array(totals))


def worst_case(
    max_length: int,
    head_dim: int,
    score_multiplier: ArrayLike,
    output_multiplier: ArrayLike,
    output_exponent: ArrayLike,
    *,
    zero_point: int = 0,
    polynomial: str = "minimax",
    relative_bias: NDArray[np.int32] | None = None,
    block_bias: ArrayLike = 0,
    **tables: Any,
) -> Ledger:
    """The range of every intermediate over all queries, keys, values and lengths up to the limit.

    A row sum L bounds its own A by 127 L, so the last steps are proven bit length by bit length.
    """
    with record() as proven:
        products = 1 + sum(tables.get(name) is not None for name in ("relative_key", "relative_query"))
        bias = Interval.symmetric(0 if relative_bias is None else int(np.abs(relative_bias).max()))
        bias = bias + Interval.symmetric(int(np.abs(block_bias).max()))
        bits = 31 if tables or bias.high else 25
        scores = budget("S", INT8_VALUES * INT8_VALUES * head_dim * products + bias, bits)
        columns: list[Any] = list(map(np.ravel, (score_multiplier, output_multiplier, output_exponent)))
        for c, m, x in sorted({tuple(map(int, row)) for row in zip(*columns, strict=True)}):
            total = softmax.worst_case(max_length, c, scores.high, polynomial=polynomial)["sum"]
            for b in range(total.low.bit_length(), total.high.bit_length() + 1):
                low, high = max(total.low, 1 << (b - 1)), min(total.high, (1 << b) - 1)
                (_, e, most), (_, _, least) = reciprocal(low), reciprocal(high)
                a = budget("A", INT8_VALUES * high, 39)
                divide(a, b, e, Interval(least, most), m, x, zero_point)
    return proven
