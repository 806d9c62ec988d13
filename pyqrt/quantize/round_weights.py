"""Weights and biases chosen in the order they run, each seeing the rounded layers before it.

A copy of the encoder, its activations on their grids, goes through the calibration batches layer by
layer. Every linear layer's weights are rounded on what it then reads (`gptq`), and its bias takes up
whatever has become of the mean of its output since the float encoder: bias correction, Nagel et al.
2019 (arXiv 1906.04721), after every layer instead of once.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyqrt.grids import Grid, Scales
from pyqrt.nn import Encoder
from pyqrt.nn.packing import Packing
from pyqrt.quantize.gptq import Moments, round_columns
from pyqrt.quantize.simulate import simulated, sources
from pyqrt.quantize.statistics import ChannelStatistics, PackedBatch

DAMPING = 0.01

Progress = Callable[[int, int], None]  # linear layers done, of

# The tap that sees a linear layer's output, where it is not called like the layer.
_OUTPUTS = {
    "output": "sum",
    "down": "sum",
    "projection": "projected",
    "word_projection": "sum",
    "transform": "pre_activation",
    "classifier": "output",
}


class _EnoughError(Exception):
    """The rest of a forward pass is of no interest."""


def round_weights(
    encoder: Encoder,
    scales: Scales,
    statistics: Mapping[str, ChannelStatistics],
    batches: Iterable[PackedBatch],
    damping: float = DAMPING,
    progress: Progress = lambda done, of: None,
) -> Encoder:
    """A copy of `encoder` whose weights lie on 8-bit grids that `pyqrt.lower` finds again.

    statistics: of the float encoder's taps over the same `batches`; they give the outputs' means.
    damping: `gptq.round_columns`.

    Memory: for every calibration token one row of the residual stream, and one covariance.
    """
    rounded = copy.deepcopy(encoder)
    groups = _groups(rounded)
    total, done = sum(len(group) for group in groups.values()), 0
    with torch.inference_mode(), simulated(rounded, scales):
        states = _start(batches)
        for prefix, run in _parts(rounded):
            for tap, group in groups.items():
                name = next(iter(group))
                if name.startswith(prefix):
                    places = _places(rounded, name)
                    _round_group(
                        rounded, group, scales.grids.get(tap), statistics, damping, states, places, run
                    )
                    done += len(group)
                    progress(done, total)
            for state in states:
                state.value = run(state)
    return rounded


@dataclass
class _State:
    """How far a batch has come: the arguments of what runs next."""

    packing: Packing
    value: Any


_Run = Callable[[_State], Any]


def _start(batches: Iterable[PackedBatch]) -> list[_State]:
    states = []
    for batch in batches:
        packing = Packing(batch.offsets, batch.ids)
        states.append(_State(packing, (batch.ids, packing.positions, batch.types)))
    return states


def _places(encoder: Encoder, name: str) -> int:
    """How often a module runs."""
    return encoder.config.layer_order.count(int(name.split(".")[1])) if name.startswith("layers.") else 1


def _parts(encoder: Encoder) -> Iterator[tuple[str, _Run]]:
    """Parts in the order they run: prefix of their modules' names, and how they run.

    A layer is a part; all of them are one where some share their weights.
    """
    order, layers = encoder.config.layer_order, encoder.layers

    def through(indices: Sequence[int]) -> _Run:
        def run(state: _State) -> Tensor:
            x: Tensor = state.value
            for index in indices:
                x = layers[index](x, state.packing)
            return x

        return run

    def head(state: _State) -> Tensor:
        x = state.value if encoder.norm is None else encoder.output_tap(encoder.norm(state.value))
        result: Tensor = encoder.head(x, state.packing)
        return result

    yield "embeddings.", lambda state: encoder.embeddings(*state.value)
    if len(set(order)) == len(order):
        for index in order:
            yield f"layers.{index}.", through([index])
    else:
        yield "layers.", through(order)
    yield "head.", head


def _groups(encoder: Encoder) -> dict[str, dict[str, nn.Linear]]:
    """The linear layers by name, those together that read one tap."""
    names = {module: name for name, module in encoder.named_modules()}
    groups: dict[str, dict[str, nn.Linear]] = {}
    for linear, tap in sources(encoder).items():
        groups.setdefault(tap, {})[names[linear]] = linear
    return groups


def _round_group(
    encoder: Encoder,
    group: Mapping[str, nn.Linear],
    grid: Grid | None,
    statistics: Mapping[str, ChannelStatistics],
    damping: float,
    states: Sequence[_State],
    places: int,
    run: _Run,
) -> None:
    """Rounds linear layers that read one tensor, on `grid` or int16, which the kernel reads as integers."""
    first = next(iter(group.values()))
    scale = torch.ones(first.in_features, dtype=torch.float64)
    shift = torch.zeros_like(scale)
    inputs = Moments(first.in_features)
    if grid is not None:
        scale, shift = torch.from_numpy(grid.scale), torch.from_numpy(grid.shift)
    add = functools.partial(_add, inputs, grid)
    outputs = {name: _output_tap(name) for name in group}
    means = _observe(encoder, first, add, list(outputs.values()), states, places, run)
    for name, linear in group.items():
        folded = linear.weight.double() * scale
        correctable = linear.bias is not None
        rounded = round_columns(folded, inputs.covariance if correctable else inputs.second_moment, damping)
        linear.weight.copy_(rounded / scale)
        if correctable:
            wanted = statistics[outputs[name]]
            change = rounded - folded
            drift = means[outputs[name]] + change @ inputs.mean + (change / scale) @ shift
            drift = drift - torch.from_numpy(wanted.total / max(wanted.count, 1))
            linear.bias.sub_(drift.to(linear.bias.dtype))


def _add(moments: Moments, grid: Grid | None, x: Tensor) -> None:
    """Adds what a linear layer reads: of a grid's values their integers, from the zero point on."""
    exact = x.double()
    if grid is None:
        moments.add(exact)
    else:
        moments.add(((exact - torch.from_numpy(grid.shift)) / torch.from_numpy(grid.scale)).float())


def _output_tap(name: str) -> str:
    """The tap that sees what a linear layer gives, for a block with the residual added."""
    prefix, _, kind = name.rpartition(".")
    return f"{prefix}.{_OUTPUTS.get(kind, kind)}"


def _observe(
    encoder: Encoder,
    linear: nn.Linear,
    add: Callable[[Tensor], None],
    outputs: Sequence[str],
    states: Sequence[_State],
    places: int,
    run: _Run,
) -> dict[str, Tensor]:
    """Hands what `linear` reads to `add`; the means [width] of the taps `outputs`.

    Every run ends when all of them have been seen as often as the part has `places`.
    """
    taps = encoder.taps()
    rounding = {name: taps[name].observer for name in outputs}
    totals: dict[str, Any] = dict.fromkeys(outputs, 0.0)
    rows = dict.fromkeys(outputs, 0)
    left = 0

    def observer(name: str) -> Callable[[Tensor], Tensor]:
        def observe(x: Tensor) -> Tensor:
            nonlocal left
            totals[name] = totals[name] + x.double().reshape(-1, x.shape[-1]).sum(dim=0)
            rows[name] += x.numel() // x.shape[-1]
            left -= 1
            if left == 0:
                raise _EnoughError
            round_to = rounding[name]
            return x if round_to is None else round_to(x)

        return observe

    handle = linear.register_forward_pre_hook(lambda _, args: add(args[0]))
    try:
        for name in outputs:
            taps[name].observer = observer(name)
        for state in states:
            left = len(outputs) * places
            with suppress(_EnoughError):
                run(state)
    finally:
        handle.remove()
        for name in outputs:
            taps[name].observer = rounding[name]
    return {name: totals[name] / max(rows[name], 1) for name in outputs}
