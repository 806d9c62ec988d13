"""The float encoder: oracle, calibration, quantization-aware training and distillation."""

from pyqrt.nn.activations import activation, activations
from pyqrt.nn.config import EncoderConfig, Head, Pooling, Problem, Task
from pyqrt.nn.encoder import Encoder
from pyqrt.nn.tap import Tap

__all__ = [
    "Encoder",
    "EncoderConfig",
    "Head",
    "Pooling",
    "Problem",
    "Tap",
    "Task",
    "activation",
    "activations",
]
