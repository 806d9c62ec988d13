"""What must be the same bytes on every machine: programs made from fixed scales, and what they compute.

Calibration is left out, since it sums floats in an order that depends on the machine.
"""

from __future__ import annotations

from pathlib import Path

from output_hash import HASHES, Built, build_hashes, output_hash, read_hashes

from pyqrt.grids import Scales
from pyqrt.lower import lower
from pyqrt.quantize.checkpoint import load_checkpoint

__all__ = ["DEMO_SCALES", "HASHES", "Built", "build_hashes", "demo_program", "output_hash", "read_hashes"]

DEMO_SCALES = Path(__file__).parent / "all-MiniLM-L6-v2.scales.safetensors"


def demo_program(checkpoint: Path) -> Built:
    """all-MiniLM-L6-v2 at the committed scales."""
    encoder, _ = load_checkpoint(checkpoint)
    return lower(encoder, Scales.load(DEMO_SCALES))
