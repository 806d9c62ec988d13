"""GPTQ: less error than nearest rounding, on grids that lowering finds again, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pyqrt.lower.linear import quantize_linear
from pyqrt.models import families, family
from pyqrt.nn import Encoder
from pyqrt.quantize.api import compare_encoder, quantize_encoder
from pyqrt.quantize.choose import choose_scales
from pyqrt.quantize.gptq import Moments, round_columns
from pyqrt.quantize.recipe import read_recipe
from pyqrt.quantize.round_weights import round_weights
from pyqrt.quantize.simulate import on_grid, simulated, sources
from pyqrt.quantize.statistics import channel_statistics
from pyqrt.quantize.texts import Encoded, pack
from pyqrt.runtime.model import Model
from tiny_encoders import mixed_lengths, random_sequences, tiny_encoder


def layer(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, Moments]:
    """Correlated integer inputs [600, 40] with a mean, a weight [24, 40], the inputs' moments."""
    random = np.random.RandomState(seed)
    mixed = random.standard_normal((600, 12)) @ random.standard_normal((12, 40))
    x = torch.from_numpy(np.clip(np.round(mixed * 12 + 20), -127, 127))
    moments = Moments(40)
    for part in x.split([1, 250, 349]):
        moments.add(part)
    return x, torch.from_numpy(random.standard_normal((24, 40))), moments


def nearest(weight: torch.Tensor) -> torch.Tensor:
    step = weight.abs().amax(dim=1, keepdim=True) / 127
    return torch.floor(weight / step + 0.5) * step


def test_moments_are_those_of_all_rows_at_once() -> None:
    x, _, moments = layer()
    torch.testing.assert_close(moments.mean, x.mean(dim=0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(moments.covariance, torch.cov(x.T, correction=0), rtol=1e-9, atol=1e-9)


def test_correlated_inputs_lose_less_than_with_nearest_rounding() -> None:
    x, weight, moments = layer()
    centred = x - x.mean(dim=0)

    def error(rounded: torch.Tensor) -> float:
        return float((centred @ (rounded - weight).T).square().mean())

    assert error(round_columns(weight, moments.covariance, 0.01)) < error(nearest(weight)) / 4


def test_uncorrelated_inputs_leave_nothing_to_make_good() -> None:
    _, weight, _ = layer()
    rounded = round_columns(weight, torch.eye(40, dtype=torch.float64), 0.01)
    torch.testing.assert_close(rounded, nearest(weight), rtol=1e-12, atol=0)


def test_errors_are_made_good_as_by_solving_for_the_columns_left() -> None:
    """Each column rounded, the others moved to the least error that is left, by normal equations."""
    _, weight, moments = layer()
    damped = moments.covariance + 0.01 * moments.covariance.diagonal().mean() * torch.eye(40)
    step = weight.abs().amax(dim=1, keepdim=True) / 127
    rest, wanted = weight / step, torch.zeros_like(weight)
    top = rest.abs().argmax(dim=1)
    left = torch.argsort(damped.diagonal(), descending=True).tolist()
    while left:
        column = left.pop(0)
        rounded = torch.floor(rest[:, column] + 0.5).clamp(-127, 127)
        wanted[:, column] = torch.where(top == column, 127 * weight[:, column].sign(), rounded)
        error = wanted[:, column] - rest[:, column]
        if left:
            pull = torch.linalg.solve(damped[left][:, left], damped[left, column])
            rest[:, left] -= torch.outer(error, pull)
    got = round_columns(weight, moments.covariance, 0.01)
    torch.testing.assert_close(got, wanted * step, rtol=1e-12, atol=0)


def test_the_largest_weight_of_a_row_stays_and_empty_rows_stay_empty() -> None:
    _, weight, moments = layer()
    weight[3] = 0.0
    rounded = round_columns(weight, moments.covariance, 0.01)
    assert (rounded[3] == 0).all()
    largest = weight.abs().argmax(dim=1, keepdim=True)
    torch.testing.assert_close(rounded.gather(1, largest), weight.gather(1, largest), rtol=1e-15, atol=0)
    torch.testing.assert_close(rounded.abs().amax(dim=1), weight.abs().amax(dim=1), rtol=1e-15, atol=0)


def rounded_encoder(name: str, number: int = 0) -> tuple[Encoder, Encoder, dict[str, object]]:
    """A tiny encoder, its rounded copy, and the grids."""
    encoder = tiny_encoder(name, number)
    sequences = random_sequences(encoder, mixed_lengths(encoder, 24))
    statistics = channel_statistics(encoder, pack(sequences))
    scales = choose_scales(encoder, statistics, lambda: pack(sequences), read_recipe("speed"))
    return encoder, round_weights(encoder, scales, statistics, pack(sequences)), dict(scales.grids)


@pytest.mark.parametrize("name", families())
def test_lowering_finds_the_same_integers_again(name: str) -> None:
    before, encoder, grids = rounded_encoder(name)
    originals = list(sources(before))
    for number, (linear, tap) in enumerate(sources(encoder).items()):
        weight = linear.weight.detach().double().numpy()
        assert not np.array_equal(weight, originals[number].weight.detach().numpy()), tap
        source = grids.get(tap, 1.0)
        bias = np.zeros(len(weight))
        lowered = quantize_linear(weight, bias, source)  # type: ignore[arg-type]
        scale = 1.0 if isinstance(source, float) else source.scale  # type: ignore[attr-defined]
        folded = weight * scale
        step = np.abs(folded).max(axis=1, keepdims=True) / 127
        np.testing.assert_allclose(lowered.weight * step, folded, rtol=0, atol=1e-4 * float(step.max()))
        assert (np.abs(lowered.weight).max(axis=1) == 127).all(), tap


def test_a_rounded_model_stands_nearer_the_floats() -> None:
    encoder = tiny_encoder("bert", 0)
    sequences = random_sequences(encoder, mixed_lengths(encoder, 64))
    unseen = random_sequences(encoder, mixed_lengths(encoder, 64), seed=1)

    def error(rounding: str) -> float:
        recipe = replace(read_recipe("speed"), rounding=rounding)  # type: ignore[arg-type]
        file = quantize_encoder(encoder, sequences, recipe)
        return compare_encoder(encoder, Model(file), unseen).relative_error

    assert error("gptq") < error("nearest")


SHARING = [
    number
    for number in range(len(family("albert").tiny()))
    if len(set(tiny_encoder("albert", number).config.layer_order))
    < len(tiny_encoder("albert", number).config.layer_order)
]


@pytest.mark.parametrize("number", SHARING)
def test_layers_that_share_weights_stand_nearer_the_floats_too(number: int) -> None:
    """Of places with different inputs, and of layers with different numbers of places."""
    encoder = tiny_encoder("albert", number)
    sequences = random_sequences(encoder, mixed_lengths(encoder, 64))
    unseen = random_sequences(encoder, mixed_lengths(encoder, 64), seed=1)

    def error(rounding: str) -> float:
        recipe = replace(read_recipe("default"), rounding=rounding)  # type: ignore[arg-type]
        file = quantize_encoder(encoder, sequences, recipe)
        return compare_encoder(encoder, Model(file), unseen).relative_error

    assert error("gptq") < error("nearest")


def test_a_place_reads_on_the_grid_of_what_stands_before_it() -> None:
    number = next(n for n in SHARING if tiny_encoder("albert", n).config.layer_order == (0, 0))
    encoder = tiny_encoder("albert", number)
    batch = next(iter(pack(random_sequences(encoder, mixed_lengths(encoder, 8)))))
    statistics = channel_statistics(encoder, [batch])
    scales = choose_scales(encoder, statistics, lambda: [batch], read_recipe("default"))
    read: list[torch.Tensor] = []
    with torch.no_grad(), simulated(encoder, scales):
        query = encoder.layers[0].attention.query  # type: ignore[union-attr]
        query.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
        encoder(batch.ids, batch.offsets, batch.types)
    first, second = read
    wide, narrow = scales.wide["embeddings.projected"], scales.grids["layers.0.ffn.output"]
    assert "embeddings.projected" not in scales.grids
    torch.testing.assert_close(first, on_grid(first, wide), rtol=0, atol=1e-6)
    torch.testing.assert_close(second, on_grid(second, narrow), rtol=0, atol=1e-6)
    assert (first - on_grid(first, narrow)).abs().max() > 1e-3


def test_the_given_encoder_is_left_alone_and_the_result_repeats() -> None:
    encoder = tiny_encoder("bert", 1)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    _, first, _ = rounded_encoder("bert", 1)
    _, second, _ = rounded_encoder("bert", 1)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert all(tap.observer is None for tap in first.taps().values())
    sequence = Encoded([1, 2, 3], [0, 0, 0])
    batch = next(iter(pack([sequence])))
    assert torch.isfinite(first(batch.ids, batch.offsets, batch.types)).all()
