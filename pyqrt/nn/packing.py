"""How the sequences of a batch lie in one row of packed tokens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from pyqrt.errors import ModelError
from pyqrt.nn.config import GlobalTokens, Pooling

Further = Callable[[Tensor, Tensor, Tensor], Tensor]


def beside(x: Tensor, positions: Tensor, reach: int) -> Tensor:
    """Rows beside those around them in their sequences: [tokens, width] -> [tokens, (2 reach + 1) width].

    positions: int64 [tokens], of every token in its sequence. The last of the rows comes first; what is
    beyond a sequence is zero.
    """
    place, tokens = torch.arange(len(x), device=x.device), len(x)
    blocks = []
    for distance in range(reach, -reach - 1, -1):
        source = (place + distance).clamp(0, tokens - 1)
        there = positions[source] == positions + distance
        blocks.append(x[source] * there[:, None])
    return torch.cat(blocks, dim=1)


class Packing:
    """Sequence boundaries of packed tokens, and the operations that need them.

    Built once per forward pass. Sequences of equal length are grouped, so that attention takes one call
    per distinct length.
    """

    def __init__(self, offsets: Sequence[int] | Tensor, ids: Tensor) -> None:
        """offsets: [sequences + 1] ascending positions, first 0, last `tokens`; no sequence is empty.

        ids: of the tokens, int64 [tokens]. Raises ModelError otherwise.
        """
        tokens, device = len(ids), ids.device
        bounds = [int(bound) for bound in (offsets.tolist() if isinstance(offsets, Tensor) else offsets)]
        if len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != tokens:
            raise ModelError(
                f"offsets must start with 0 and end with the number of tokens, {tokens}; got {bounds[:1]} "
                f"to {bounds[-1:]} ({len(bounds)} entries)"
            )
        lengths = [end - start for start, end in pairwise(bounds)]
        for index, length in enumerate(lengths):
            if length < 1:
                raise ModelError(f"offsets: sequence {index} has {length} tokens; every sequence needs one")

        self.ids = ids
        self.lengths = lengths
        self.first_rows = torch.tensor(bounds[:-1], device=device)
        self._length_column = torch.tensor(lengths, device=device)[:, None]
        self._sequence_of_row = torch.repeat_interleave(
            torch.arange(len(lengths), device=device), self._length_column[:, 0]
        )
        self.positions = torch.arange(tokens, device=device) - self.first_rows[self._sequence_of_row]

        starts_of_length: dict[int, list[int]] = defaultdict(list)
        for start, length in zip(bounds, lengths, strict=False):
            starts_of_length[length].append(start)
        # token rows of the sequences of one length, [sequences of that length, length]
        self._groups = [
            torch.tensor(starts, device=device)[:, None] + torch.arange(length, device=device)
            for length, starts in starts_of_length.items()
        ]

    def pool(self, x: Tensor, pooling: Pooling | None) -> Tensor:
        """One row of every sequence's: [tokens, width] -> [sequences, width]. None is no pooling: x."""
        if pooling == "first":
            return x[self.first_rows]
        if pooling == "last":
            return x[self.first_rows + self._length_column[:, 0] - 1]
        if pooling == "mean":
            sums = x.new_zeros(len(self.lengths), x.shape[1]).index_add(0, self._sequence_of_row, x)
            return sums / self._length_column
        if pooling == "max":
            rows = self._sequence_of_row[:, None].expand_as(x)
            lowest = x.new_full((len(self.lengths), x.shape[1]), -torch.inf)
            return lowest.scatter_reduce(0, rows, x, "amax")
        return x

    def rows_of(self, token: int) -> Tensor:
        """Every sequence's first row whose id is `token`, its first row if there is none: [sequences]."""
        return self.first_rows + self._places_of(token) % self._length_column[:, 0]

    def globals(self, tokens: GlobalTokens) -> Tensor:
        """Which rows are their sequences' global tokens, bool [tokens]."""
        if tokens.until is not None:
            return self.positions < self.to_tokens(self._places_of(tokens.until))
        if tokens.after is not None:
            return self.positions >= self.to_tokens(self._places_of(tokens.after) + 2)
        return self.positions == 0

    def _places_of(self, token: int) -> Tensor:
        """Where the first token of that id is in every sequence, its length if there is none: [sequences]."""
        there = self.ids == token
        return self._length_column[:, 0].scatter_reduce(
            0, self._sequence_of_row[there], self.positions[there], "amin"
        )

    def to_tokens(self, rows: Tensor) -> Tensor:
        """Every token's row of its sequence: [sequences, width] -> [tokens, width]."""
        return rows[self._sequence_of_row]

    def attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        num_heads: int,
        scale: float,
        further: Further | None = None,
    ) -> Tensor:
        """softmax(Q K^T scale + further) V, per head, within every sequence.

        query, key, value, result: [tokens, hidden], head h in columns [h d, (h + 1) d).
        further: of Q and K [sequences, heads, length, d], and of their rows [sequences, length], makes what
        is added to the scores, of a shape that extends to [sequences, heads, length, length].
        """
        if len(self._groups) == 1:
            return _attention(query, key, value, self._groups[0], num_heads, scale, further)
        context = torch.empty_like(query)
        for group in self._groups:
            rows = group.flatten()
            heads = query[rows], key[rows], value[rows]
            context.index_copy_(0, rows, _attention(*heads, group, num_heads, scale, further))
        return context

    def first_attention(
        self, query: Tensor, key: Tensor, value: Tensor, num_heads: int, scale: float
    ) -> Tensor:
        """As `attention`, of one query in every sequence: query and result are [sequences, hidden]."""
        context = torch.empty_like(query)
        for group in self._groups:
            rows, own = group.flatten(), self._sequence_of_row[group[:, 0]]
            heads = query[own], key[rows], value[rows]
            context = context.index_copy(0, own, _attention(*heads, group, num_heads, scale, None))
        return context


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    group: Tensor,
    num_heads: int,
    scale: float,
    further: Further | None,
) -> Tensor:
    """Attention of sequences of equal length, whose rows are `group`, or one query of each of them."""
    rows, hidden = query.shape

    def split(x: Tensor) -> Tensor:
        return x.reshape(len(group), len(x) // len(group), num_heads, hidden // num_heads).transpose(1, 2)

    q, k = split(query), split(key)
    mask = None if further is None else further(q, k, group)
    context = functional.scaled_dot_product_attention(q, k, split(value), attn_mask=mask, scale=scale)
    return context.transpose(1, 2).reshape(rows, hidden)
