"""The systems that are compared: pyqrt, and its peers, which are optional. One file each."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from pyqrt.errors import ModelError

if TYPE_CHECKING:
    from pyqrt.tradeoff.systems.base import Job, System

PYQRT = "pyqrt"


@dataclass(frozen=True)
class Description:
    """title: as pictures show it. packages: what it needs, in pip's names. module: its file here.

    variants: by kind of device, with the kind of numbers its matrix products are of. packs, pads:
    `workloads.batchings`.
    """

    title: str
    module: str
    packages: tuple[str, ...]
    variants: dict[str, tuple[str, ...]]
    packs: bool = False
    pads: bool = True


SYSTEMS = {
    PYQRT: Description("pyqrt", "pyqrt_model", (), {}, packs=True),
    "torch": Description(
        "PyTorch",
        "torch_model",
        ("torch", "transformers"),
        {"cpu": ("fp32", "int8"), "cuda": ("fp32", "fp16")},
    ),
    "onnxruntime": Description(
        "ONNX Runtime",
        "onnxruntime_model",
        ("onnxruntime", "onnx", "sympy", "torch", "transformers"),
        {"cpu": ("fp32", "int8")},
    ),
    "openvino": Description(
        "OpenVINO", "openvino_model", ("openvino", "nncf", "torch", "transformers"), {"cpu": ("int8",)}
    ),
    "ctranslate2": Description(
        "CTranslate2",
        "ctranslate2_model",
        ("ctranslate2", "torch", "transformers"),
        {"cpu": ("int8",)},
        packs=True,
        pads=False,
    ),
}
FLOATS = ("fp32", "fp16")  # variants whose products are of floats
PEERS = tuple(name for name in SYSTEMS if name != PYQRT)


def check_peers(names: tuple[str, ...]) -> None:
    """Raises ModelError for a name that is no peer's."""
    for name in names:
        if name not in PEERS:
            raise ModelError(f"peers has {name!r}; known: {', '.join(PEERS)}")


def missing_packages(name: str) -> list[str]:
    """What a system needs and this Python does not have."""
    return [package for package in SYSTEMS[name].packages if _version(package) is None]


def versions() -> dict[str, str]:
    """Installed versions of all that any system needs, and of what converts for it."""
    packages = {package for system in SYSTEMS.values() for package in system.packages}
    found = {package: _version(package) for package in sorted(packages | {"numpy", "tokenizers"})}
    return {package: text for package, text in found.items() if text is not None}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def new_system(job: Job) -> System:
    """The system of a job, not yet loaded."""
    module = importlib.import_module(f"pyqrt.tradeoff.systems.{SYSTEMS[job.system].module}")
    system: System = module.system(job)
    return system
