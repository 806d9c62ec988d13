"""Question-aware span selection: a text's rows held against that of its question's token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyqrt.nn.activations import activation
from pyqrt.nn.config import Spans
from pyqrt.nn.packing import Packing
from pyqrt.nn.tap import Tap


class SpanTransform(nn.Module):
    """A linear layer, an activation, a norm: [rows, hidden] -> the same shape."""

    def __init__(self, config: Spans, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.activation = activation(config.activation)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.linear_tap = Tap()
        self.activation_tap = Tap()
        self.output_tap = Tap()

    def forward(self, x: Tensor) -> Tensor:
        """``norm(activation(linear(x)))``."""
        inner = self.activation_tap(self.activation(self.linear_tap(self.linear(x))))
        result: Tensor = self.output_tap(self.norm(inner))
        return result


class Bound(nn.Module):
    """Where an answer begins, or ends: how well every token fits the question."""

    def __init__(self, config: Spans, width: int) -> None:
        super().__init__()
        self.question = SpanTransform(config, width)
        self.token = SpanTransform(config, width)
        self.classifier = nn.Linear(width, width, bias=False)
        self.output_tap = Tap()

    def forward(self, x: Tensor, question: Tensor, packing: Packing) -> Tensor:
        """[tokens, hidden] and [sequences, hidden] -> a logit for every token, [tokens]."""
        row = self.output_tap(self.classifier(self.question(question)))
        logits: Tensor = (self.token(x) * packing.to_tokens(row)).sum(-1)
        return logits


class SpanSelection(nn.Module):
    """Start and end logits from products of rows (Ram et al. 2021, arXiv 2101.00438)."""

    def __init__(self, config: Spans, width: int) -> None:
        super().__init__()
        self.config = config
        self.question_tap = Tap()
        self.start = Bound(config, width)
        self.end = Bound(config, width)

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """[tokens, hidden] -> [tokens, 2]."""
        question = self.question_tap(x[packing.rows_of(self.config.token)])
        return torch.stack([bound(x, question, packing) for bound in (self.start, self.end)], dim=1)
