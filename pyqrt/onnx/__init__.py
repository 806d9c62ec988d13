"""ONNX in and out. Needs the `onnx` package: `pip install "pyqrt[onnx]"`."""

from __future__ import annotations

from importlib.util import find_spec

from pyqrt.errors import ModelError


def require(package: str) -> None:
    """Raises ModelError, saying how to install it, unless `package` can be imported."""
    if find_spec(package) is None:
        raise ModelError(f'{package} is not installed; pip install "pyqrt[onnx]"')
