"""Dropout for the time of a training: the encoder itself has none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from pyqrt.errors import ModelError
from pyqrt.nn import Encoder
from pyqrt.nn.layers import Attention, FeedForward


@contextmanager
def dropout(encoder: Encoder, rate: float) -> Iterator[None]:
    """While this lasts, in training mode, entries are zeroed at `rate`, the others scaled up.

    Where BERT does so (Srivastava et al. 2014; Devlin et al. 2018, arXiv 1810.04805, appendix A.2): of the
    embeddings, of what attention and feed-forward blocks add to the stream, and of what the classifier
    reads; not of probabilities of attention. Draws from torch's generator of the encoder's device. Raises
    ModelError for a rate outside [0, 1).
    """
    if not 0.0 <= rate < 1.0:
        raise ModelError(f"dropout is {rate}; it must be from 0 to below 1")

    def dropped(x: Tensor) -> Tensor:
        return functional.dropout(x, rate, training=encoder.training)

    def of_output(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        return dropped(output)

    def of_input(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        return (dropped(inputs[0]),)

    hooks = []
    if rate:
        written: list[nn.Module] = [encoder.embeddings]
        written += [module.output for module in encoder.modules() if isinstance(module, Attention)]
        written += [module.down for module in encoder.modules() if isinstance(module, FeedForward)]
        hooks = [module.register_forward_hook(of_output) for module in written]
        if encoder.head.classifier is not None:
            hooks.append(encoder.head.classifier.register_forward_pre_hook(of_input))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
