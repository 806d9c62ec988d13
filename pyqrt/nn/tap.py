"""Named places in the encoder where calibration looks and quantization-aware training acts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from pyqrt.nn.encoder import Encoder

Observer = Callable[[Tensor], Tensor]


class Tap(nn.Module):
    """The identity, or `observer` where one is set.

    An observer gets the activation, float [rows, width], and returns what the encoder goes on with: the
    tensor itself to record it, another one of the same shape to fake-quantize it.
    """

    observer: Observer | None

    def __init__(self) -> None:
        super().__init__()
        self.observer = None

    def forward(self, x: Tensor) -> Tensor:
        """`x` as the observer returns it, same shape."""
        return x if self.observer is None else self.observer(x)


@contextmanager
def record(encoder: Encoder, names: Iterable[str]) -> Iterator[dict[str, list[Tensor]]]:
    """While open, what the encoder goes on with after each named tap, [rows, width], gradients included.

    A list for every name, in the order of `names`: layers that share a tap pass it in turn. Observers
    that are set stay in force. Raises KeyError for a name that is no tap.
    """
    taps = encoder.taps()
    before = {name: taps[name].observer for name in names}
    seen: dict[str, list[Tensor]] = {name: [] for name in before}

    def recorder(name: str, observer: Observer | None) -> Observer:
        def observe(x: Tensor) -> Tensor:
            seen[name].append(x if observer is None else observer(x))
            return seen[name][-1]

        return observe

    try:
        for name, observer in before.items():
            taps[name].observer = recorder(name, observer)
        yield seen
    finally:
        for name, observer in before.items():
            taps[name].observer = observer
