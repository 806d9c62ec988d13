"""Arrays of numpy that are not plain: off their alignment, masked, of classes of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ops.harness import random_s16
from pyqrt import ModelError, _ops, ops

RNG = np.random.default_rng(7)
ROWS = random_s16(RNG, 4, 16)
OFFSETS = np.array([0, 2, 4], np.int32)
TABLE = random_s16(RNG, 513)
SHIFTS = np.full(4, 40, np.int32)

# An operation of one array, which its kernel reads as a vector.
CALLS: list[tuple[str, Callable[[Any], Any], NDArray[Any]]] = [
    ("pool", lambda offsets: ops.pool(ROWS, offsets), OFFSETS),
    ("lookup", lambda table: ops.lookup(ROWS, table), TABLE),
    ("isqrt", ops.isqrt, np.arange(4, dtype=np.uint64)),
    ("exp2_neg", ops.exp2_neg, np.arange(4, dtype=np.uint16)),
    ("gelu_q10", ops.gelu_q10, np.arange(4, dtype=np.int16)),
    (
        "requantize",
        lambda acc: ops.requantize(acc, np.full(4, 1 << 30, np.int32), SHIFTS),
        np.arange(4, dtype=np.int32),
    ),
]
each_call = pytest.mark.parametrize(("name", "call", "array"), CALLS, ids=[name for name, _, _ in CALLS])


def misaligned(array: NDArray[Any]) -> NDArray[Any]:
    """A contiguous copy that starts one byte beyond a multiple of its element's size."""
    memory = np.zeros(array.nbytes + 1, np.uint8)
    copy: NDArray[Any] = np.ndarray(array.shape, array.dtype, memory.data, offset=1)
    copy[...] = array
    assert copy.flags.c_contiguous
    assert not copy.flags.aligned
    return copy


@each_call
def test_kernels_see_aligned_vectors(
    name: str, call: Callable[[Any], Any], array: NDArray[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = getattr(_ops, name)
    seen: list[NDArray[Any]] = []

    def spy(*arguments: Any) -> None:
        seen.extend(argument for argument in arguments if isinstance(argument, np.ndarray))
        kernel(*arguments)

    monkeypatch.setattr(_ops, name, spy)
    np.testing.assert_array_equal(call(misaligned(array)), call(array))
    assert len(seen) >= 4
    assert all(argument.flags.aligned for argument in seen)


@each_call
def test_masked_arrays_are_refused(name: str, call: Callable[[Any], Any], array: NDArray[Any]) -> None:
    for masked in (np.ma.array(array), np.ma.array(array, mask=True)):
        with pytest.raises(ModelError, match="is a masked array, whose mask would be ignored"):
            call(masked)


def test_masked_rows_are_refused() -> None:
    """Their range is that of what is not masked."""
    beyond = np.ma.array(np.full((4, 16), -32768, np.int16), mask=True)
    with pytest.raises(ModelError, match="input is a masked array"):
        ops.normalize(beyond)


class Claims(np.ndarray):
    """An array that says of its range what it likes."""

    def min(self, *_: Any, **__: Any) -> Any:
        return 0

    max = min


def test_ranges_are_of_the_memory() -> None:
    beyond = np.full((4, 16), -32768, np.int16).view(Claims)
    with pytest.raises(ModelError, match=r"input\[0, 0\] is -32768"):
        ops.normalize(beyond)
    assert type(ops.normalize(ROWS.view(Claims))) is np.ndarray
