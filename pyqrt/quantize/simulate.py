"""The float encoder with its tensors on their grids: nearly what the integer program computes.

Softmax, layer norm and GELU stay float; their integer forms add far less error than the grids.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from pyqrt.grids import MAX_S8, MAX_S16, Grid, Scales
from pyqrt.nn import Encoder


def on_grid(x: Tensor, grid: Grid | float) -> Tensor:
    """`x` [rows, width] rounded to the nearest values of a grid, or of an int16 scale."""
    if isinstance(grid, float):
        return (x / grid).add_(0.5).floor_().clamp_(-MAX_S16, MAX_S16).mul_(grid)
    scale, shift = torch.from_numpy(grid.scale).to(x.dtype), torch.from_numpy(grid.shift).to(x.dtype)
    q = (x - shift).div_(scale).add_(0.5).floor_()
    return q.clamp_(-MAX_S8 - grid.zero_point, MAX_S8 - grid.zero_point).mul_(scale).add_(shift)


@contextmanager
def simulated(encoder: Encoder, scales: Scales) -> Iterator[None]:
    """Within the context, `encoder` rounds its activations to `scales`; its weights are its own.

    Int16 tensors are rounded where they arise, int8 ones where a linear layer reads them, since the
    residual stream has both forms, or where they arise if none does. A layer that has several places reads
    at each what stands before it, on the grid of that. `scales` need not have every tensor: the others
    stay as they are.
    """
    taps, handles, read = encoder.taps(), [], all_sources(encoder)
    several = {name for names in read.values() if len(names) > 1 for name in names}
    origin = WeakIdKeyDictionary()  # tensor -> which of `several` saw it

    def rounding(name: str, grid: Grid | float | None) -> Callable[[Tensor], Tensor]:
        def observe(x: Tensor) -> Tensor:
            rounded = x if grid is None else on_grid(x, grid)
            if name in several:
                origin[rounded] = name
            return rounded

        return observe

    def reading(names: list[str]) -> Callable[[nn.Module, Any], Any]:
        def read_one(_: nn.Module, inputs: Any) -> Any:
            name = names[0] if len(names) == 1 else origin[inputs[0]]
            return (on_grid(inputs[0], scales.grids[name]),) if name in scales.grids else None

        return read_one

    known = {name for names in read.values() for name in names}
    unread = {name: grid for name, grid in scales.grids.items() if name not in known}
    try:
        for name, grid in (dict.fromkeys(several) | unread | scales.wide).items():
            taps[name].observer = rounding(name, grid)
        for linear, names in read.items():
            if any(name in scales.grids for name in names):
                handles.append(linear.register_forward_pre_hook(reading(names)))
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
    return {linear: names[-1] for linear, names in all_sources(encoder).items()}


def all_sources(encoder: Encoder) -> dict[nn.Linear, list[str]]:
    """Taps of the tensors that each linear layer reads: several if its layer stands after different ones."""
    found: dict[nn.Linear, list[str]] = defaultdict(list)
    for name, linears in encoder.readers().items():
        for linear in linears:
            found[linear].append(name)
    head = encoder.head
    if head.transform is not None:
        found[head.transform] = ["head.pooled"]
    before = "head.activation"
    if head.ffn is not None:
        found[head.ffn.up] = [encoder.stream_tap(encoder.config.layer_order[-1])]
        found[head.ffn.down] = ["head.ffn.activation"]
        before = "head.ffn.output"
    if head.spans is not None:
        stream = encoder.stream_tap(encoder.config.layer_order[-1])
        for name, bound in (("start", head.spans.start), ("end", head.spans.end)):
            found[bound.question.linear] = ["head.spans.question"]
            found[bound.token.linear] = [stream]
            found[bound.classifier] = [f"head.spans.{name}.question.output"]
    if head.classifier is not None:
        found[head.classifier] = ["head.normalized" if head.norm is not None else before]
    return dict(found)
