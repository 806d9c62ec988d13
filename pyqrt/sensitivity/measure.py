"""The loss that each quantized tensor causes, on its own and among all the others.

The float encoder runs with chosen tensors on the grids that the integer program has for them and all
else in floats; layer norm, softmax and GELU are float throughout (`pyqrt.quantize.simulate`).
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from pyqrt.distill.losses import result_distance
from pyqrt.grids import Grid, Scales
from pyqrt.lower import Lowered
from pyqrt.lower.linear import quantize_linear
from pyqrt.lower.parts import parameters_of
from pyqrt.nn import Encoder
from pyqrt.nn.config import Head
from pyqrt.progress import Progress, silent
from pyqrt.quantize.gate import float_outputs, integer_outputs
from pyqrt.quantize.simulate import simulated, sources
from pyqrt.quantize.statistics import ChannelStatistics, PackedBatch
from pyqrt.quantize.texts import Encoded, pack
from pyqrt.runtime.model import Model

_BATCH_TOKENS = 512  # logits of a vocabulary are large


@dataclass(frozen=True)
class Quantized:
    """A quantized encoder in its parts.

    rounded: `encoder` with its weights rounded and biases corrected; lowered: the program of `rounded` at
    `scales`; statistics: of the float encoder's taps.
    """

    encoder: Encoder
    rounded: Encoder
    scales: Scales
    lowered: Lowered
    statistics: Mapping[str, ChannelStatistics]


@dataclass(frozen=True)
class Node:
    """A tensor that the integer program rounds.

    name: of the activation's tap, or of the parameter. kind: "weight" is int8. A layer norm's output may
    be there twice, in 8 bits for linear layers and in 16 for the residual stream.
    """

    name: str
    kind: Literal["int8", "int16", "weight"]


@dataclass(frozen=True)
class NodeLoss:
    """Distance to the float results with only this node rounded, and with all but this one."""

    node: Node
    alone: float
    all_but: float


@dataclass(frozen=True)
class Losses:
    """total: distance to the float results with every node rounded; nodes: in the order they run."""

    total: float
    nodes: tuple[NodeLoss, ...]

    def ranked(self) -> list[NodeLoss]:
        """The nodes, those that cost most alone first."""
        return sorted(self.nodes, key=lambda loss: -loss.alone)


def measure(quantized: Quantized, sequences: Sequence[Encoded], progress: Progress = silent) -> Losses:
    """Runs `sequences` twice for every node: with it alone rounded, and with all but it.

    Memory: one batch, however many sequences. The distance is `pyqrt.distill.losses.result_distance`:
    1 - cosine of embeddings, KL divergence of class logits in nats, squared error of plain numbers.
    """
    switch = _Switch(quantized)
    every = frozenset(switch.nodes)
    runs = [(every, True)]
    for node in switch.nodes:
        runs += [(frozenset([node]), False), (every - {node}, True)]
    totals, weight = [0.0] * len(runs), 0
    batches = list(pack(sequences, _BATCH_TOKENS))
    with torch.no_grad():
        for number, batch in enumerate(batches):
            expected = _run(quantized.encoder, batch)
            rows = _units(quantized.encoder.config.head, expected, batch.offsets)
            weight += rows
            for place, (active, whole) in enumerate(runs):
                progress(
                    "rounding one tensor at a time", number * len(runs) + place, len(batches) * len(runs)
                )
                actual = switch.run(batch, active, whole=whole)
                totals[place] += rows * _distance(quantized.encoder, actual, expected, batch.offsets)
    progress("rounding one tensor at a time", 1, 1)
    means = [total / weight for total in totals]
    pairs = zip(means[1::2], means[2::2], strict=True)
    return Losses(
        means[0],
        tuple(NodeLoss(node, *pair) for node, pair in zip(switch.nodes, pairs, strict=True)),
    )


def integer_loss(encoder: Encoder, model: Model, sequences: Sequence[Encoded]) -> float:
    """The same distance of what the integer runtime computes."""
    total, weight = 0.0, 0
    for sequence in sequences:
        (expected,), (actual,) = float_outputs(encoder, [sequence]), integer_outputs(model, [sequence])
        offsets = [0, len(sequence.ids)]
        pair = torch.from_numpy(actual), torch.from_numpy(expected)
        rows = _units(encoder.config.head, pair[1], offsets)
        total, weight = total + rows * _distance(encoder, *pair, offsets), weight + rows
    return total / weight


def _run(encoder: Encoder, batch: PackedBatch) -> Tensor:
    output: Tensor = encoder(batch.ids, batch.offsets, batch.types)
    return output.double()


def _distance(encoder: Encoder, actual: Tensor, expected: Tensor, offsets: Sequence[int]) -> float:
    return float(result_distance(encoder.config.head, actual, expected, offsets, temperature=1.0))


def _units(head: Head, rows: Tensor, offsets: Sequence[int]) -> int:
    """What the distance is a mean over."""
    return len(offsets) - 1 if head.task == "question_answering" else len(rows)


class _Switch:
    """A copy of the float encoder in which any set of nodes can be rounded."""

    def __init__(self, quantized: Quantized) -> None:
        self._encoder = copy.deepcopy(quantized.encoder)
        wide = {
            name: tapped.grid
            for name, places in quantized.lowered.taps.items()
            for tapped in places
            if isinstance(tapped.grid, float)
        }
        self._scales = replace(quantized.scales, wide=wide)
        self._weights = _weights(quantized, self._scales, self._encoder)
        self.nodes: list[Node] = []
        for name in self._encoder.taps():
            self.nodes += [Node(name, "int8")] * (name in self._scales.grids)
            self.nodes += [Node(name, "int16")] * (name in wide)
        self.nodes += [Node(name, "weight") for name in self._weights]

    def run(self, batch: PackedBatch, active: Collection[Node], *, whole: bool) -> Tensor:
        """Results with the nodes `active` rounded; whole: biases corrected for the rounding before them."""
        for name, weight in self._weights.items():
            weight.set(Node(name, "weight") in active, whole)
        scales = replace(
            self._scales,
            grids={n: grid for n, grid in self._scales.grids.items() if Node(n, "int8") in active},
            wide={n: scale for n, scale in self._scales.wide.items() if Node(n, "int16") in active},
        )
        with simulated(self._encoder, scales):
            return _run(self._encoder, batch)


@dataclass(frozen=True)
class _Weight:
    """A module's parameters to choose from: float and rounded weight; what changes the bias, and when."""

    module: nn.Linear | nn.Embedding
    plain: Tensor
    rounded: Tensor
    bias: Tensor | None = None
    own: Tensor | None = None  # makes good this weight's rounding
    before: Tensor | None = None  # makes good the rounding before it

    def set(self, active: bool, whole: bool) -> None:
        self.module.weight.data = self.rounded if active else self.plain
        if self.bias is not None and self.own is not None and self.before is not None:
            self.module.bias.data = self.bias + self.own * active + self.before * whole


def _weights(quantized: Quantized, scales: Scales, encoder: Encoder) -> dict[str, _Weight]:
    """Every weight of `encoder`, a copy of the float one, that the program rounds, by parameter name."""
    modules = dict(encoder.named_modules())
    rounded = dict(quantized.rounded.named_modules())
    names = {module: name for name, module in encoder.named_modules()}
    weights = {}
    for role, name in {"word": "word", "position": "position", "type": "token_type"}.items():
        module = modules.get(f"embeddings.{name}")
        if isinstance(module, nn.Embedding):
            plain = module.weight.data
            table = _table(quantized.lowered, role, len(plain)).to(plain.dtype)
            if name == "word":
                table = table / encoder.embeddings.word_scale
            weights[f"embeddings.{name}.weight"] = _Weight(module, plain, table)
    last = [tap for tap in encoder.taps() if not tap.startswith("head.")][-1]
    for linear, source in sources(encoder).items():
        tap = source if source in quantized.statistics else last  # a head may read the encoder's output
        grid = scales.grids[source] if source in scales.grids else scales.wide[tap]
        name = names[linear]
        other = rounded[name]
        assert isinstance(other, nn.Linear)
        plain = linear.weight.data
        final = _on_integers(other, grid).to(plain.dtype)
        if linear.bias is None or torch.equal(linear.bias, other.bias):
            weights[f"{name}.weight"] = _Weight(linear, plain, final)
            continue
        seen = quantized.statistics[tap]
        mean = torch.from_numpy(seen.total / max(seen.count, 1)).to(plain.dtype)
        own = -(final - plain) @ mean
        before = other.bias.data - linear.bias.data - own
        weights[f"{name}.weight"] = _Weight(linear, plain, final, linear.bias.data, own, before)
    return weights


def _on_integers(linear: nn.Linear, grid: Grid | float) -> Tensor:
    """The real numbers [n, k] that the program's int8 weights stand for."""
    integers = quantize_linear(*parameters_of(linear), grid)
    scale = integers.scale / 2.0**integers.pre_shift
    source = grid.scale if isinstance(grid, Grid) else grid
    return torch.from_numpy(integers.weight * scale[:, None] / source)


def _table(lowered: Lowered, role: str, rows: int) -> Tensor:
    """The real numbers [rows, width] that an embedding table of the program stands for."""
    (node,) = (node for node in lowered.program.nodes if node.op == "embedding" and role in node.tensors)
    # rows of words may lie beside others before they are seen
    (total,) = lowered.taps["embeddings.words" if node.name == "embeddings.word" else node.name]
    assert isinstance(total.grid, float)
    entries, multiplier = (
        lowered.tensors[node.tensors[name]][:rows] for name in (role, f"{role}_multiplier")
    )
    unit = 2.0 ** -int(node.attributes["shift"]) * total.grid
    return torch.from_numpy(entries * (multiplier * unit)[:, None])
