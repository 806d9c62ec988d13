"""Masked arrays of numpy, which nothing here takes: a module of its own, as loading a model imports it."""

from __future__ import annotations

import sys

from pyqrt.errors import ModelError


def refuse_masks(name: str, array: object) -> None:
    """Raises ModelError for a masked array of numpy: kernels would read what its mask hides."""
    masked = sys.modules.get("numpy.ma")  # without it there are none
    if masked is not None and isinstance(array, masked.MaskedArray):
        raise ModelError(
            f"{name} is a masked array, whose mask would be ignored; give array.filled(value) or "
            "array.compressed()"
        )
