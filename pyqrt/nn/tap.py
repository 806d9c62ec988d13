"""Named places in the encoder where calibration looks and quantization-aware training acts."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

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
