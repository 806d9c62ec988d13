"""The whole of `pyqrt sensitivity`: measure every node, propose a recipe, and measure that."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyqrt.bench.work import multiply_accumulates
from pyqrt.errors import ModelError
from pyqrt.lower import lower_with_taps
from pyqrt.nn import Encoder
from pyqrt.nn.config import Task
from pyqrt.progress import Progress, progress_bars, silent
from pyqrt.quantize.api import calibrate, quantize_encoder, seen_and_unseen
from pyqrt.quantize.checkpoint import load_checkpoint
from pyqrt.quantize.choose import wide_choices
from pyqrt.quantize.recipe import Recipe, read_recipe
from pyqrt.quantize.texts import Encoded
from pyqrt.runtime.model import Model
from pyqrt.sensitivity.measure import Losses, Quantized, integer_loss, measure
from pyqrt.sensitivity.propose import Option, chosen, options, second_planes, with_wide

TEXTS = 48


@dataclass(frozen=True)
class Outcome:
    """What a recipe gives, by the integer runtime.

    loss: distance to the float results on texts that neither calibration nor ranking has seen.
    multiply_accumulates: of the matrix products over those texts, both planes of int16 inputs.
    """

    recipe: Recipe
    loss: float
    multiply_accumulates: int


@dataclass(frozen=True)
class Sensitivity:
    """The result. ranked_on, verified_on: numbers of texts."""

    losses: Losses
    chosen: list[Option]
    given: Outcome
    proposed: Outcome
    ranked_on: int
    verified_on: int

    @property
    def extra(self) -> float:
        """Further multiply-accumulates of the proposal, as a share of the given recipe's."""
        return self.proposed.multiply_accumulates / self.given.multiply_accumulates - 1


def analyse_checkpoint(
    checkpoint_dir: str | Path,
    *,
    calibration: str | Path | None = None,
    task: Task | None = None,
    pooling: str | None = None,
    recipe: str | Path = "default",
    texts: int = TEXTS,
    budget: float = 10.0,
    seed: int = 0,
    progress: bool = True,
) -> Sensitivity:
    """Ranks the quantized tensors of a Hugging Face checkpoint, and proposes which get 16 bits.

    calibration, task, pooling, recipe: as of `pyqrt.quantize.api.quantize_checkpoint`. texts: held-out
    texts to rank on, at most half of them; the others measure the proposal. budget: further
    multiply-accumulates that the proposal may have over all 8 bits, in per cent. seed: which texts are drawn.

    The same call gives the same result on the same machine. Raises ModelError when the checkpoint, text
    or an option is unusable.
    """
    settings = read_recipe(recipe)
    with progress_bars(progress) as report_progress:
        report_progress("reading the checkpoint", 0, 1)
        encoder, checkpoint = load_checkpoint(Path(checkpoint_dir), task, pooling)
        report_progress("reading the checkpoint", 1, 1)
        seen, unseen = seen_and_unseen(encoder, checkpoint, calibration, seed)
        return analyse(encoder, seen, unseen, settings, texts, budget, seed, report_progress)


def analyse(
    encoder: Encoder,
    seen: Sequence[Encoded],
    unseen: Sequence[Encoded],
    recipe: Recipe,
    texts: int = TEXTS,
    budget: float = 10.0,
    seed: int = 0,
    progress: Progress = silent,
) -> Sensitivity:
    """`analyse_checkpoint` of an encoder and token ids: those to calibrate on, and held-out ones."""
    if texts < 1:
        raise ModelError(f"texts is {texts}; it must be at least 1")
    if not 0 <= budget <= 100:
        raise ModelError(f"budget is {budget}; it must lie in [0, 100] per cent")
    if len(unseen) < 2:
        raise ModelError(
            "one held-out text is too few: one ranks, another measures the proposal; "
            "calibrate on 16 texts or more"
        )
    shuffled = random.Random(seed).sample(list(unseen), len(unseen))
    count = min(texts, len(unseen) // 2)
    ranking, verifying = shuffled[:count], shuffled[count:]
    narrow = with_wide(recipe, [])
    rounded, scales, statistics = calibrate(encoder, seen, narrow, progress)
    lowered = lower_with_taps(rounded, scales)
    losses = measure(Quantized(encoder, rounded, scales, lowered, statistics), ranking, progress)

    tokens = sum(len(s.ids) for s in verifying)
    costs = {n: second_planes(encoder, n, tokens) for n in wide_choices(encoder) if n in scales.grids}
    work = multiply_accumulates(lowered.program, [len(s.ids) for s in verifying], planes=True)
    taken = chosen(options(losses, costs), losses.total, int(work * budget / 100))

    def outcome(tried: Recipe) -> Outcome:
        file = quantize_encoder(encoder, seen, tried, progress)
        return Outcome(
            tried,
            integer_loss(encoder, Model(file), verifying),
            multiply_accumulates(file.program, [len(s.ids) for s in verifying], planes=True),
        )

    return Sensitivity(
        losses=losses,
        chosen=taken,
        given=outcome(recipe),
        proposed=outcome(with_wide(recipe, [option.name for option in taken])),
        ranked_on=len(ranking),
        verified_on=len(verifying),
    )
