"""Rotary positions (Su et al. 2021, arXiv 2104.09864): queries and keys turned by their position."""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_tables(
    base: float, size: int, positions: Tensor, double_precision: bool = False
) -> tuple[Tensor, Tensor]:
    """Cosine and sine [len(positions), size / 2] of position * base^(-2 c / size).

    The angles are in the precision that the checkpoints were trained with, the tables in single precision.
    """
    dtype = torch.float64 if double_precision else torch.float32
    exponents = torch.arange(0, size, 2, dtype=dtype, device=positions.device) / size
    angles = positions[:, None].to(dtype) * (1.0 / base**exponents)
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, num_heads: int, cosine: Tensor, sine: Tensor, interleaved: bool) -> Tensor:
    """Every head's pairs of columns turned: [tokens, hidden] -> [tokens, hidden].

    The tables are [tokens, pairs]. A pair is column c and c + pairs of a head, or 2 c and 2 c + 1 if
    `interleaved`; columns beyond the pairs stay.
    """
    pairs = cosine.shape[1]
    heads = x.reshape(len(x), num_heads, -1)
    turned, rest = heads[..., : 2 * pairs], heads[..., 2 * pairs :]
    a, b = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    c, s = cosine[:, None, :].to(x.dtype), sine[:, None, :].to(x.dtype)
    first, second = a * c - b * s, b * c + a * s
    both = torch.stack((first, second), -1).flatten(-2) if interleaved else torch.cat((first, second), -1)
    return torch.cat((both, rest), -1).reshape(x.shape)
