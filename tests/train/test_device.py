"""Where training computes, by name."""

from __future__ import annotations

import pytest
import torch

from pyqrt.errors import ModelError
from pyqrt.train.device import training_device


def test_the_cpu() -> None:
    assert training_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:-1", "cpu:0", "CUDA"])
def test_unknown_devices(name: str) -> None:
    with pytest.raises(ModelError, match="unknown device"):
        training_device(name)


def test_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert training_device("cuda") == torch.device("cuda", 0)
    assert training_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ModelError, match="torch can use 2 GPUs"):
        training_device("cuda:2")


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=r"finds no GPU to train on.*use device 'cpu'"):
        training_device("cuda")
