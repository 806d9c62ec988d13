"""What options of several commands have in common."""

from __future__ import annotations

from typing import Annotated

import typer

from pyqrt.errors import ModelError

MAX_COUNT = 2**31 - 1
MAX_SEED = 2**63 - 1  # the largest integer in a model file's provenance

Seed = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of everything random.")]


def whole_number(option: str, text: str, otherwise: str = "") -> int:
    """One of the numbers that an option lists, beside which there may be what `otherwise` says.

    Raises ModelError for other text and numbers beyond MAX_COUNT.
    """
    try:
        number = int(text)
    except ValueError:
        number = MAX_COUNT + 1
    if abs(number) > MAX_COUNT:
        raise ModelError(
            f"{option} has {text!r}; give whole numbers up to {MAX_COUNT}{otherwise}, separated by commas"
        )
    return number
