"""attention on GPUs: lengths around every tile, heads of every width, packing."""

from __future__ import annotations

import pytest

from gpu import calls
from gpu.targets import Target
from ops.harness import difference
from ops.test_attention import Case, blocks, global_queries, make_case, relative, until
from pyqrt import ops


def check(target: Target, case: Case, longest: int | None = None) -> None:
    problem = difference(calls.attention(target, case, longest), ops.attention(**case, variant="reference"))
    assert not problem, problem


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128])
def test_rows_of_one_warp(target: Target, length: int) -> None:
    check(target, make_case(1, [length], 2, 32))


@pytest.mark.parametrize(("length", "head_dim"), [(129, 64), (256, 32), (257, 64), (260, 100), (512, 32)])
def test_rows_of_several_warps(target: Target, length: int, head_dim: int) -> None:
    check(target, make_case(2, [length], 1, head_dim))


@pytest.mark.parametrize(("length", "head_dim"), [(513, 64), (1025, 32), (600, 80)])
def test_rows_that_pass_by_twice(target: Target, length: int, head_dim: int) -> None:
    check(target, make_case(3, [length], 1, head_dim))


@pytest.mark.parametrize("head_dim", [1, 3, 15, 16, 26, 31, 33, 48, 63, 65, 96, 128, 129, 1024])
def test_head_dims(target: Target, head_dim: int) -> None:
    check(target, make_case(4, [35], 2, head_dim))
    check(target, make_case(4, [16], 1, head_dim, extreme=True))


@pytest.mark.parametrize("window", [0, 1, 16, 70])
def test_windows(target: Target, window: int) -> None:
    check(target, make_case(8, [77, 5], 2, 33) | {"window": window})
    check(target, make_case(8, [520], 1, 16) | {"window": window})


@pytest.mark.parametrize("window", [0, 16, 40, 70, None])
def test_global_tokens(target: Target, window: int | None) -> None:
    for lengths, head_dim in (([77, 5, 200], 33), ([520], 16), ([150, 2], 70)):
        case = make_case(10, lengths, 2, head_dim) | {"window": window, "global_key": True}
        check(target, case)
        check(target, global_queries(case))
    check(target, relative(make_case(10, [140], 2, 18), 2, 9, 5, "bkq") | {"window": 9, "global_key": True})


@pytest.mark.parametrize("bound", ["until", "after"])
@pytest.mark.parametrize("window", [0, 16, 40, 70])
def test_global_tokens_until_and_after_another(target: Target, window: int, bound: str) -> None:
    for lengths, head_dim, firsts in (
        ([77, 5, 200], 33, [20, 0, 70]),
        ([520, 300], 16, [150, -1]),
        ([150, 2], 70, [40, 1]),
        ([400], 32, [33]),
    ):
        case = make_case(11, lengths, 2, head_dim) | {"window": window, "global_key": True}
        case = until(case, firsts, bound)
        check(target, case)
        check(target, case | {"global_query": True})
    case = until(make_case(11, [140], 2, 18), [19], bound) | {"window": window, "global_key": True}
    check(target, relative(case, 2, 9, 5, "bkq"))


@pytest.mark.parametrize("block", [1, 5, 16, 31, 32, 64])
def test_blocks(target: Target, block: int) -> None:
    for lengths, head_dim in (([77, 5, 200], 33), ([520], 16), ([150, 2], 70), ([3, 700], 64)):
        check(target, blocks(make_case(12, lengths, 2, head_dim), block, 7 * block))
    check(target, relative(blocks(make_case(12, [140], 2, 18), block, 0), 2, 9, 5, "bkq"))


@pytest.mark.parametrize("terms", ["b", "k", "q", "bkq"])
def test_relative_positions(target: Target, terms: str) -> None:
    for length, window in ((40, None), (140, 9)):
        case = relative(make_case(9, [length, 3], 2, 18), 2, 9, 5, terms)
        check(target, case | ({} if window is None else {"window": window}))


def test_the_polynomial_of_ibert(target: Target) -> None:
    check(target, make_case(7, [140, 20], 2, 32) | {"polynomial": "ibert"})


@pytest.mark.parametrize("lengths", [[5, 1, 17, 64], [0, 3, 0, 0, 130, 0], [1] * 20])
def test_packed(target: Target, lengths: list[int]) -> None:
    check(target, make_case(5, lengths, 3, 16))


@pytest.mark.parametrize("longest", [128, 256, 512, 2048])
def test_bytes_do_not_depend_on_the_tile(target: Target, longest: int) -> None:
    check(target, make_case(6, [50, 3, 128], 2, 40), longest)
