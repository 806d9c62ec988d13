from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyqrt.train.batches import WINDOW, epoch_batches


@given(st.lists(st.integers(1, 512), max_size=400), st.integers(1, 40), st.integers(0, 9))
def test_every_example_once_in_batches_of_the_asked_size(lengths: list[int], size: int, epoch: int) -> None:
    batches = epoch_batches(lengths, size, 0, epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert sum(len(batch) != size for batch in batches) == (len(lengths) % size > 0)
    assert batches == epoch_batches(lengths, size, 0, epoch)


def test_seed_and_epoch_change_the_order() -> None:
    lengths = list(range(1, 100))
    orders = [epoch_batches(lengths, 4, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(orders[i] != orders[j] for i in range(4) for j in range(i))


def test_batches_hold_like_lengths() -> None:
    lengths = [1 + index % 64 for index in range(WINDOW * 64)]
    for batch in epoch_batches(lengths, 64, 0, 0):
        spread = [lengths[index] for index in batch]
        assert max(spread) - min(spread) <= 4
