"""Where training computes: the CPU, or a GPU that torch can use."""

from __future__ import annotations

import re

import torch

from pyqrt.errors import ModelError


def training_device(name: str) -> torch.device:
    """torch's device of a name: "cpu", "cuda" or "cuda:N". Raises ModelError for one that is not there."""
    match = re.fullmatch(r"cpu|cuda(?::(\d{1,9}))?", name)
    if match is None:
        raise ModelError(f"unknown device {name!r}; training knows: cpu, cuda, cuda:0, cuda:1 and so on")
    if name == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ModelError(
            f"torch {torch.__version__} finds no GPU to train on; install a build of torch for CUDA and "
            "NVIDIA's driver, or use device 'cpu'"
        )
    number, count = int(match[1] or 0), torch.cuda.device_count()
    if number >= count:
        raise ModelError(f"there is no device {name!r}; torch can use {count} GPUs, counted from 0")
    return torch.device("cuda", number)
