"""Checkpoints of Hugging Face's I-BERT: their ranges are taken, the known bugs of that code are not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from oracle import program as oracle
from pyqrt.errors import ModelError
from pyqrt.lower import Lowered, lower_with_taps
from pyqrt.models import family
from pyqrt.nn import Encoder
from pyqrt.quantize.api import quantize_encoder
from pyqrt.quantize.checkpoint import load_checkpoint
from pyqrt.quantize.choose import choose_scales
from pyqrt.quantize.gate import compare, float_outputs, integer_outputs
from pyqrt.quantize.recipe import read_recipe
from pyqrt.quantize.statistics import channel_statistics
from pyqrt.quantize.texts import Encoded, pack
from pyqrt.runtime.model import Model
from tiny_encoders import mixed_lengths, random_sequences

sys.path.append(str(Path(__file__).parents[1] / "models"))
from transformers_reference import reference_output, save_tiny

IBERT = read_recipe("ibert")
THREE_LAYERS = 1  # the tiny configuration with three


def trained(directory: Path, number: int = THREE_LAYERS, **options: Any) -> transformers.PreTrainedModel:
    """A tiny checkpoint saved with ranges, as quantization-aware training leaves it; the model itself."""
    hf = family("ibert").tiny()[number] | {"quant_mode": True} | options
    save_tiny(hf, directory)
    model = getattr(transformers, hf["architectures"][0]).from_pretrained(directory).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    encoder = Encoder(family("ibert").configure(hf, None))
    with torch.no_grad():
        for s in sequences(encoder, 8, seed=3):
            ids, types = torch.tensor([s.ids]), torch.tensor([s.types])
            if encoder.config.head.task == "multiple_choice":
                ids, types = ids[None], types[None]
            model(input_ids=ids, token_type_ids=types)
    model.eval().save_pretrained(directory)
    return model


def sequences(encoder: Encoder, count: int, seed: int) -> list[Encoded]:
    """Random sequences without the padding token, which transformers gives another position."""
    padding = encoder.config.position_offset - 1
    drawn = random_sequences(encoder, mixed_lengths(encoder, count)[::-1], seed)
    return [Encoded([i if i != padding else padding + 1 for i in s.ids], s.types) for s in drawn]


def lowered(encoder: Encoder, limits: dict[str, float]) -> Lowered:
    """The program by the recipe "ibert" and the given limits."""
    seen = sequences(encoder, 16, seed=4)
    statistics = channel_statistics(encoder, pack(seen))
    return lower_with_taps(encoder, choose_scales(encoder, statistics, lambda: pack(seen), IBERT, limits))


def edit(directory: Path, change: Any) -> None:
    """Applies `change` to the dictionary of the checkpoint's tensors."""
    path = directory / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


@pytest.mark.parametrize("number", range(len(family("ibert").tiny())))
def test_trained_ranges_bring_the_integers_nearer_to_the_simulation(tmp_path: Path, number: int) -> None:
    """Than calibration does, and than the floats stand to it. Measured: 0.016 to 0.12 of its norm."""
    model = trained(tmp_path, number)
    encoder, checkpoint = load_checkpoint(tmp_path)
    head, unseen = encoder.config.head, sequences(encoder, 16, seed=2)
    floats = float_outputs(encoder, unseen)
    simulated = [
        reference_output(model, head, torch.tensor(s.ids), [0, len(s.ids)], torch.tensor(s.types)).double()
        for s in unseen
    ]
    simulated = [s.numpy().reshape(np.shape(f)) for s, f in zip(simulated, floats, strict=True)]

    def error(limits: dict[str, float]) -> float:
        file = quantize_encoder(encoder, sequences(encoder, 32, seed=0), IBERT, limits=limits)
        return compare(head, simulated, integer_outputs(Model(file), unseen)).relative_error

    taken = error(checkpoint.limits)
    assert taken < 0.15
    assert taken < error({})
    assert taken < compare(head, simulated, floats).relative_error


def test_the_ranges_are_the_grids(tmp_path: Path) -> None:
    model = trained(tmp_path)
    encoder, checkpoint = load_checkpoint(tmp_path)
    assert len(checkpoint.limits) == 1 + 9 * 3
    taps = lowered(encoder, checkpoint.limits).taps
    for layer in range(3):
        own = model.encoder.layer[layer].attention.self
        for tap, act in (("query", own.query_activation), ("context", own.output_activation)):
            (place,) = taps[f"layers.{layer}.attention.{tap}"]
            np.testing.assert_allclose(place.grid.scale, float(act.act_scaling_factor), rtol=1e-6)
            assert not place.grid.shift.any()
            assert place.grid.zero_point == 0


@pytest.mark.parametrize("quant_mode", [False, True])
def test_a_checkpoint_without_trained_ranges_is_calibrated(tmp_path: Path, quant_mode: bool) -> None:
    save_tiny(family("ibert").tiny()[0] | {"quant_mode": quant_mode}, tmp_path)
    assert load_checkpoint(tmp_path)[1].limits == {}


def test_broken_ranges_are_refused(tmp_path: Path) -> None:
    trained(tmp_path)
    act = "encoder.layer.1.attention.self.query_activation"
    changes = {
        "query_activation has no x_min and x_max": lambda t: t.pop(f"{act}.x_min"),
        "must be finite and ordered": lambda t: t.update({f"{act}.x_min": torch.tensor([float("nan")])}),
        r"layers.1.attention.query \(1 of 28\) were never trained": lambda t: t.update(
            {f"{act}.x_min": torch.tensor([-1e-5]), f"{act}.x_max": torch.tensor([1e-5])}
        ),
    }
    for message, change in changes.items():
        edit(tmp_path, change)
        with pytest.raises(ModelError, match=message):
            load_checkpoint(tmp_path)


def test_bug_stale_scale_in_the_encoder_loop(tmp_path: Path) -> None:
    """Layers from the second on divide by the embeddings' scale there; here by that of the layer before."""
    trained(tmp_path)
    encoder, checkpoint = load_checkpoint(tmp_path)
    low = lowered(encoder, checkpoint.limits)
    program, tensors, taps = low.program, low.tensors, low.taps
    nodes = {node.name: node for node in program.nodes}
    assert checkpoint.limits["embeddings.output"] != checkpoint.limits["layers.0.ffn.output"]
    for layer, source in enumerate(["embeddings.output", "layers.0.ffn.output", "layers.1.ffn.output"]):
        node = nodes[f"layers.{layer}.attention.query_key_value"]
        width = encoder.config.hidden_size
        assert node.inputs[0] in [place.buffer for place in taps[source]]
        weight = encoder.layers[layer].attention.query.weight.detach().double().numpy()
        query = checkpoint.limits[f"layers.{layer}.attention.query"] / 127
        expected = np.abs(weight).max(axis=1) / 127 * (checkpoint.limits[source] / 127) / query
        multiplier, shift = (tensors[node.tensors[role]][:width] for role in ("multiplier", "shift"))
        np.testing.assert_allclose(multiplier * 2.0**-shift, expected, rtol=1e-6)


def test_bug_weights_are_clamped_to_126(tmp_path: Path) -> None:
    """[-127, 126] there: the largest weight of a row, if positive, is one off."""
    model = trained(tmp_path)
    assert model.encoder.layer[0].attention.self.query.weight_integer.max() == 126
    encoder, checkpoint = load_checkpoint(tmp_path)
    low = lowered(encoder, checkpoint.limits)
    program, tensors = low.program, low.tensors
    node = next(node for node in program.nodes if node.name == "layers.0.attention.query_key_value")
    assert tensors[node.tensors["weight"]].max() == 127


def test_bug_context_requantized_with_the_scale_of_the_scores(tmp_path: Path) -> None:
    """fairseq's code uses S_q S_k for what has the scale of probabilities times values."""
    trained(tmp_path)
    encoder, checkpoint = load_checkpoint(tmp_path)
    low = lowered(encoder, checkpoint.limits)
    program, tensors = low.program, low.tensors
    for layer in range(3):
        prefix = f"layers.{layer}.attention"
        node = next(node for node in program.nodes if node.name == f"{prefix}.context")
        heads = encoder.config.num_attention_heads
        roles = ("output_multiplier", "output_exponent")
        multiplier, exponent = (tensors[node.tensors[role]][:heads].astype(float) for role in roles)
        expected = checkpoint.limits[f"{prefix}.value"] / checkpoint.limits[f"{prefix}.context"]
        np.testing.assert_allclose(multiplier * 2.0 ** (exponent - 14), expected, rtol=2e-4)


def test_bug_frozen_layer_norm_shift_overflows(tmp_path: Path) -> None:
    """There the sum of squares of an outlier larger than training's leaves 32 bits; here nothing can."""
    model = trained(tmp_path)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[7] *= 1e4
    model.save_pretrained(tmp_path)
    encoder, checkpoint = load_checkpoint(tmp_path)
    file = quantize_encoder(encoder, sequences(encoder, 16, seed=4), IBERT, limits=checkpoint.limits)
    oracle.prove(file.program, file.tensors)
    outlier = [Encoded([7, 8, 7], [0, 0, 0])]
    (expected,) = oracle.run(file.program, file.tensors, [outlier[0].ids]).values()
    np.testing.assert_array_equal(Model(file).run([outlier[0].ids]).values, np.asarray(expected, np.int64))
    comparison = compare(
        encoder.config.head, float_outputs(encoder, outlier), integer_outputs(Model(file), outlier)
    )
    assert comparison.mean_cosine > 0.9


def test_bug_layer_norm_divides_by_gamma(tmp_path: Path) -> None:
    """A gain of zero gives bias / weight = infinity there; here the output is the bias."""
    save_tiny(family("ibert").tiny()[0], tmp_path)
    edit(tmp_path, lambda t: t["encoder.layer.1.output.LayerNorm.weight"].fill_(0.0))
    encoder, _ = load_checkpoint(tmp_path)
    unseen = sequences(encoder, 8, seed=2)
    outputs = integer_outputs(Model(quantize_encoder(encoder, sequences(encoder, 16, seed=0), IBERT)), unseen)
    comparison = compare(encoder.config.head, float_outputs(encoder, unseen), outputs)
    assert comparison.relative_error < 1e-3


def test_bug_softmax_floor_gives_rows_of_zeros(tmp_path: Path) -> None:
    """Probabilities below 1/256 are all zero there, so that long, even rows have no context."""
    save_tiny(family("ibert").tiny()[0] | {"max_position_embeddings": 330}, tmp_path)
    edit(
        tmp_path,
        lambda t: [t[name].fill_(0.0) for name in t if ".query.weight" in name or ".query.bias" in name],
    )
    encoder, _ = load_checkpoint(tmp_path)
    text = random_sequences(encoder, [320], seed=5)
    scales_from = sequences(encoder, 8, seed=0) + text
    statistics = channel_statistics(encoder, pack(scales_from))
    scales = choose_scales(encoder, statistics, lambda: pack(scales_from), IBERT)
    context = context_of(encoder, scales, text[0])
    floats = channel_statistics(encoder, pack(text))["layers.0.attention.context"]
    grid = scales.grids["layers.0.attention.context"]
    assert np.abs(floats.total / floats.count).max() > 2 * grid.scale[0]
    np.testing.assert_allclose(context.mean(axis=0), floats.total / floats.count, atol=1.5 * grid.scale[0])


def context_of(encoder: Encoder, scales: Any, text: Encoded) -> np.ndarray:
    """The first layer's context as the program computes it, in real numbers."""
    from pyqrt.runtime.trace import trace

    low = lower_with_taps(encoder, scales)
    arrays = [np.array(a, np.int32) for a in (text.ids, [0, len(text.ids)], text.types)]
    (place,) = low.taps["layers.0.attention.context"]
    assert not isinstance(place.grid, float)
    integers = trace(low.program, low.tensors, *arrays, threads=1)[place.buffer]
    return place.grid.dequantize(np.from_dlpack(integers))
