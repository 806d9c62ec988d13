"""Quantization-aware training: the forward pass is the integer program, the backward pass the floats'.

Every step lowers the float weights and scales anew and runs the program. In the float encoder's forward
pass each tapped tensor takes the value of the program's integers, so that the loss sees what the model
file will compute, to the bit; gradients pass straight through the rounding (Bengio et al. 2013, arXiv
1308.3432) and are those of the float functions at the dequantized values. Saturated values pass none.
The steps of the int8 grids and of the weights learn with the gradient of LSQ (Esser et al. 2020, arXiv
1902.08153). There is one definition of the integers: `pyqrt.lower`.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.dlpack import from_dlpack

from pyqrt.grids import MAX_S8, MAX_S16, Grid, Scales
from pyqrt.lower import Lowered, Tapped, lower_with_taps
from pyqrt.nn import Encoder
from pyqrt.runtime.results import Integers
from pyqrt.runtime.trace import trace


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, real: Tensor, value: Tensor) -> Tensor:
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def straight_through(real: Tensor, value: Tensor) -> Tensor:
    """`value` exactly, with the gradient of `real`, which has the same shape."""
    result: Tensor = _StraightThrough.apply(real, value)  # type: ignore[no-untyped-call]
    return result


def on_grid(
    real: Tensor,
    integers: Tensor,
    scale: Tensor,
    limit: int,
    zero_point: int = 0,
    shift: Tensor | float = 0.0,
) -> Tensor:
    """The real values of `integers`, with gradients to `real` and `scale`.

    real: what the integers stand for, before rounding; integers within [-limit, limit], of the same
    shape; scale: positive, broadcastable. The gradient to `real` is 1 where it lies inside the grid and
    0 outside; that to `scale` is LSQ's: the rounding error inside, the integer outside.
    """
    position = ((real - shift) / scale + zero_point).clamp(-limit, limit)
    rounded = straight_through(position, integers.to(position.dtype))
    return (rounded - zero_point) * scale + shift


class QuantizedEncoder(nn.Module):
    """An encoder that computes the integers of its own model file, and can be trained.

    encoder: float32, on the CPU or a GPU; its parameters are trained in place. scales: where training
    begins, as calibration chose them. The integer program runs where the encoder is, or on `device`, named
    as for `pyqrt.load`; threads: of device "cpu". Every device computes the same integers. Learned beside
    the weights, as logarithms: one factor for the step of every int8 grid, and for every output channel of
    every linear layer the share of its largest weight that int8 covers, at most 1.
    """

    def __init__(
        self, encoder: Encoder, scales: Scales, *, threads: int = 1, device: str | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.threads = threads
        self._device = device
        self._scales = scales
        self._run: _Run | None = None
        linears = {n: m for n, m in encoder.named_modules() if isinstance(m, nn.Linear)}
        self._inputs = _linear_inputs(encoder, linears)
        self._linears = {name: linears[name] for name in self._inputs}
        self.log_steps = _zeros(dict.fromkeys(map(_step_of, scales.grids), 1)).to(self._place)
        clips = {name: linear.out_features for name, linear in self._linears.items()}
        self.log_clips = _zeros(clips).to(self._place)
        for name, tap in encoder.taps().items():
            tap.observer = partial(self._observe, name)
        for linear in self._linears.values():
            linear.register_forward_pre_hook(self._read)

    @property
    def _place(self) -> torch.device:
        return next(self.encoder.parameters()).device

    @property
    def device(self) -> str:
        """Where the integer program runs, as named for `pyqrt.load`."""
        return str(self._place) if self._device is None else self._device

    def forward(self, ids: Tensor, offsets: Sequence[int] | Tensor, types: Tensor | None = None) -> Tensor:
        """As `Encoder.forward`; the result is the program's integers times their scale."""
        types = torch.zeros_like(ids) if types is None else types
        lowered = self.lowered()
        packed = [torch.as_tensor(t).to("cpu", torch.int32).numpy() for t in (ids, offsets, types)]
        buffers = trace(lowered.program, lowered.tensors, *packed, threads=self.threads, device=self.device)
        self._run = _Run(lowered, buffers, self._place)
        try:
            real: Tensor = functional_call(self.encoder, self._weights(), (ids, offsets, types))
        finally:
            self._run = None
        output = lowered.program.outputs[0]
        integers = from_dlpack(buffers[output.buffer]).to(real.device)
        return straight_through(real, (integers.double() * output.scale).to(real.dtype))

    def scales(self) -> Scales:
        """The scales as they are now."""
        grids = {
            name: replace(grid, scale=self._step(name).detach().double().cpu().numpy())
            for name, grid in self._scales.grids.items()
        }
        return replace(self._scales, grids=grids)

    def trained(self) -> tuple[Encoder, Scales]:
        """What `pyqrt.lower` makes the model file of: the encoder with its weights clipped, and the scales.

        It is on the CPU. Where the one in training is there, they share all other parameters.
        """

        def on_cpu(parameter: nn.Parameter) -> nn.Parameter:
            if parameter.device.type == "cpu":
                return parameter
            return nn.Parameter(parameter.detach().cpu())

        memo: dict[int, Any] = {id(p): on_cpu(p) for p in self.encoder.parameters()} | {id(self): self}
        with torch.no_grad():
            for name, linear in self._linears.items():
                clip = self._clip(name)
                bound = torch.where(clip < 1, self._limit(name) / self._input_scale(name), torch.inf)
                memo[id(linear.weight)] = nn.Parameter(linear.weight.clamp(-bound, bound).cpu())
        return copy.deepcopy(self.encoder, memo).cpu(), self.scales()

    def lowered(self) -> Lowered:
        """The integer program of this moment."""
        return lower_with_taps(*self.trained())

    def scale_parameters(self) -> list[nn.Parameter]:
        """The learned logarithms, for a learning rate of their own."""
        return [*self.log_steps.values(), *self.log_clips.values()]

    def _step(self, name: str) -> Tensor:
        """Scale of int8 tap `name`, float32 [width]."""
        start = torch.from_numpy(self._scales.grids[name].scale).float().to(self._place)
        step: Tensor = start * self.log_steps[_key(_step_of(name))].exp()
        return step

    def _clip(self, name: str) -> Tensor:
        """Share of the largest weight that is covered, [outputs, 1]."""
        logarithm = self.log_clips[_key(name)]
        with torch.no_grad():
            logarithm.clamp_(max=0.0)
        clip: Tensor = logarithm.exp()[:, None]
        return clip

    def _input_scale(self, name: str) -> Tensor:
        """What lowering folds into the weights of a linear layer: the scales of its input."""
        tap = self._inputs[name]
        grid = self._scales.grids.get(tap)
        if grid is None:
            return torch.tensor(self._scales.wide[tap], device=self._place)
        return self._step(tap).detach()

    def _limit(self, name: str) -> Tensor:
        """Largest folded weight of every channel that int8 covers, [outputs, 1]."""
        folded = self._linears[name].weight.detach() * self._input_scale(name)
        return folded.abs().amax(dim=1, keepdim=True).clamp(min=1e-30) * self._clip(name)

    def _weights(self) -> dict[str, Tensor]:
        """The weights of all linear layers, rounded as lowering rounds them."""
        weights = {}
        for name, linear in self._linears.items():
            fold, scale = self._input_scale(name), self._limit(name) / MAX_S8
            folded = linear.weight * fold
            integers = (folded.detach() / scale.detach() + 0.5).floor().clamp(-MAX_S8, MAX_S8)
            weights[f"{name}.weight"] = on_grid(folded, integers, scale, MAX_S8) / fold
        return weights

    def _observe(self, name: str, real: Tensor) -> Tensor:
        """The value of a tap's integers; of a layer norm's two, the int16 that the residual adds."""
        if self._run and (table := self._run.table(name, real)) is not None:
            grid, integers = table
            return on_grid(real, integers, self._step(name), MAX_S8, grid.zero_point, _shift(grid, real))
        places = self._run.next_places(name) if self._run else []
        narrow, wide = None, None
        for tapped in places:
            integers = self._run.integers(tapped, real.shape[1])  # type: ignore[union-attr]
            if isinstance(tapped.grid, Grid):
                shift = _shift(tapped.grid, real)
                narrow = on_grid(real, integers, self._step(name), MAX_S8, tapped.grid.zero_point, shift)
            else:
                wide = on_grid(real, integers, torch.tensor(tapped.grid, device=real.device), MAX_S16)
        if self._run and narrow is not None and wide is not None:
            self._run.narrow[id(wide)] = (wide, narrow)
        return next((x for x in (wide, narrow) if x is not None), real)

    def _read(self, linear: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Linear layers read int8 where there is one."""
        if self._run is None or id(inputs[0]) not in self._run.narrow:
            return inputs
        return (self._run.narrow[id(inputs[0])][1],)


class _Run:
    """One pass of the integer program, while the float encoder follows it."""

    def __init__(self, lowered: Lowered, buffers: list[Integers], place: torch.device) -> None:
        self._buffers = buffers
        self._place = place
        self._lowered = lowered
        self._passed = Counter[str]()
        # int16 tensors of taps that have int8 too, by identity; kept, so that no other takes its place
        self.narrow: dict[int, tuple[Tensor, Tensor]] = {}

    def next_places(self, name: str) -> list[Tapped]:
        """What the program holds for a tap, int8 or int16 or both; layers that share it pass it in turn."""
        turn = self._passed[name]
        self._passed[name] += 1
        places = self._lowered.taps.get(name, [])
        kinds = [[p for p in places if isinstance(p.grid, Grid) == int8] for int8 in (True, False)]
        return [kind[turn] for kind in kinds if turn < len(kind)]

    def integers(self, tapped: Tapped, width: int) -> Tensor:
        """Those of a tap, [rows, width]."""
        columns = from_dlpack(self._buffers[tapped.buffer])[:, tapped.columns(width)]
        return columns.to(self._place)

    def table(self, name: str, real: Tensor) -> tuple[Grid, Tensor] | None:
        """Grid and integers, like `real` [rows, width], of a tap of parameters alone; None for another.

        Rows that the program does not have, as no distance reaches them, are rounded.
        """
        found = self._lowered.tables.get(name)
        if found is None:
            return None
        held = found[0]  # the same for all layers that share the tap, as are the parameters
        integers = held.grid.quantize(real.detach().double().cpu().numpy())
        integers[held.first : held.first + held.rows] = self._lowered.tensors[held.tensor][: held.rows]
        return held.grid, torch.from_numpy(integers).to(self._place)


def _shift(grid: Grid, like: Tensor) -> Tensor:
    return torch.from_numpy(grid.shift).to(like)


def _step_of(name: str) -> str:
    """The tap whose step that of another is: relative keys add to the scores as keys do, so with queries."""
    return name.replace(".relative_", ".")


def _key(name: str) -> str:
    """A parameter's name must not have dots."""
    return name.replace(".", "/")


def _zeros(sizes: Mapping[str, int]) -> nn.ParameterDict:
    return nn.ParameterDict({_key(name): nn.Parameter(torch.zeros(size)) for name, size in sizes.items()})


def _linear_inputs(encoder: Encoder, linears: Mapping[str, nn.Linear]) -> dict[str, str]:
    """The tap whose tensor each linear layer reads, seen on one token; none that reads parameters alone.

    Layers that share their weights read several; then it is the first.
    """
    seen: list[tuple[Tensor, str]] = []
    inputs: dict[str, str] = {}

    def watch(tap: str, x: Tensor) -> Tensor:
        seen.append((x, tap))
        return x

    def read(linear: str, module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        source = next((tap for x, tap in reversed(seen) if x is arguments[0]), None)
        if source is not None:
            inputs.setdefault(linear, source)

    taps = encoder.taps()
    hooks = [linear.register_forward_pre_hook(partial(read, name)) for name, linear in linears.items()]
    try:
        for name, tap in taps.items():
            tap.observer = partial(watch, name)
        with torch.no_grad():
            encoder(torch.zeros(1, dtype=torch.int64, device=next(encoder.parameters()).device), [0, 1])
    finally:
        for hook in hooks:
            hook.remove()
        for tap in taps.values():
            tap.observer = None
    return inputs
