"""Relative positions: scores that depend on the distance between two tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pyqrt.nn.config import Disentangled, EncoderConfig, RelativeBias, RelativeKeys


def rows_of_distances(kind: RelativeBias | Disentangled | RelativeKeys, reach: int) -> Tensor:
    """The table row of every distance i - j from -reach to reach: int64 [2 reach + 1].

    In single precision, as the checkpoints were trained: the ends of logarithmic buckets depend on it.
    """
    distance = torch.arange(-reach, reach + 1)
    if isinstance(kind, RelativeKeys):
        return distance + kind.span - 1
    if isinstance(kind, Disentangled):
        return _disentangled_rows(kind, distance)
    buckets = kind.buckets // 2  # one half for each direction
    exact = buckets // 2
    far = distance.abs().clamp(min=1).float() / exact
    logarithmic = exact + (far.log() / math.log(kind.max_distance / exact) * (buckets - exact)).long()
    row = torch.where(distance.abs() < exact, distance.abs(), logarithmic.clamp(max=buckets - 1))
    return row + (distance < 0) * buckets


def _disentangled_rows(kind: Disentangled, distance: Tensor) -> Tensor:
    row = distance
    if kind.buckets:
        middle = kind.buckets // 2
        near = (distance < middle) & (distance > -middle)
        far = torch.where(near, torch.tensor(middle - 1), distance.abs())
        logarithmic = (far / middle).log() / torch.tensor((kind.max_distance - 1) / middle).log()
        outer = (torch.ceil(logarithmic * (middle - 1)) + middle) * distance.sign()
        row = torch.where(far <= middle, distance.float(), outer).long()
    return (row + kind.span).clamp(0, 2 * kind.span - 1)


class Relative(nn.Module):
    """The tables of relative positions, which all layers share."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        kind = config.relative
        assert isinstance(kind, (RelativeBias, Disentangled))
        self.norm: nn.LayerNorm | None = None
        if isinstance(kind, RelativeBias):
            self.table = nn.Embedding(kind.buckets, config.num_attention_heads)
        else:
            self.table = nn.Embedding(2 * kind.span, config.hidden_size)
            if kind.norm:
                self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def embeddings(self) -> Tensor:
        """The rows of the table, normalised as configured: [rows, heads or hidden]."""
        rows: Tensor = self.table.weight
        return rows if self.norm is None else self.norm(rows)
