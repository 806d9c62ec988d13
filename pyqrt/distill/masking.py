"""Words hidden from a masked language model, drawn anew for every batch.

Devlin et al. 2018 (arXiv 1810.04805), section 3.1.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pyqrt.train.finetune import IGNORED

SHARE = 0.15  # of the tokens are drawn; of those 80 % become the mask, 10 % any token, 10 % stay
_MASKED, _REPLACED = 0.8, 0.1


@dataclass(frozen=True)
class Masking:
    """How tokens are hidden.

    mask: id of the mask token. kept: ids that are never drawn, the special ones. vocab_size: above the ids
    that may stand in their place.
    """

    mask: int
    kept: Collection[int]
    vocab_size: int

    def hide(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Ids int64 [tokens] with some replaced, and what stood there: int64 [tokens], else `IGNORED`.

        Draws from torch's CPU generator.
        """
        chance, how = torch.rand(2, len(ids))
        random = torch.randint(self.vocab_size, ids.shape)
        drawn = (chance < SHARE) & ~torch.isin(ids, torch.tensor(list(self.kept), dtype=ids.dtype))
        hidden = torch.where(drawn & (how < _MASKED), self.mask, ids)
        replaced = drawn & (how >= _MASKED) & (how < _MASKED + _REPLACED)
        return torch.where(replaced, random, hidden), torch.where(drawn, ids, IGNORED)


def masked_word_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy [] of logits [tokens, vocabulary] where `target` is not `IGNORED`; 0 if nowhere."""
    total = functional.cross_entropy(logits, target, ignore_index=IGNORED, reduction="sum")
    return total / (target != IGNORED).sum().clamp(min=1)
