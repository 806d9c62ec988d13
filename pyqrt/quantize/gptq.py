"""Weights rounded one input column at a time, each column's error made good by the columns after it.

Frantar et al. 2022 (GPTQ, arXiv 2210.17323), 8 bits, one step per output channel, columns in the
order of falling input variance. The inputs are those that the integer kernel will see. Their mean
is taken out: what an error in the weights makes of it goes into the bias, which has 32 bits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyqrt.grids import MAX_S8

_BLOCK = 128  # columns whose errors are spread at once


class Moments:
    """Running mean and covariance of a linear layer's inputs; float64 [width] and [width, width]."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self._total = torch.zeros(width, dtype=torch.float64)
        self._products = torch.zeros(width, width, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """Takes in rows [n, width]."""
        self.count += len(rows)
        self._total += rows.double().sum(dim=0)
        self._products += rows.T @ rows  # single precision will do

    @property
    def mean(self) -> Tensor:
        """[width]."""
        return self._total / max(self.count, 1)

    @property
    def second_moment(self) -> Tensor:
        """[width, width]."""
        return self._products / max(self.count, 1)

    @property
    def covariance(self) -> Tensor:
        """[width, width]."""
        return self.second_moment - torch.outer(self.mean, self.mean)


def round_columns(weight: Tensor, covariance: Tensor, damping: float) -> Tensor:
    """`weight` [n, k] on a grid of 8-bit integers times one step per row.

    The step is that of nearest rounding, a row's largest magnitude over 127, and that largest weight
    stays as it is: whoever rounds the result again finds the same step and the same integers.

    covariance: [k, k] of the inputs, float64 as the rest. damping: share of its mean diagonal that is
    added to the diagonal.
    """
    largest = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-30)
    order = torch.argsort(covariance.diagonal(), descending=True, stable=True)
    rest = (weight / (largest / MAX_S8))[:, order]
    fixed = torch.zeros_like(rest, dtype=torch.bool)
    fixed.scatter_(1, rest.abs().argmax(dim=1, keepdim=True), True)
    fixed &= weight.any(dim=1, keepdim=True)
    integers = torch.where(fixed, (rest.sign() * MAX_S8), torch.zeros_like(rest))
    spread = _error_spread(covariance[order][:, order], damping)
    for start in range(0, rest.shape[1], _BLOCK):
        stop = min(start + _BLOCK, rest.shape[1])
        block, own = rest[:, start:stop].clone(), spread[start:stop, start:stop]
        errors = torch.empty_like(block)
        for i in range(stop - start):
            nearest = torch.floor(block[:, i] + 0.5).clamp(-MAX_S8, MAX_S8)
            column = start + i
            integers[:, column] = torch.where(fixed[:, column], integers[:, column], nearest)
            errors[:, i] = (block[:, i] - integers[:, column]) / own[i, i]
            block[:, i + 1 :] -= torch.outer(errors[:, i], own[i, i + 1 :])
        rest[:, stop:] -= errors @ spread[start:stop, stop:]
    return integers[:, torch.argsort(order)] * (largest / MAX_S8)


def _error_spread(covariance: Tensor, damping: float) -> Tensor:
    """Upper Cholesky factor of the damped inverse: row c says how column c's error is made good."""
    level = damping * covariance.diagonal().mean().clamp_min(1e-12)
    damped = covariance + level * torch.eye(len(covariance), dtype=covariance.dtype)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor
