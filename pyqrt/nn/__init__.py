"""The float encoder: oracle, calibration, quantization-aware training and distillation."""

from pyqrt.nn.activations import activation, activations
from pyqrt.nn.config import Disentangled, EncoderConfig, Head, Pooling, Problem, RelativeBias, Rotary, Task
from pyqrt.nn.encoder import Encoder
from pyqrt.nn.tap import Tap

__all__ = [
    "Disentangled",
    "Encoder",
    "EncoderConfig",
    "Head",
    "Pooling",
    "Problem",
    "RelativeBias",
    "Rotary",
    "Tap",
    "Task",
    "activation",
    "activations",
]
