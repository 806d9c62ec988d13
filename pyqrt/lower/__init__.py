"""The float encoder and its scales become an integer program. Source of the arithmetic: csrc/fixed."""

from pyqrt.lower.encoder import lower
from pyqrt.lower.fixed_point import LoweringError

__all__ = ["LoweringError", "lower"]
