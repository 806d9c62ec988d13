"""The float encoder and its scales become an integer program. Source of the arithmetic: csrc/fixed."""

from pyqrt.lower.builder import Tapped, TappedTable
from pyqrt.lower.encoder import Lowered, lower, lower_with_taps
from pyqrt.lower.fixed_point import LoweringError

__all__ = ["Lowered", "LoweringError", "Tapped", "TappedTable", "lower", "lower_with_taps"]
