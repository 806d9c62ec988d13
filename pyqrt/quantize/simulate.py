"""The float encoder with its tensors on their grids: nearly what the integer program computes.

Softmax, layer norm and GELU stay float; their integer forms add far less error than the grids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pyqrt.grids import MAX_S8, MAX_S16, Grid, Scales
from pyqrt.nn import Encoder


def on_grid(x: Tensor, grid: Grid | float) -> Tensor:
    """`x` [rows, width] rounded to the nearest values of a grid, or of an int16 scale."""
    if isinstance(grid, float):
        return torch.floor(x / grid + 0.5).clamp(-MAX_S16, MAX_S16) * grid
    scale, shift = torch.from_numpy(grid.scale).to(x.dtype), torch.from_numpy(grid.shift).to(x.dtype)
    q = (torch.floor((x - shift) / scale + 0.5) + grid.zero_point).clamp(-MAX_S8, MAX_S8)
    return (q - grid.zero_point) * scale + shift


@contextmanager
def simulated(encoder: Encoder, scales: Scales) -> Iterator[None]:
    """Within the context, `encoder` rounds its activations to `scales`; its weights are its own.

    Int16 tensors are rounded where they arise, int8 ones where a linear layer reads them, since the
    residual stream has both forms, or where they arise if none does. `scales` need not have every tensor:
    the others stay as they are.
    """

    def rounding(grid: Grid | float) -> Callable[[Tensor], Tensor]:
        return lambda x: on_grid(x, grid)

    def reading(grid: Grid) -> Callable[[nn.Module, Any], Any]:
        return lambda _, inputs: (on_grid(inputs[0], grid),)

    taps, handles, read = encoder.taps(), [], sources(encoder)
    unread = {name: grid for name, grid in scales.grids.items() if name not in read.values()}
    try:
        for name, grid in (unread | scales.wide).items():
            taps[name].observer = rounding(grid)
        for linear, name in read.items():
            if name in scales.grids:
                handles.append(linear.register_forward_pre_hook(reading(scales.grids[name])))
        yield
    finally:
        for tap in taps.values():
            tap.observer = None
        for handle in handles:
            handle.remove()


def sources(encoder: Encoder) -> dict[nn.Linear, str]:
    """Tap of the tensor that each linear layer reads, the head's included, in the order they run.

    Of layers that share weights, the last place's.
    """
    found = {linear: name for name, linears in encoder.readers().items() for linear in linears}
    head = encoder.head
    if head.transform is not None:
        found[head.transform] = "head.pooled"
    before = "head.activation"
    if head.ffn is not None:
        found[head.ffn.up] = encoder.stream_tap(encoder.config.layer_order[-1])
        found[head.ffn.down] = "head.ffn.activation"
        before = "head.ffn.output"
    if head.classifier is not None:
        found[head.classifier] = "head.normalized" if head.norm is not None else before
    return found
