"""Grids, equalization and the choice of scales: each step lowers the error it is there to lower."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyqrt.errors import ModelError
from pyqrt.grids import Scales, asymmetric_grid, symmetric_grid
from pyqrt.nn import Encoder
from pyqrt.quantize.api import compare_encoder, quantize_encoder
from pyqrt.quantize.choose import choose_scales
from pyqrt.quantize.equalize import equalization_factor, predicted_noise
from pyqrt.quantize.recipe import Observer, read_recipe
from pyqrt.quantize.statistics import ChannelStatistics, channel_statistics
from pyqrt.quantize.texts import Encoded, pack
from pyqrt.runtime.model import Model
from tiny_encoders import mixed_lengths, plain_scales, random_sequences, tiny_encoder

OBSERVERS = get_args(Observer)


def chosen(encoder: Encoder, sequences: list[Encoded], **settings: Any) -> Scales:
    """Scales by the recipe "plain" with some settings changed."""
    recipe = replace(read_recipe("plain"), **settings)
    statistics = channel_statistics(encoder, pack(sequences))
    return choose_scales(encoder, statistics, lambda: pack(sequences), recipe)


bounds = st.floats(min_value=-1e3, max_value=1e3)


@given(bounds, bounds)
def test_asymmetric_grid_covers_its_range_within_a_step(a: float, b: float) -> None:
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    grid = asymmetric_grid(low, high, np.ones(1), np.zeros(1))
    step = float(grid.scale[0])
    ends = np.array([[low], [high], [0.0]])
    assert (np.abs(grid.dequantize(grid.quantize(ends)) - ends) <= step * 1.001).all()
    assert -127 <= grid.zero_point <= 127


def test_symmetric_grid_is_exact_at_its_limits_and_saturates_beyond() -> None:
    grid = symmetric_grid(np.array([2.0, 4.0]), np.array([1.0, 0.0]))
    np.testing.assert_array_equal(grid.quantize(np.array([[3.0, -4.0], [99.0, -99.0]])), [[127, -127]] * 2)
    np.testing.assert_allclose(grid.dequantize(np.array([[127, -127]], np.int8)), [[3.0, -4.0]], rtol=1e-7)


def outlier_layer() -> tuple[torch.Tensor, np.ndarray]:
    """Activations with one channel 40 times the others, as trained encoders have, and a weight."""
    random = np.random.RandomState(1)
    x = random.standard_normal((512, 24)) * np.where(np.arange(24) == 5, 40.0, 1.0)
    return torch.from_numpy(x), random.standard_normal((16, 24))


def rounded_error(x: np.ndarray, weight: np.ndarray, factor: np.ndarray) -> float:
    """Squared error of the product when x / factor and weight * factor are rounded to 8 bits."""
    low, high = float((x / factor).min()), float((x / factor).max())
    grid = asymmetric_grid(low, high, factor, np.zeros(len(factor)))
    scaled = weight * factor
    step = np.abs(scaled).max(axis=1, keepdims=True) / 127
    rounded = np.round(scaled / step) * step / factor
    return float(np.square(grid.dequantize(grid.quantize(x)) @ rounded.T - x @ weight.T).mean())


def test_equalization_lowers_the_real_rounding_error_of_outlier_channels() -> None:
    x, weight = outlier_layer()
    statistics = ChannelStatistics.empty(24)
    statistics.add(x)
    factor = equalization_factor(statistics, np.zeros(24), weight)
    plain = rounded_error(x.numpy(), weight, np.ones(24))
    assert rounded_error(x.numpy(), weight, factor) < plain / 4


def test_predicted_noise_ranks_factors_as_the_real_error_does() -> None:
    x, weight = outlier_layer()
    statistics = ChannelStatistics.empty(24)
    statistics.add(x)
    limit = statistics.limit()
    factors = [np.ones(24), limit**0.25, limit**0.5, limit]
    predicted = [
        predicted_noise(f, statistics.low, statistics.high, statistics.second_moment(np.zeros(24)), weight)
        for f in factors
    ]
    real = [rounded_error(x.numpy(), weight, f) for f in factors]
    assert np.argsort(predicted).tolist() == np.argsort(real).tolist()


@pytest.mark.parametrize("observer", OBSERVERS)
def test_scales_are_complete_whatever_the_observer(observer: str) -> None:
    encoder = tiny_encoder("bert", 3)
    sequences = random_sequences(encoder, mixed_lengths(encoder, 12))
    scales = chosen(encoder, sequences, observer=observer)
    assert scales.grids.keys() == plain_scales(encoder).grids.keys()
    for name, grid in scales.grids.items():
        assert np.isfinite(grid.scale).all(), name
        assert (grid.scale > 0).all(), name
        kind = name.rsplit(".", 1)[-1]
        if kind in ("query", "key", "value", "context"):
            per_head = grid.scale.reshape(encoder.config.num_attention_heads, -1)
            assert (per_head == per_head[:, :1]).all(), name
            assert grid.zero_point == 0, name
        if kind == "query":
            assert (grid.shift == 0).all(), name
        if kind == "context":
            values = scales.grids[name.replace("context", "value")]
            np.testing.assert_array_equal(grid.shift, values.shift)


def test_an_activation_beyond_the_fused_gelu_stays_in_16_bits() -> None:
    encoder = tiny_encoder("bert", 0)
    sequences = random_sequences(encoder, mixed_lengths(encoder, 12))
    with torch.no_grad():
        encoder.layers[1].ffn.up.bias[3] = 40.0
    scales = chosen(encoder, sequences)
    assert "layers.0.ffn.activation" in scales.grids
    assert "layers.1.ffn.activation" not in scales.grids
    file = quantize_encoder(encoder, sequences)
    assert [node.name for node in file.program.nodes if node.op == "lookup"] == ["layers.1.ffn.activation"]
    unseen = random_sequences(encoder, mixed_lengths(encoder, 8), seed=1)
    assert compare_encoder(encoder, Model(file), unseen).mean_cosine > 0.99


def test_activations_in_16_bits_are_nearer_and_taken_where_8_are_noisy() -> None:
    encoder = tiny_encoder("bert", 0)
    sequences = random_sequences(encoder, mixed_lengths(encoder, 12))
    unseen = random_sequences(encoder, mixed_lengths(encoder, 16), seed=1)

    def quantized(noise: float) -> tuple[set[object], float]:
        file = quantize_encoder(encoder, sequences, replace(read_recipe("plain"), wide_noise=noise))
        names = {n.attributes["epilogue"] for n in file.program.nodes if n.name.endswith("ffn.activation")}
        return names, compare_encoder(encoder, Model(file), unseen).relative_error

    all_wide, wide_error = quantized(0.0)
    all_narrow, narrow_error = quantized(np.inf)
    assert all_wide == {"gelu_s16"}
    assert all_narrow == {"gelu_s8"}
    assert wide_error < narrow_error


def test_named_tensors_are_wide_and_unknown_names_are_refused() -> None:
    encoder = tiny_encoder("bert", 0)
    sequences = random_sequences(encoder, mixed_lengths(encoder, 12))
    named = ("layers.1.ffn.activation", "layers.0.attention.output")
    narrow, wide = (chosen(encoder, sequences, wide_noise=np.inf, wide=wide) for wide in ((), named))
    assert narrow.grids.keys() - wide.grids.keys() == set(named)
    for name in ("layers.9.ffn.activation", "layers.0.attention.context", "layers.0.attention.query"):
        with pytest.raises(ModelError, match=f"names '{name}'; tensors that may stay .*ffn.activation"):
            chosen(encoder, sequences, wide=(name,))


def test_clipping_observers_cut_the_range_and_minmax_does_not() -> None:
    encoder = tiny_encoder("bert", 0)
    sequences = random_sequences(encoder, mixed_lengths(encoder, 40))
    spans = {
        observer: float(chosen(encoder, sequences, observer=observer).grids["embeddings.output"].scale.sum())
        for observer in OBSERVERS
    }
    assert spans["percentile"] < spans["minmax"]
    assert spans["mse"] <= spans["minmax"]


def test_less_headroom_makes_the_stream_finer_and_the_model_nearer() -> None:
    encoder = tiny_encoder("bert", 0)
    sequences = random_sequences(encoder, mixed_lengths(encoder, 32))
    little, much = (chosen(encoder, sequences, headroom=headroom) for headroom in (1.1, 1024.0))
    assert little.wide["layers.0.ffn.sum"] < much.wide["layers.0.ffn.sum"] / 900
    unseen = random_sequences(encoder, mixed_lengths(encoder, 16), seed=1)
    errors = [
        compare_encoder(
            encoder,
            Model(quantize_encoder(encoder, sequences, replace(read_recipe("plain"), headroom=headroom))),
            unseen,
        ).relative_error
        for headroom in (1.1, 1024.0)
    ]
    assert errors[0] < errors[1], errors


def test_scales_survive_a_file(tmp_path: Path) -> None:
    scales = replace(plain_scales(tiny_encoder()), exact_mean=True)
    scales.save(tmp_path / "scales.safetensors")
    again = Scales.load(tmp_path / "scales.safetensors")
    assert again.wide == scales.wide
    assert again.exact_mean
    assert again.grids.keys() == scales.grids.keys()
    for name, grid in scales.grids.items():
        np.testing.assert_array_equal(again.grids[name].scale, grid.scale)
        np.testing.assert_array_equal(again.grids[name].shift, grid.shift)
        assert again.grids[name].zero_point == grid.zero_point


@pytest.mark.parametrize("recipe", ["plain", "ibert"])
def test_a_projection_that_is_zero_everywhere_can_be_quantized(recipe: str) -> None:
    encoder = tiny_encoder("bert", 0)
    with torch.no_grad():
        for parameter in encoder.layers[0].attention.query.parameters():
            parameter.zero_()
    sequences = random_sequences(encoder, mixed_lengths(encoder, 12))
    model = Model(quantize_encoder(encoder, sequences, read_recipe(recipe)))
    assert compare_encoder(encoder, model, sequences).relative_error < 0.06


def test_saving_keeps_the_polynomial(tmp_path: Path) -> None:
    scales = replace(plain_scales(tiny_encoder("bert", 0)), polynomial="ibert")
    scales.save(tmp_path / "scales")
    assert Scales.load(tmp_path / "scales").polynomial == "ibert"


def test_symmetric_grids_have_one_scale_and_nothing_else() -> None:
    encoder = tiny_encoder("bert", 0)
    sequences = random_sequences(encoder, mixed_lengths(encoder, 12))
    scales = chosen(encoder, sequences, grids="symmetric")
    assert scales.grids.keys() == plain_scales(encoder).grids.keys()
    for name, grid in scales.grids.items():
        assert (grid.scale == grid.scale[0]).all(), name
        assert not grid.shift.any(), name
        assert grid.zero_point == 0, name
