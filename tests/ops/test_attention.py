"""attention: head sizes, lengths, packing, extremes; independence of the batch."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ops.harness import check, packed_offsets, random_s8, signs, strided
from oracle import attention as oracle
from pyqrt import ModelError, ops

Case = dict[str, Any]

LENGTHS = (1, 2, 3, 15, 16, 17, 31, 33, 47, 48, 49, 63, 64, 65, 127, 128, 129)
HEAD_DIMS = (1, 2, 3, 4, 7, 8, 15, 16, 17, 26, 31, 32, 33, 48, 63, 64, 65, 80, 96, 128)


def parameters(rng: np.random.Generator, heads: int, head_dim: int) -> Case:
    """Scores spread over a few powers of two, outputs over the int8 range."""
    typical = 127 * 127 / 3 * head_dim**0.5
    return {
        "score_multiplier": (2**28 / typical * rng.uniform(0.2, 6, heads)).astype(np.int32) + 1,
        "output_multiplier": rng.integers(2**13, 2**14, heads).astype(np.int32),
        "output_exponent": rng.integers(0, 4, heads).astype(np.int32),
        "zero_point": int(rng.integers(-20, 21)),
    }


def make_case(seed: int, lengths: list[int], heads: int, head_dim: int, extreme: bool = False) -> Case:
    rng = np.random.default_rng([seed, heads, head_dim, *lengths])
    shape = (sum(lengths), heads * head_dim)

    def values() -> NDArray[np.int8]:
        return signs(rng, 127, *shape).astype(np.int8) if extreme else random_s8(rng, *shape)

    case = {"query": values(), "key": values(), "value": values(), "offsets": packed_offsets(lengths)}
    return case | parameters(rng, heads, head_dim)


def check_case(case: Case) -> None:
    check("attention", lambda variant: ops.attention(**case, variant=variant), oracle.attention(**case))


@pytest.mark.parametrize("head_dim", [16, 26, 32, 64])
@pytest.mark.parametrize("length", [1, 15, 16, 17, 64, 65, 512, 1033])
def test_lengths_and_heads(length: int, head_dim: int) -> None:
    check_case(make_case(1, [length], 1 if length > 500 else 3, head_dim))


@pytest.mark.parametrize("length", LENGTHS)
def test_lengths(length: int) -> None:
    check_case(make_case(2, [length], 2, 32))
    check_case(make_case(2, [length], 2, 32) | {"polynomial": "ibert"})
    check_case(make_case(2, [length], 1, 13))


@pytest.mark.parametrize("head_dim", [*HEAD_DIMS, 1024])
def test_head_dims(head_dim: int) -> None:
    check_case(make_case(3, [35], 2, head_dim))
    check_case(make_case(3, [16], 2, head_dim, extreme=True))


def relative(case: Case, heads: int, rows: int, reach: int, terms: str) -> Case:
    """The case with random relative tables: b(ias), k(eys), q(ueries)."""
    rng = np.random.default_rng([rows, reach])
    width = case["query"].shape[1]
    tables = {
        "b": ("relative_bias", rng.integers(-(2**17), 2**17, (heads, rows)).astype(np.int32)),
        "k": ("relative_key", random_s8(rng, rows, width)),
        "q": ("relative_query", random_s8(rng, rows, width)),
    }
    index = rng.integers(0, rows, 2 * reach + 1).astype(np.int32)
    return case | {"relative_index": index} | dict(tables[term] for term in terms)


@pytest.mark.parametrize("terms", ["b", "k", "q", "kq", "bkq"])
@pytest.mark.parametrize(("rows", "reach"), [(1, 0), (7, 3), (33, 40), (64, 200)])
def test_relative_positions(terms: str, rows: int, reach: int) -> None:
    for length, head_dim in ((1, 4), (17, 13), (50, 32), (130, 64)):
        case = make_case(20, [length, 3], 2, head_dim)
        check_case(relative(case, 2, rows, reach, terms))


def test_extreme_relative_positions() -> None:
    case = relative(make_case(21, [40], 1, 64, extreme=True), 1, 20, 11, "bkq")
    for name in ("relative_key", "relative_query"):
        case[name] = np.where(case[name] < 0, -127, 127).astype(np.int8)
    for bias in (2**28 - 1, 1 - 2**28):
        case["relative_bias"] = np.full((1, 20), bias, np.int32)
        case["relative_bias"][0, ::3] *= -1
        check_case(case)
        check_case(case | {"score_multiplier": np.array([1], np.int32)})


@pytest.mark.parametrize("window", [0, 1, 5, 15, 16, 17, 64, 5000])
def test_windows(window: int) -> None:
    for length, head_dim in ((1, 4), (16, 16), (35, 13), (130, 32), (300, 64)):
        case = make_case(22, [length, 5], 2, head_dim) | {"window": window}
        check_case(case)
    check_case(relative(case, 2, 9, 30, "bkq"))


@pytest.mark.parametrize("window", [0, 1, 5, 15, 16, 17, 31, 64, 5000])
def test_global_tokens_seen_beside_windows(window: int) -> None:
    for length, head_dim in ((1, 4), (16, 16), (35, 13), (130, 32), (300, 64)):
        case = make_case(25, [length, 5, 40], 2, head_dim) | {"window": window, "global_key": True}
        check_case(case)
    check_case(relative(case, 2, 9, 30, "bkq"))
    check_case(case | {"window": None})


def global_queries(case: Case) -> Case:
    """The case with one query for each sequence."""
    return case | {"global_query": True, "query": case["query"][: len(case["offsets"]) - 1]}


@pytest.mark.parametrize("length", [3, 16, 17, 65, 300, 1033])
def test_queries_of_global_tokens_only(length: int) -> None:
    for head_dim in (13, 32, 64):
        case = global_queries(make_case(26, [length, 1, 0, 20], 2, head_dim))
        check_case(case)
    check_case(relative(case, 2, 9, 30, "bkq") | {"window": 7})


def until(case: Case, places: list[int], bound: str = "until") -> Case:
    """The case with so many tokens before the one of `bound` in each sequence; -1: that is not there."""
    ids = np.zeros(len(case["key"]), np.int32)
    for (begin, end), place in zip(pairwise(case["offsets"].tolist()), places, strict=True):
        if 0 <= place < end - begin:
            ids[begin + place : end : 2] = 7  # the first of them counts
    return case | {"ids": ids, bound: 7}


@pytest.mark.parametrize("window", [0, 1, 5, 16, 17, 40, 5000])
@pytest.mark.parametrize("first", [0, 1, 2, 15, 16, 17, 33, 70, -1])
@pytest.mark.parametrize("bound", ["until", "after"])
def test_global_tokens_until_and_after_another(bound: str, first: int, window: int) -> None:
    for length, head_dim in ((1, 4), (2, 4), (35, 13), (130, 32), (300, 64)):
        case = make_case(27, [length, 5, 0, 40], 2, head_dim) | {"window": window}
        case = until(case, [first, 2, 0, -1], bound)
        check_case(case | {"global_key": True})
        check_case(case | {"global_key": True, "global_query": True})
    check_case(relative(case, 2, 9, 30, "bkq") | {"global_key": True})
    check_case(case | {"global_query": True, "window": None})


@pytest.mark.parametrize("bound", ["until", "after"])
def test_more_global_tokens_than_a_chunk(bound: str) -> None:
    for first in (0, 1024, 1100, 2050):
        case = until(make_case(28, [2100], 1, 8), [first], bound)
        check_case(case | {"window": 30, "global_key": True})


def test_long_windows_and_one_that_is_cut_in_chunks() -> None:
    for length, window in ((2100, 40), (2100, 1500)):
        check_case(make_case(23, [length], 1, 8) | {"window": window})
        check_case(make_case(23, [length], 1, 8) | {"window": window, "global_key": True})


def blocks(case: Case, block: int, beyond: int) -> Case:
    """The case with tokens that see blocks, and random biases of the first one."""
    heads = len(case["score_multiplier"])
    bias = np.random.default_rng(block).integers(-(2**16), 2**17, heads).astype(np.int32)
    return case | {"block": block, "block_beyond": beyond, "block_bias": bias}


@pytest.mark.parametrize("block", [1, 2, 3, 5, 8, 15, 16, 17, 31, 64])
def test_blocks(block: int) -> None:
    for length, head_dim in ((1, 4), (16, 16), (35, 13), (130, 32), (300, 64), (520, 8)):
        for beyond in (0, 5 * block, 11 * block):
            case = blocks(make_case(29, [length, 5, 0, 40], 2, head_dim), block, beyond)
            check_case(case)
    check_case(relative(case | {"block_beyond": 0}, 2, 9, 30, "bkq"))
    for bias in (2**28 - 1, 1 - 2**28):
        check_case(case | {"block_beyond": 0, "block_bias": np.array([bias, 0], np.int32)})


def test_blocks_longer_than_a_chunk_of_keys() -> None:
    for block in (64, 350, 1040):
        check_case(blocks(make_case(30, [2200], 1, 8), block, 0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": 2, "block_bias": None}, "block needs a block_bias"),
        ({"block": 2, "window": 3}, "block is for attention without window"),
        ({"block": 0}, "block is 0"),
        ({"block": None}, "need a block"),
        ({"block_bias": np.array([0], np.int32)}, "block_bias"),
        ({"block_bias": np.array([2**28, 0], np.int32)}, "block_bias"),
        ({"block_beyond": -1}, "block_beyond"),
    ],
)
def test_bad_blocks_are_named(change: Case, message: str) -> None:
    case = blocks(make_case(31, [6], 2, 4), 2, 0) | change
    with pytest.raises(ModelError, match=message):
        ops.attention(**case)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relative_index": None}, "need a relative_index"),
        ({"relative_index": np.zeros(4, np.int32)}, "odd number"),
        ({"relative_index": np.full(7, 5, np.int32)}, "relative_index"),
        ({"relative_index": np.full(7, -1, np.int32)}, "relative_index"),
        ({"relative_bias": np.full((2, 5), 2**28, np.int32)}, "relative_bias"),
        ({"relative_bias": np.zeros((2, 6), np.int32)}, "must have the same number"),
        ({"relative_bias": np.zeros((3, 5), np.int32)}, "relative_bias"),
        ({"relative_key": np.full((5, 8), -128, np.int8)}, "relative_key"),
        ({"relative_query": np.zeros((5, 9), np.int8)}, "relative_query"),
        ({"window": -1}, "window"),
    ],
)
def test_bad_relative_tables(change: Case, message: str) -> None:
    case = relative(make_case(24, [6], 2, 4), 2, 5, 3, "bkq")
    with pytest.raises(ModelError, match=message):
        ops.attention(**case | change)


@pytest.mark.parametrize("lengths", [[5, 1, 17, 64], [0, 3, 0, 0, 2, 0], [0], [16] * 9, [1] * 40])
def test_packed(lengths: list[int]) -> None:
    check_case(make_case(4, lengths, 3, 16))


def test_tokens_outside_sequences_get_zero() -> None:
    case = make_case(5, [4, 7, 20], 2, 16)
    case["offsets"] = np.array([4, 11, 11, 23], np.int32)
    expected = oracle.attention(**case)
    assert not expected[:4].any()
    assert not expected[23:].any()
    check_case(case)


def test_no_sequences() -> None:
    case = make_case(6, [3], 2, 16)
    check_case(case | {"offsets": np.array([0], np.int32)})
    empty = make_case(6, [0], 2, 16)
    check_case(empty)


@pytest.mark.parametrize("length", [1, 2, 17, 130, 1033, 2100])
def test_equal_rows(length: int) -> None:
    """Every key alike: the largest row sum, beyond 2^24 from 1025 keys on (e > 0)."""
    width = 6
    case = make_case(7, [length], 1, width)
    case |= {"query": np.full((length, width), 127, np.int8), "key": np.full((length, width), -127, np.int8)}
    for value in (127, -127):
        check_case(case | {"value": np.full((length, width), value, np.int8)})
    check_case(case)


@pytest.mark.parametrize("length", [2, 64, 200, 1033])
def test_one_key_takes_all(length: int) -> None:
    """A sink: one key far above the rest, whose value is 0, and the tail carries the answer."""
    case = make_case(8, [length], 1, 32)
    case["query"] = np.full_like(case["query"], 100)
    case["key"] = np.clip(case["key"], -10, 10)
    case["key"][length // 2] = 127
    case["value"][length // 2] = 0
    for multiplier in (1, 600, 6000, 2**31 - 1):
        check_case(case | {"score_multiplier": np.array([multiplier], np.int32)})


@pytest.mark.parametrize("exponent", range(-8, 17))
def test_every_output_exponent(exponent: int) -> None:
    for lengths in ([1], [2], [3, 40], [130]):
        case = make_case(9, lengths, 2, 16, extreme=True)
        for multiplier in (2**13, 2**14 - 1):
            check_case(
                case
                | {
                    "output_exponent": np.full(2, exponent, np.int32),
                    "output_multiplier": np.full(2, multiplier, np.int32),
                    "zero_point": 0 if exponent % 2 else 127,
                }
            )


def test_smallest_exponent_with_long_rows() -> None:
    """The largest final shift (62) needs a row sum of 24 bits or more."""
    case = make_case(10, [1033], 1, 4, extreme=True)
    case["score_multiplier"] = np.array([1], np.int32)
    for exponent in (-8, 16):
        check_case(case | {"output_exponent": np.array([exponent], np.int32)})


@pytest.mark.parametrize("multiplier", [1, 2, 65535, 65536, 2**24, 2**30, 2**31 - 1])
def test_score_multipliers(multiplier: int) -> None:
    case = make_case(11, [40, 9], 2, 26)
    check_case(case | {"score_multiplier": np.full(2, multiplier, np.int32)})
    check_case(make_case(11, [40], 2, 26, True) | {"score_multiplier": np.full(2, multiplier, np.int32)})


@pytest.mark.parametrize("multiplier", [2**31, 2**32 - 1])
def test_unsigned_score_multipliers(multiplier: int) -> None:
    case = make_case(12, [40, 9], 2, 26)
    check_case(case | {"score_multiplier": np.full(2, multiplier, np.uint32)})


@pytest.mark.parametrize("head_dim", [13, 16, 32, 64])
def test_columns_of_one_array(head_dim: int) -> None:
    """Q, K and V as column ranges of one buffer, as the runtime has them."""
    case = make_case(13, [33, 5], 2, head_dim)
    width = 2 * head_dim
    together = strided(np.concatenate([case["query"], case["key"], case["value"]], axis=1), margin=5)
    for i, name in enumerate(("query", "key", "value")):
        case[name] = together[:, i * width : (i + 1) * width]
    check_case(case)


def test_a_sequence_alone_or_among_others() -> None:
    lengths = [3, 70, 1, 16, 0, 35]
    case = make_case(14, lengths, 2, 26)
    offsets = case["offsets"]
    for variant in ops.variants("attention"):
        together = ops.attention(**case, variant=variant)
        for begin, end in pairwise(offsets):
            alone = {name: case[name][begin:end] for name in ("query", "key", "value")}
            alone["offsets"] = np.array([0, end - begin], np.int32)
            assert np.array_equal(ops.attention(**(case | alone), variant=variant), together[begin:end])


def test_constant_key_shift_changes_nothing() -> None:
    case = make_case(15, [50], 2, 32)
    case["key"] = (case["key"] // 4).astype(np.int8)
    moved = case | {"key": case["key"] + np.int8(60)}
    assert np.array_equal(ops.attention(**case), ops.attention(**moved))


@given(
    st.lists(st.integers(0, 70), min_size=1, max_size=4),
    st.integers(1, 4),
    st.integers(1, 70),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_any_case(lengths: list[int], heads: int, head_dim: int, extreme: bool, seed: int) -> None:
    check_case(make_case(seed, lengths, heads, head_dim, extreme))


def _bad(change: Case, words: str, error: type[Exception] = ModelError) -> Any:
    return pytest.param(change, words, error, id=f"{'-'.join(change)}: {words}")


def _i32(*values: int) -> NDArray[np.int32]:
    return np.array(values, np.int32)


@pytest.mark.parametrize(
    ("change", "words", "error"),
    [
        _bad({"query": np.zeros((6, 8), np.int16)}, "query", TypeError),
        _bad({"query": np.full((6, 8), -128, np.int8)}, "query"),
        _bad({"key": np.full((6, 8), -128, np.int8)}, "key"),
        _bad({"value": np.full((6, 8), -128, np.int8)}, "value"),
        _bad({"key": np.zeros((5, 8), np.int8)}, "key"),
        _bad({"value": np.zeros((6, 9), np.int8)}, "value"),
        _bad({"offsets": _i32(0, 4, 3, 6)}, "offsets|length"),
        _bad({"offsets": _i32(0, 7)}, "offsets"),
        _bad({"offsets": _i32(-1, 6)}, "offsets"),
        _bad({"offsets": _i32()}, "offsets"),
        _bad({"offsets": np.array([0, 6])}, "offsets", TypeError),
        _bad({"score_multiplier": _i32(1, 0)}, "score_multiplier"),
        _bad({"score_multiplier": _i32(1, -1)}, "score_multiplier"),
        _bad({"score_multiplier": _i32(1, 1, 1)}, "head"),
        _bad({"score_multiplier": _i32()}, "head"),
        _bad({"output_multiplier": _i32(2**13 - 1, 2**13)}, "output_multiplier"),
        _bad({"output_multiplier": _i32(2**14, 2**13)}, "output_multiplier"),
        _bad({"output_multiplier": _i32(2**13)}, "output_multiplier"),
        _bad({"output_exponent": _i32(0, -9)}, "output_exponent"),
        _bad({"output_exponent": _i32(17, 0)}, "output_exponent"),
        _bad({"zero_point": 128}, "zero_point"),
        _bad({"zero_point": -128}, "zero_point"),
        _bad({"global_query": True}, "query"),
        _bad({"until": 3}, "ids is None; until looks"),
        _bad({"until": 3, "ids": _i32(1, 2)}, "ids"),
        _bad({"until": 3, "after": 3, "ids": _i32(1, 2, 3, 4, 5, 6)}, "until and after: only one"),
        _bad({"after": 3}, "ids is None; after looks"),
        _bad({"until": -1, "ids": _i32(1, 2, 3, 4, 5, 6)}, "until"),
        _bad({"variant": "altivec"}, "altivec"),
    ],
)
def test_bad_arguments(change: Case, words: str, error: type[Exception]) -> None:
    zeros = np.zeros((6, 8), np.int8)
    arguments: Case = {
        "query": zeros,
        "key": zeros,
        "value": zeros,
        "offsets": _i32(0, 2, 6),
        "score_multiplier": _i32(1, 1),
        "output_multiplier": _i32(2**13, 2**13),
        "output_exponent": _i32(0, 0),
    }
    assert ops.attention(**arguments).shape == (6, 8)
    with pytest.raises(error, match=words):
        ops.attention(**(arguments | change))


def test_heads_too_wide() -> None:
    wide = np.zeros((1, 1025), np.int8)
    with pytest.raises(ModelError, match="1024"):
        ops.attention(wide, wide, wide, _i32(0, 1), _i32(1), _i32(2**13), _i32(0))


def test_sequence_too_long() -> None:
    tall = np.zeros((65537, 1), np.int8)
    with pytest.raises(ModelError, match="65536"):
        ops.attention(tall, tall, tall, _i32(0, 65537), _i32(1), _i32(2**13), _i32(0))
