"""Quantization-aware training whose integer program runs on a GPU: the integers of the CPU."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from gpu.targets import TARGETS, Target
from pyqrt.distill.api import Training, distill_checkpoint, weights_of
from pyqrt.eval import evaluate
from pyqrt.quantize.qat import QuantizedEncoder
from pyqrt.quantize.texts import pack_one
from pyqrt.train.finetune import finetune
from pyqrt.train.loop import Options
from quantize.test_qat import calibrated, random_loss
from tiny_checkpoint import checkpoint
from tiny_encoders import mixed_lengths, random_sequences, tiny_encoder
from train.test_finetune import separable


def step(model: QuantizedEncoder, place: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The output of a batch, and the gradients of all parameters, on the CPU."""
    batch = pack_one(random_sequences(model.encoder, mixed_lengths(model.encoder, 4), seed=1))
    output = model(batch.ids.to(place), batch.offsets, batch.types.to(place))
    random_loss(output.cpu()).backward()
    gradients = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
    return output.detach().cpu(), gradients


@pytest.mark.parametrize("name", ["bert", "albert"])
@pytest.mark.parametrize("target", [TARGETS[0], TARGETS[-1]], ids=["emulated", "GPU"])
def test_a_step_computes_the_integers_of_the_cpu(target: Target, name: str) -> None:
    target.modules()
    encoder = tiny_encoder(name, 0)
    scales = calibrated(encoder)
    expected, gradients = step(QuantizedEncoder(copy.deepcopy(encoder), scales), "cpu")
    if target.capability:
        model, place = QuantizedEncoder(encoder, scales, device="cuda-emulator"), "cpu"
    else:
        model, place = QuantizedEncoder(encoder.to("cuda"), scales), "cuda"
        assert model.device == "cuda:0"
    actual, others = step(model, place)
    np.testing.assert_array_equal(actual.numpy(), expected.numpy())
    assert others.keys() == gradients.keys()
    total = torch.cat([gradient.flatten() for gradient in gradients.values()]).norm()
    for key, gradient in gradients.items():
        if target.capability:
            np.testing.assert_array_equal(others[key].numpy(), gradient.numpy(), err_msg=key)
        else:
            # A GPU adds floats in another order. Calibration puts the largest value of a tensor at the end
            # of its grid, where a bit decides whether it is saturated and passes no gradient.
            assert (others[key] - gradient).norm() <= 0.05 * total, key


def test_floats_and_integers_are_trained_on_a_gpu(tmp_path: Path) -> None:
    """What `pyqrt qat --device cuda` and tools/finetune.py do; the model file is as good as its floats."""
    TARGETS[-1].modules()
    data, tuned, model = separable(tmp_path / "train.tsv", 64, 0), tmp_path / "tuned", tmp_path / "model.qrt"
    options = Options(epochs=6, learning_rate=3e-3)
    report = finetune(
        checkpoint(tmp_path / "bert"), "sst2", data, tuned, options, batch_size=8, device="cuda"
    )
    assert report["losses"][-1] < 0.1 < report["losses"][0]
    training = Training(epochs=1, integer_epochs=1, integer_learning_rate=1e-4, batch=8)
    report = distill_checkpoint(
        tuned,
        model,
        data,
        layers=1,
        task="sst2",
        weights=weights_of("qat", {"labels": 1.0}),
        training=training,
        device="cuda",
        progress=False,
    )
    assert report["losses"].keys() == {"float", "integer"}
    assert evaluate(model, "sst2", data, resamples=1).scores[0].integer.value == 1.0
