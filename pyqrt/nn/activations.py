"""Element-wise activation functions under the names Hugging Face configurations use."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from pyqrt.errors import ModelError

Activation = Callable[[Tensor], Tensor]

_gelu_tanh: Activation = partial(functional.gelu, approximate="tanh")


def _identity(x: Tensor) -> Tensor:
    return x


def _clipped_gelu(x: Tensor) -> Tensor:
    return functional.gelu(x).clamp(-10.0, 10.0)


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def _laplace(x: Tensor) -> Tensor:
    """The normal distribution function with MEGA's mean and deviation (arXiv 2209.10655, section 3.2)."""
    mean, deviation = 0.707107, 0.282095
    return 0.5 * (1.0 + torch.erf((x - mean) / (deviation * math.sqrt(2.0))))


def _relu_squared(x: Tensor) -> Tensor:
    return functional.relu(x).square()


def _sqrt_softplus(x: Tensor) -> Tensor:
    return functional.softplus(x).sqrt()


# Names that differ only in how one function is computed share that function.
_ACTIVATIONS: dict[str, Activation] = {
    "gelu": functional.gelu,
    "gelu_10": _clipped_gelu,
    "gelu_accurate": _gelu_tanh,
    "gelu_fast": _gelu_tanh,
    "gelu_new": _gelu_tanh,
    "gelu_python": functional.gelu,
    "gelu_python_tanh": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "hardswish": functional.hardswish,
    "laplace": _laplace,
    "leaky_relu": functional.leaky_relu,
    "linear": _identity,
    "mish": functional.mish,
    "quick_gelu": _quick_gelu,
    "relu": functional.relu,
    "relu2": _relu_squared,
    "relu6": functional.relu6,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "sqrtsoftplus": _sqrt_softplus,
    "swish": functional.silu,
    "tanh": torch.tanh,
}


def activations() -> tuple[str, ...]:
    """The names `activation` knows, sorted."""
    return tuple(sorted(_ACTIVATIONS))


def activation(name: str) -> Activation:
    """The function a Hugging Face configuration means by `name`.

    It maps a float tensor to one of the same shape and dtype. Names of one function ("gelu_new" and
    "gelu_fast", "silu" and "swish") give the same object. Activations with parameters of their own
    ("prelu", "xielu") are not known.

    Raises ModelError for an unknown name, listing the known ones.
    """
    try:
        return _ACTIVATIONS[name]
    except (KeyError, TypeError):
        raise ModelError(f"unknown activation {name!r}; known: {', '.join(activations())}") from None


def is_gelu(name: str) -> bool:
    """Is it the GELU, in its erf or its tanh form? They differ by 4.7e-4 at most."""
    return activation(name) in (activation("gelu"), _gelu_tanh)
