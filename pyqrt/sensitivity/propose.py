"""The tensors for which 16 bits pay: most loss taken away for each further multiply-accumulate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pyqrt.nn import Encoder
from pyqrt.quantize.recipe import Recipe
from pyqrt.quantize.simulate import sources
from pyqrt.sensitivity.measure import Losses

LEAST_GAIN = 0.02  # of the total loss; less is not told from chance by some dozens of texts


@dataclass(frozen=True)
class Option:
    """An int8 tensor that could have 16 bits.

    gain: loss that goes with its rounding; cost: further multiply-accumulates.
    """

    name: str
    gain: float
    cost: int


def options(losses: Losses, names: Mapping[str, int]) -> list[Option]:
    """Those of `names` (with their costs) that are in 8 bits, in the order they run."""
    return [
        Option(loss.node.name, losses.total - loss.all_but, names[loss.node.name])
        for loss in losses.nodes
        if loss.node.kind == "int8" and loss.node.name in names
    ]


def chosen(found: list[Option], total: float, budget: int) -> list[Option]:
    """Options with the most gain for their cost, of at most `budget` multiply-accumulates together.

    None that gains less than LEAST_GAIN of the `total` loss.
    """
    taken = []
    for option in sorted(found, key=lambda o: -o.gain / o.cost):
        if option.gain >= LEAST_GAIN * total and option.cost <= budget:
            taken.append(option)
            budget -= option.cost
    return [option for option in found if option in taken]


def with_wide(recipe: Recipe, names: list[str]) -> Recipe:
    """`recipe` with exactly these tensors in 16 bits, beside those that can have no 8."""
    return replace(recipe, wide_noise=float("inf"), wide=tuple(names))


def second_planes(encoder: Encoder, name: str, tokens: int) -> int:
    """Multiply-accumulates of the linear layers that read a tensor: so many come on top for 16 bits."""
    readers = [linear for linear, source in sources(encoder).items() if source == name]
    order, index = encoder.config.layer_order, name.split(".")[1]
    if name.startswith("layers.") and name == encoder.stream_tap(
        int(index)
    ):  # the next layer reads it, so not the last place's
        order = order[:-1]
    places = order.count(int(index)) if name.startswith("layers.") else 1
    weights = sum(linear.weight.numel() for linear in encoder.readers().get(name, readers))
    return places * tokens * weights
