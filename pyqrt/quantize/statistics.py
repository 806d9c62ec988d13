"""What calibration remembers of every tensor, in memory that does not grow with the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from pyqrt.grids import Vector
from pyqrt.nn import Encoder

HISTOGRAM_BINS = 4096


@dataclass(frozen=True)
class PackedBatch:
    """Token ids [tokens], token types [tokens] and offsets [sequences + 1] of packed sequences."""

    ids: torch.Tensor
    types: torch.Tensor
    offsets: list[int]

    def to(self, place: torch.device) -> PackedBatch:
        """The same batch on a device of torch's."""
        return PackedBatch(self.ids.to(place), self.types.to(place), self.offsets)


@dataclass
class ChannelStatistics:
    """Running extremes and moments of every channel of one tensor; float64 [width]."""

    low: Vector
    high: Vector
    total: Vector
    square_total: Vector
    count: int = 0

    @staticmethod
    def empty(width: int) -> ChannelStatistics:
        return ChannelStatistics(
            low=np.full(width, np.inf),
            high=np.full(width, -np.inf),
            total=np.zeros(width),
            square_total=np.zeros(width),
        )

    def add(self, rows: torch.Tensor) -> None:
        """Takes in rows [n, width]."""
        self.low = np.minimum(self.low, rows.amin(dim=0).double().numpy())
        self.high = np.maximum(self.high, rows.amax(dim=0).double().numpy())
        exact = rows.double()
        self.total += exact.sum(dim=0).numpy()
        self.square_total += exact.square().sum(dim=0).numpy()
        self.count += rows.shape[0]

    def second_moment(self, shift: Vector) -> Vector:
        """Mean square of every channel about `shift` [width]."""
        count = max(self.count, 1)
        moment = self.square_total / count - 2 * shift * self.total / count + np.square(shift)
        return np.asarray(np.maximum(moment, 0.0))

    @property
    def center(self) -> Vector:
        """Middle of every channel's range."""
        return np.asarray((self.low + self.high) / 2)

    def limit(self, shift: Vector | float = 0.0) -> Vector:
        """Largest distance of every channel from `shift`."""
        return np.maximum(np.abs(self.low - shift), np.abs(self.high - shift))


@dataclass
class Histogram:
    """Counts of ``(value - shift[c]) / factor[c]`` over equal bins of a known range."""

    low: float
    high: float
    factor: Vector
    shift: Vector
    counts: Vector = field(default_factory=lambda: np.zeros(HISTOGRAM_BINS))

    def add(self, rows: torch.Tensor) -> None:
        """Takes in rows [n, width]."""
        values = (rows.double() - torch.from_numpy(self.shift)) / torch.from_numpy(self.factor)
        self.counts += torch.histc(values, HISTOGRAM_BINS, self.low, self.high).numpy()

    @property
    def centers(self) -> Vector:
        """Middle of every bin."""
        edges = np.linspace(self.low, self.high, HISTOGRAM_BINS + 1)
        return np.asarray((edges[:-1] + edges[1:]) / 2)


def observe(
    encoder: Encoder,
    batches: Iterable[PackedBatch],
    observers: Mapping[str, Callable[[torch.Tensor], None]],
) -> None:
    """Runs the float encoder over `batches`, handing every named tap's rows [n, width] over."""
    taps = encoder.taps()

    def watcher(record: Callable[[torch.Tensor], None]) -> Callable[[torch.Tensor], torch.Tensor]:
        def watch(value: torch.Tensor) -> torch.Tensor:
            record(value.detach().reshape(-1, value.shape[-1]))
            return value

        return watch

    try:
        for name, record in observers.items():
            taps[name].observer = watcher(record)
        with torch.inference_mode():
            for batch in batches:
                encoder(batch.ids, batch.offsets, batch.types)
    finally:
        for name in observers:
            taps[name].observer = None


def channel_statistics(encoder: Encoder, batches: Iterable[PackedBatch]) -> dict[str, ChannelStatistics]:
    """One pass of calibration: statistics of every tap that the forward pass reaches."""
    statistics: dict[str, ChannelStatistics] = {}

    def recorder(name: str) -> Callable[[torch.Tensor], None]:
        def record(rows: torch.Tensor) -> None:
            if name not in statistics:
                statistics[name] = ChannelStatistics.empty(rows.shape[1])
            statistics[name].add(rows)

        return record

    observe(encoder, batches, {name: recorder(name) for name in encoder.taps()})
    return statistics
