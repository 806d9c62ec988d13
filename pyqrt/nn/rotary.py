"""Rotary positions (Su et al. 2021, arXiv 2104.09864): queries and keys turned by their position."""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_tables(base: float, size: int, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine [len(positions), size / 2] of position * base^(-2 c / size).

    In single precision, as the checkpoints were trained.
    """
    exponents = torch.arange(0, size, 2, dtype=torch.float32, device=positions.device) / size
    angles = positions[:, None].float() * (1.0 / base**exponents)
    return angles.cos(), angles.sin()


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
