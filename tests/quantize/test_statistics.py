"""Streaming statistics equal the statistics of everything at once, in constant memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyqrt.quantize.statistics import (
    HISTOGRAM_BINS,
    ChannelStatistics,
    Histogram,
    channel_statistics,
    observe,
)
from pyqrt.quantize.texts import pack, pack_one
from tiny_encoders import mixed_lengths, random_sequences, tiny_encoder


def test_channel_statistics_do_not_depend_on_how_rows_arrive() -> None:
    rows = torch.from_numpy(np.random.RandomState(0).randint(-50, 51, (96, 5)) / 8.0)
    whole, parts = ChannelStatistics.empty(5), ChannelStatistics.empty(5)
    whole.add(rows)
    for part in rows.split([1, 40, 55]):
        parts.add(part)
    for statistics in (whole, parts):
        np.testing.assert_array_equal(statistics.low, rows.numpy().min(axis=0))
        np.testing.assert_array_equal(statistics.high, rows.numpy().max(axis=0))
        np.testing.assert_array_equal(statistics.limit(), np.abs(rows.numpy()).max(axis=0))
        assert statistics.count == 96
    shift = np.arange(5) / 4.0
    # Multiples of 1/8 with few bits: float64 sums of their squares are exact in any order.
    np.testing.assert_array_equal(whole.second_moment(shift), parts.second_moment(shift))
    expected = np.square(rows.numpy() - shift).mean(axis=0)
    assert np.abs(whole.second_moment(shift) / expected - 1).max() < 1e-12


def test_histogram_counts_every_value_once() -> None:
    rows = torch.linspace(-1, 3, 1001, dtype=torch.float64).reshape(-1, 7)
    histogram = Histogram(-1.0, 3.0, factor=np.ones(7), shift=np.zeros(7))
    histogram.add(rows[:40])
    histogram.add(rows[40:])
    assert histogram.counts.sum() == 1001
    assert len(histogram.counts) == HISTOGRAM_BINS
    mean = (histogram.counts * histogram.centers).sum() / 1001
    assert abs(mean - 1.0) < 4 / HISTOGRAM_BINS


def test_every_tap_is_seen_and_left_clean() -> None:
    encoder = tiny_encoder("bert", 3)
    sequences = random_sequences(encoder, mixed_lengths(encoder, 5))
    statistics = channel_statistics(encoder, pack(sequences, batch_tokens=16))
    assert statistics.keys() == encoder.taps().keys()
    assert all(tap.observer is None for tap in encoder.taps().values())
    tokens = sum(len(s.ids) for s in sequences)
    assert statistics["layers.0.ffn.up"].count == tokens
    assert statistics["head.pooled"].count == len(sequences)


def test_observation_leaves_the_outputs_alone_and_cleans_up_after_an_error() -> None:
    encoder = tiny_encoder()
    batch = pack_one(random_sequences(encoder, [4, 2]))
    with torch.inference_mode():
        expected = encoder(batch.ids, batch.offsets, batch.types)
    seen: list[torch.Tensor] = []
    observe(encoder, [batch], {"head.output": seen.append})
    torch.testing.assert_close(seen[0] / seen[0].norm(dim=1, keepdim=True), expected, rtol=0, atol=1e-7)

    def fail(_: torch.Tensor) -> None:
        raise RuntimeError("observer failed")

    with pytest.raises(RuntimeError, match="observer failed"):
        observe(encoder, [batch], {"head.output": fail})
    assert encoder.taps()["head.output"].observer is None
