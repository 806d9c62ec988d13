"""What every part of an encoder lowers with: the scales at hand, norms, activations, residuals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pyqrt.grids import GELU_SCALE, MAX_S16, Grid, Scales, Vector
from pyqrt.lower.builder import ProgramBuilder, Tensor
from pyqrt.lower.fixed_point import LoweringError, gain_and_bias, multiplier_and_shift, round_half_up
from pyqrt.lower.linear import (
    IntegerInput,
    gelu_s8,
    gelu_s16,
    requantize_s8,
    requantize_s16,
    residual_s16,
)
from pyqrt.nn.activations import activation, is_gelu
from pyqrt.nn.layers import Affine, Narrow


@dataclass(frozen=True)
class Stream:
    """The residual stream between two parts: int16 always, int8 where a linear layer will read it.

    The last layer's output, and a pre-norm stream, have no int8 form.
    """

    buffer: int
    scale: float
    narrow: IntegerInput | None = None

    @property
    def source(self) -> IntegerInput:
        """What a linear layer reads: the int8 form if there is one."""
        return self.narrow or IntegerInput(self.buffer, self.scale)


def to_numpy(tensor: torch.Tensor) -> Vector:
    """A parameter in double precision."""
    return tensor.detach().double().numpy()


def parameters_of(linear: nn.Linear) -> tuple[Vector, Vector]:
    """Weight [n, k] and bias [n], zeros if it has none."""
    bias = np.zeros(linear.out_features) if linear.bias is None else to_numpy(linear.bias)
    return to_numpy(linear.weight), bias


@dataclass(frozen=True)
class Parts:
    """Emits nodes into `builder` at `scales`. `name` is always that of the tap whose tensor is made."""

    builder: ProgramBuilder
    scales: Scales

    def norm(
        self, name: str, norm: nn.LayerNorm, source: Stream, *, narrow: bool = True, wide: bool = True
    ) -> Stream:
        """A layer norm: int8 on the tap's grid if it has one, int16 for the stream; either if wanted."""
        spec = self.builder.spec(source.buffer)
        width = spec.width
        gamma = to_numpy(norm.weight)
        beta = np.zeros(width) if norm.bias is None else to_numpy(norm.bias)
        normalize = not isinstance(norm, Affine)
        unit = 2.0 ** (10 if width <= 1024 else 9) if normalize else 1.0 / source.scale
        grid, scale = self.scales.grids.get(name) if narrow else None, self.scales.wide[name]
        epsilon = int(round_half_up(width**2 * norm.eps / source.scale**2)) if normalize else 0
        if epsilon > 2**56:
            raise LoweringError(f"{name}: layer_norm_eps {norm.eps} dwarfs the variance it is added to")
        attributes: dict[str, int | str] = {"epsilon": epsilon, **({} if normalize else {"normalize": 0})}
        if normalize and self.scales.exact_mean:
            attributes["exact_mean"] = 1
        tensors: dict[str, Tensor] = {}
        outputs: tuple[int, ...] = ()
        int8 = None
        if grid is not None:
            tensors["gain8"], tensors["bias8"], attributes["shift8"] = gain_and_bias(
                gamma / grid.scale / unit, (beta - grid.shift) / grid.scale + grid.zero_point
            )
            int8 = IntegerInput(self.builder.buffer("s8", spec.rows, width), grid)
            outputs = (int8.buffer,)
            self.builder.tap(name, int8.buffer, grid)
        buffer = -1
        if wide or grid is None:
            tensors["gain16"], tensors["bias16"], attributes["shift16"] = gain_and_bias(
                gamma / scale / unit, beta / scale
            )
            buffer = self.builder.buffer("s16", spec.rows, width)
            outputs = (*outputs, buffer)
            self.builder.tap(name, buffer, scale)
        self.builder.node("layernorm", name, (source.buffer,), outputs, attributes, tensors)
        return Stream(buffer, scale, int8)

    def residual(self, name: str, linear: nn.Linear, source: IntegerInput, stream: Stream) -> Stream:
        """``linear(x) + stream``."""
        scale = self.scales.wide[name]
        residual = (stream.buffer, stream.scale)
        buffer = residual_s16(self.builder, name, source, *parameters_of(linear), residual, scale)
        self.builder.tap(name, buffer, scale)
        return Stream(buffer, scale)

    def narrowed(self, name: str, narrow: Narrow, stream: Stream, *, wide: bool = True) -> Stream:
        """The stream in a bottleneck: linear layer and norm. wide: int16 too, for a residual."""
        output, source, grid = f"{name}.output", stream.source, self.scales.grids.get(f"{name}.output")
        if isinstance(narrow.norm, Affine) and not (wide and grid):  # one form: gain and bias in the weights
            gain, beta = to_numpy(narrow.norm.weight), to_numpy(narrow.norm.bias)
            weight, bias = parameters_of(narrow.linear)
            weight, bias = weight * gain[:, None], bias * gain + beta
            scale = self.scales.wide[output]
            if grid is None:
                buffer = requantize_s16(self.builder, output, source, weight, bias, scale)
                self._made(output, buffer, scale)
                return Stream(buffer, scale)
            buffer = requantize_s8(self.builder, output, source, weight, bias, grid)
            return Stream(-1, scale, self._made(output, buffer, grid))
        projected = self.linear(f"{name}.linear", narrow.linear, source)
        assert isinstance(projected.grid, float)
        return self.norm(output, narrow.norm, Stream(projected.buffer, projected.grid), wide=wide)

    def beside(self, name: str, rows: Stream, reach: int) -> IntegerInput:
        """Every token's row beside those of so many tokens around it, int16."""
        buffer = rows.buffer
        if reach:
            width = self.builder.spec(buffer).width * (2 * reach + 1)
            buffer = self.builder.buffer("s16", "tokens", width)
            self.builder.node("neighbours", name, (rows.buffer,), (buffer,), {"reach": reach}, {})
        return self._made(name, buffer, rows.scale)

    def pooled(self, name: str, source: IntegerInput, kind: str, **attributes: int) -> IntegerInput:
        """One row of every sequence's, int16. attributes: what the kind has beside it."""
        pooled = self.builder.buffer("s16", "sequences", self.builder.spec(source.buffer).width)
        self.builder.node("pool", name, (source.buffer,), (pooled,), {"kind": kind, **attributes}, {})
        return self._made(name, pooled, source.grid)

    def added(self, name: str, source: IntegerInput, stream: Stream) -> Stream:
        """``x + stream``: the residual of a linear layer that is the identity, exact in int8."""
        width, scale = self.builder.spec(source.buffer).width, self.scales.wide[name]
        residual = (stream.buffer, stream.scale)
        buffer = residual_s16(self.builder, name, source, np.eye(width), np.zeros(width), residual, scale)
        self.builder.tap(name, buffer, scale)
        return Stream(buffer, scale)

    def linear(
        self, name: str, linear: nn.Linear, source: IntegerInput, scale: float | None = None
    ) -> IntegerInput:
        """``linear(x)`` as int16, at the tap's scale or another."""
        scale = self.scales.wide[name] if scale is None else scale
        return self._made(
            name, requantize_s16(self.builder, name, source, *parameters_of(linear), scale), scale
        )

    def activated(
        self, name: str, before: str, linear: nn.Linear, function: str, source: IntegerInput
    ) -> IntegerInput:
        """``function(linear(x))``; `before` is the tap between the two.

        Fused GELU, to int8 where the scales have a grid for it, else to int16 where they have its
        scale; a table from int16 to int16 for everything else.
        """
        grid = self.scales.grids.get(name)
        if grid is not None:
            return self._made(
                name,
                gelu_s8(self.builder, name, source, *parameters_of(linear), grid, self.scales.polynomial),
                grid,
            )
        scale = self.scales.wide[name]
        if function == "linear":
            return self.linear(name, linear, source)
        if is_gelu(function) and scale == GELU_SCALE:
            return self._made(
                name,
                gelu_s16(self.builder, name, source, *parameters_of(linear), self.scales.polynomial),
                scale,
            )
        return self.lookup(name, self.linear(before, linear, source), activation(function), scale)

    def multiplied(self, name: str, a: IntegerInput, b: IntegerInput) -> IntegerInput:
        """``a * b``, both int16: int8 on the tap's grid if it has one, else int16."""
        assert isinstance(a.grid, float)
        assert isinstance(b.grid, float)
        spec, grid = self.builder.spec(a.buffer), self.scales.grids.get(name)
        unit = a.grid * b.grid
        ratio = np.full(spec.width, unit / self.scales.wide[name]) if grid is None else unit / grid.scale
        multiplier, shift = multiplier_and_shift(ratio)
        if (shift < 32).any():
            raise LoweringError(f"{name}: the product's scale is finer than that of its factors; recalibrate")
        output = self.builder.buffer("s16" if grid is None else "s8", spec.rows, spec.width)
        self.builder.node(
            "multiply",
            name,
            (a.buffer, b.buffer),
            (output,),
            {"zero_point": 0 if grid is None else grid.zero_point},
            {
                "multiplier": np.pad(multiplier, (0, -spec.width % 16), constant_values=2**30),
                "shift": np.pad(shift, (0, -spec.width % 16), constant_values=33),
            },
        )
        return self._made(name, output, self.scales.wide[name] if grid is None else grid)

    def lookup(
        self,
        name: str,
        source: IntegerInput,
        function: Callable[[torch.Tensor], torch.Tensor],
        scale: float,
    ) -> IntegerInput:
        """An element-wise function of int16 as a table of 513 knots."""
        assert isinstance(source.grid, float)
        knots = torch.arange(-32768, 32769, 128, dtype=torch.float64) * source.grid
        table = np.clip(round_half_up(to_numpy(function(knots)) / scale), -MAX_S16, MAX_S16)
        spec = self.builder.spec(source.buffer)
        output = self.builder.buffer("s16", spec.rows, spec.width)
        tensors = {"table": table.astype(np.int16)}
        self.builder.node("lookup", name, (source.buffer,), (output,), {}, tensors)
        return self._made(name, output, scale)

    def _made(self, name: str, buffer: int, grid: Grid | float) -> IntegerInput:
        self.builder.tap(name, buffer, grid)
        return IntegerInput(buffer, grid)
