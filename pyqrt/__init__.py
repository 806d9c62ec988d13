"""pyqrt: integer-only inference for BERT-family encoders.

    model = pyqrt.load("model.qrt")
    model(["some text"])

Importing this is cheap; everything else is imported when first used. Only `quantize_checkpoint`
needs torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyqrt.errors import ModelError

if TYPE_CHECKING:
    from pyqrt.quantize.api import quantize_checkpoint
    from pyqrt.runtime import Model, Task, entities, load

    __version__: str

__all__ = ["Model", "ModelError", "Task", "__version__", "entities", "load", "quantize_checkpoint"]

_HOMES = {
    "Model": "pyqrt.runtime",
    "Task": "pyqrt.runtime",
    "entities": "pyqrt.runtime",
    "load": "pyqrt.runtime",
    "quantize_checkpoint": "pyqrt.quantize.api",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name == "__version__":
        from importlib.metadata import version

        return version("pyqrt")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'pyqrt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(__all__) | set(globals()))
