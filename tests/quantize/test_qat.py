"""Training on integers: the forward pass is what the model file computes, and everything learns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from oracle import program as oracle
from pyqrt.errors import ModelError
from pyqrt.grids import Grid, Scales
from pyqrt.lower import lower, lower_with_taps
from pyqrt.models import families, family
from pyqrt.nn import Encoder
from pyqrt.nn.tap import record
from pyqrt.quantize.choose import choose_scales
from pyqrt.quantize.qat import QuantizedEncoder, on_grid
from pyqrt.quantize.recipe import read_recipe
from pyqrt.quantize.statistics import channel_statistics
from pyqrt.quantize.texts import Encoded, pack, pack_one
from pyqrt.runtime.format import read, write
from pyqrt.runtime.model import Model
from pyqrt.runtime.tasks import Task
from tiny_encoders import mixed_lengths, random_sequences, tiny_configurations, tiny_encoder

CONFIGURATIONS = tiny_configurations()


def calibrated(encoder: Encoder) -> Scales:
    sequences = random_sequences(encoder, mixed_lengths(encoder, 16))
    statistics = channel_statistics(encoder, pack(sequences))
    return choose_scales(encoder, statistics, lambda: pack(sequences), read_recipe("default"))


def reals(integers: np.ndarray, grid: Grid | float) -> np.ndarray:
    """What integers stand for, in single precision."""
    if not isinstance(grid, Grid):
        return integers * np.float32(grid)
    return (integers - np.float32(grid.zero_point)) * grid.scale.astype(np.float32) + grid.shift.astype(
        np.float32
    )


def random_loss(output: Tensor) -> Tensor:
    return (output * torch.randn(output.shape, generator=torch.Generator().manual_seed(0))).sum()


def train(model: QuantizedEncoder, sequences: list[Encoded], steps: int, rate: float) -> None:
    batch = pack_one(sequences)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(steps):
        optimizer.zero_grad()
        random_loss(model(batch.ids, batch.offsets, batch.types)).backward()
        optimizer.step()


@pytest.mark.parametrize(("name", "number"), CONFIGURATIONS)
def test_before_training_the_program_is_that_of_quantize(name: str, number: int) -> None:
    encoder = tiny_encoder(name, number)
    scales = calibrated(encoder)
    program, tensors = lower(encoder, scales)
    lowered = QuantizedEncoder(encoder, scales).lowered()
    assert lowered.program == program
    assert lowered.tensors.keys() == tensors.keys()
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(lowered.tensors[key], tensor, err_msg=key)


@pytest.mark.parametrize(("name", "number"), CONFIGURATIONS)
def test_training_computes_the_integers_of_the_model_file(name: str, number: int, tmp_path: Path) -> None:
    encoder = tiny_encoder(name, number)
    model = QuantizedEncoder(encoder, calibrated(encoder))
    sequences = random_sequences(encoder, mixed_lengths(encoder, 5), seed=1)
    before = model.lowered()
    train(model, sequences, 3, 1e-2)
    batch = pack_one(sequences)
    with record(encoder, encoder.taps()) as seen:
        output = model(batch.ids, batch.offsets, batch.types)

    trained, scales = model.trained()
    program, tensors = lower(trained, scales)
    assert any((tensors[key] != before.tensors[key]).any() for key in tensors), "nothing was learned"
    path = tmp_path / "trained.qrt"
    # What the logits mean does not matter here.
    write(path, program, tensors, Task("embedding", program.outputs[0].name, ()), None, {}, {})

    ids, types = [s.ids for s in sequences], [s.types for s in sequences]
    values, scale = Model(read(path)).run(ids, types)
    integers = np.concatenate([np.atleast_2d(rows) for rows in values])
    np.testing.assert_array_equal(output.detach().numpy(), (integers * scale).astype(np.float32))

    file = read(path)
    buffers = oracle.run_buffers(file.program, file.tensors, ids, types)
    low = lower_with_taps(trained, scales)
    taps = low.taps
    for tap, places in taps.items():
        # Of a layer norm's two it is the int16, which the residual adds; layers may share a tap.
        wide = [place for place in places if not isinstance(place.grid, Grid)] or places
        for place, value in zip(wide, seen[tap], strict=True):
            integers = buffers[place.buffer][:, place.columns(value.shape[1])]
            np.testing.assert_array_equal(value.detach().numpy(), reals(integers, place.grid), err_msg=tap)
    for tap, tables in low.tables.items():
        for table in tables:
            rows = reals(file.tensors[table.tensor][: table.rows], table.grid)
            # by layers, once for every length in the batch; lowering passed before, without gradients
            values = [value.detach() for value in seen[tap] if value.requires_grad]
            assert len(values) == len(set(map(len, ids))) * len(tables)
            for value in values:
                part = value[table.first : table.first + table.rows].numpy()
                np.testing.assert_array_equal(part, rows, err_msg=tap)
    # nothing is left out: a buffer is a tap's, the output, or rows before they are turned or put side by side
    held = {place.buffer for places in taps.values() for place in places}
    inner = {b for node in program.nodes if node.op in ("rotary", "neighbours") for b in node.inputs}
    assert held | inner | {program.outputs[0].buffer} == set(range(len(program.buffers)))


@pytest.mark.parametrize("name", families())
def test_gradients_reach_every_parameter_and_scale(name: str) -> None:
    encoder = tiny_encoder(name, 0)
    model = QuantizedEncoder(encoder, calibrated(encoder))
    batch = pack_one(random_sequences(encoder, mixed_lengths(encoder, 8), seed=1))
    random_loss(model(batch.ids, batch.offsets, batch.types)).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        # a constant added to every key leaves softmax as it is
        if not key.endswith("key.bias"):
            assert parameter.grad.abs().max() > 0, key


def test_gradients_are_near_those_of_the_floats() -> None:
    """Eight bits disturb values by per cents, so the direction of the gradient stays."""
    encoder = tiny_encoder("bert", 0)
    batch = pack_one(random_sequences(encoder, mixed_lengths(encoder, 8), seed=1))
    parameters = list(encoder.parameters())
    expected = torch.autograd.grad(random_loss(encoder(batch.ids, batch.offsets, batch.types)), parameters)
    model = QuantizedEncoder(encoder, calibrated(encoder))
    actual = torch.autograd.grad(random_loss(model(batch.ids, batch.offsets, batch.types)), parameters)
    a, b = (torch.cat([g.flatten() for g in gradients]) for gradients in (expected, actual))
    assert torch.nn.functional.cosine_similarity(a, b, dim=0) > 0.98


def test_gradient_of_the_scale_is_that_of_lsq() -> None:
    """Equation 3 of arXiv 1902.08153: rounding error inside, the integer outside."""
    real = torch.tensor([[-30.0, -0.6, 0.3, 0.9, 30.0]], requires_grad=True)
    scale = torch.tensor([0.5], requires_grad=True)
    integers = torch.tensor([[-7, -1, 1, 2, 7]], dtype=torch.int8)
    values = on_grid(real, integers, scale, 7)
    assert torch.equal(values, integers * 0.5)
    (gradients,) = torch.autograd.grad(values.sum(), real, retain_graph=True)
    assert torch.equal(gradients, torch.tensor([[0.0, 1.0, 1.0, 1.0, 0.0]]))
    (gradient,) = torch.autograd.grad(values.sum(), scale)
    expected = -7 + (-1 - -0.6 / 0.5) + (1 - 0.3 / 0.5) + (2 - 0.9 / 0.5) + 7
    torch.testing.assert_close(gradient, torch.tensor([expected]))


def test_grid_with_zero_point_and_shift() -> None:
    real = torch.tensor([[1.0, 2.0]], requires_grad=True)
    shift = torch.tensor([0.25, -0.5])
    values = on_grid(real, torch.tensor([[13, 15]], dtype=torch.int8), torch.tensor(0.25), 127, 10, shift)
    assert torch.equal(values, torch.tensor([[1.0, 0.75]]))
    (gradients,) = torch.autograd.grad(values.sum(), real)
    assert torch.equal(gradients, torch.ones(1, 2))


def classifier(name: str) -> int:
    """A configuration of a family that classifies texts or tokens, if it has one."""
    ends = ("ForSequenceClassification", "ForTokenClassification")
    kinds = [hf["architectures"][0].endswith(ends) for hf in family(name).tiny()]
    return kinds.index(True) if True in kinds else 0


@pytest.mark.parametrize("name", families())
def test_training_lowers_the_integer_loss(name: str) -> None:
    encoder = tiny_encoder(name, classifier(name))
    target = tiny_encoder(name, classifier(name), seed=1)
    model = QuantizedEncoder(encoder, calibrated(encoder))
    batch = pack_one(random_sequences(encoder, mixed_lengths(encoder, 12), seed=1))
    with torch.no_grad():
        goal = target(batch.ids, batch.offsets, batch.types)

    def loss() -> Tensor:
        return (model(batch.ids, batch.offsets, batch.types) - goal).square().mean()

    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    first = loss().item()
    for _ in range(30):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < first / 4


def test_scales_alone_repair_bad_ones() -> None:
    """Steps eight times too large: learning scales only, with the weights frozen, brings the floats back."""
    encoder = tiny_encoder("bert", 0)
    encoder.requires_grad_(False)
    batch = pack_one(random_sequences(encoder, mixed_lengths(encoder, 12), seed=1))
    goal = encoder(batch.ids, batch.offsets, batch.types)
    scales = calibrated(encoder)
    coarse = {
        name: Grid(np.float32(8) * grid.scale.astype(np.float32).astype(np.float64), grid.shift, 0)
        for name, grid in scales.grids.items()
    }
    model = QuantizedEncoder(encoder, Scales(coarse, scales.wide))

    def loss() -> Tensor:
        return (model(batch.ids, batch.offsets, batch.types) - goal).square().mean()

    optimizer = torch.optim.Adam(model.scale_parameters(), 5e-2)
    first = loss().item()
    for _ in range(25):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < first / 4
    assert all(clip.max() <= 0 for clip in model.log_clips.values())


def test_the_encoder_is_a_float_encoder_outside_training() -> None:
    encoder = tiny_encoder("bert", 0)
    batch = pack_one(random_sequences(encoder, [3, 7]))
    expected = encoder(batch.ids, batch.offsets, batch.types)
    model = QuantizedEncoder(encoder, calibrated(encoder))
    model(batch.ids, batch.offsets, batch.types)
    assert torch.equal(encoder(batch.ids, batch.offsets, batch.types), expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_step_gives_the_same_bytes_again(threads: int) -> None:
    def trained(count: int) -> list[Tensor]:
        encoder = tiny_encoder("bert", 0)
        model = QuantizedEncoder(encoder, calibrated(encoder), threads=count)
        train(model, random_sequences(encoder, [3, 7, 7]), 2, 1e-2)
        return [p.detach() for p in model.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(trained(1), trained(threads), strict=True))


@pytest.mark.parametrize(
    ("break_batch", "message"),
    [
        (lambda ids, offsets: (ids + 1000, offsets), "token id 1000"),
        (lambda ids, offsets: (ids, [0, 0, 5]), "sequence 0"),
        (lambda ids, offsets: (ids, [0, 4]), "offsets"),
    ],
)
def test_a_bad_batch_is_refused(
    break_batch: Callable[[Tensor, list[int]], tuple[Tensor, list[int]]], message: str
) -> None:
    encoder = tiny_encoder("bert", 0)
    model = QuantizedEncoder(encoder, calibrated(encoder))
    with pytest.raises(ModelError, match=message):
        model(*break_batch(torch.arange(5), [0, 2, 5]))
