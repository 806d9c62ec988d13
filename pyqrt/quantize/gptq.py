"""Weights rounded one input column at a time, each column's error made good by the columns after it.

Frantar et al. 2022 (GPTQ, arXiv 2210.17323), 8 bits, one step per output channel, columns in the
order of falling input variance. The inputs are those that the integer kernel will see. Their mean
is taken out: what an error in the weights makes of it goes into the bias, which has 32 bits.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pyqrt.grids import MAX_S8, Vector

_BLOCK = 32  # columns whose errors are spread at once
_EXACT_ROWS = 256  # 256 * 255^2 < 2^24: sums of products of integers that float32 holds


class Moments:
    """Running mean and covariance of a linear layer's inputs; float64 [width] and [width, width]."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self._total = torch.zeros(width, dtype=torch.float64)
        self._products = torch.zeros(width, width, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """Takes in rows [n, width]: float64, or float32 if they are, but for rounding, integers up to 255."""
        self.count += len(rows)
        self._total += rows.double().sum(dim=0)
        for part in torch.split(rows, _EXACT_ROWS):
            self._products += part.T @ part

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
    spread = _error_spread(covariance[order][:, order], damping)
    columns = (weight / (largest / MAX_S8)).T[order]  # [k, n], less the errors they have to make good
    integers = torch.empty_like(columns)
    top = columns.abs().argmax(dim=0)  # [n]
    top_value = columns.gather(0, top[None])[0].sign() * MAX_S8
    top[top_value == 0] = -1
    for start in range(0, len(columns), _BLOCK):
        block = slice(start, start + _BLOCK)
        errors = _round_block(
            columns[block].numpy(),
            spread[block, block].numpy(),
            (top - start).numpy(),
            top_value.numpy(),
            integers[block].numpy(),
        )
        rest = slice(start + _BLOCK, None)
        columns[rest] -= spread[block, rest].T @ torch.from_numpy(errors)
    return integers[torch.argsort(order)].T * (largest / MAX_S8)


def _round_block(columns: Vector, spread: Vector, top: Vector, top_value: Vector, integers: Vector) -> Vector:
    """Rounds columns [b, n] to `integers`; the errors [b, n] that those behind the block have to make good.

    Column top[r] of row r is top_value[r]. Without PyTorch: a step is too short to be shared out to threads.
    """
    errors = np.empty_like(columns)
    for i, column in enumerate(columns):
        nearest = np.clip(np.floor(column + 0.5), -MAX_S8, MAX_S8)
        integers[i] = np.where(top == i, top_value, nearest)
        errors[i] = (column - integers[i]) / spread[i, i]
        columns[i + 1 :] -= np.outer(spread[i, i + 1 :], errors[i])
    return errors


def _error_spread(covariance: Tensor, damping: float) -> Tensor:
    """Upper Cholesky factor of the damped inverse: row c says how column c's error is made good.

    Where the damped covariance is R R^T with R upper triangular, it is R^-1.
    """
    level = damping * covariance.diagonal().mean().clamp_min(1e-12)
    identity = torch.eye(len(covariance), dtype=covariance.dtype)
    factor = torch.linalg.cholesky((covariance + level * identity).flip(0, 1)).flip(0, 1)
    spread: Tensor = torch.linalg.solve_triangular(factor, identity, upper=True)
    return spread
