"""`pyqrt doctor`: which kernels this build has, which this machine runs, which would be chosen."""

from __future__ import annotations

import json
import os
import platform
import sys
from typing import Annotated, Any

import typer

from pyqrt.cli.errors import fail
from pyqrt.errors import ModelError

VARIABLE = "PYQRT_FORCE_ISA"
PACKAGES = ("pyqrt", "numpy", "tokenizers", "torch")


def doctor(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Show instruction sets, threads and versions. PYQRT_FORCE_ISA forces an instruction set."""
    findings = examine()
    if as_json:
        sys.stdout.write(json.dumps(findings) + "\n")
    else:
        _print_tables(findings)
    if findings["error"] is not None:
        fail(findings["error"])


def examine() -> dict[str, Any]:
    """What `doctor --json` prints. `error` says why the forced instruction set cannot be had."""
    from pyqrt import _runtime

    forced = os.environ.get(VARIABLE) or None
    error = None
    try:
        variants = _runtime.isas()
    except ModelError as problem:
        # With a wish that cannot be granted nothing is chosen, but all can still be listed.
        error = str(problem)
        del os.environ[VARIABLE]
        try:
            variants = [{**variant, "chosen": False} for variant in _runtime.isas()]
        finally:
            os.environ[VARIABLE] = forced or ""
    return {
        "variants": variants,
        "forced": forced,
        "error": error,
        **_gpus(),
        "threads": _runtime.available_cpus(),
        "cpus": os.cpu_count(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in PACKAGES},
    }


def _gpus() -> dict[str, Any]:
    """The GPUs that can be used, and why there are none."""
    from pyqrt.runtime.devices import gpus

    try:
        return {"gpus": gpus(), "no_gpu": None}
    except ModelError as problem:
        return {"gpus": [], "no_gpu": str(problem)}


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _print_tables(findings: dict[str, Any]) -> None:
    from pyqrt.cli.tables import print_pairs, print_table

    columns = ("compiled", "supported", "chosen")
    print_table(
        "instruction sets, best first",
        ("name", *columns),
        [(v["name"], *("yes" if v[column] else "no" for column in columns)) for v in findings["variants"]],
    )
    versions = {name: number or "not installed" for name, number in findings["versions"].items()}
    print_pairs(
        "machine",
        {
            VARIABLE: findings["forced"] or "not set; set it to a supported name to force that one",
            "GPUs": ", ".join(gpu["name"] for gpu in findings["gpus"]) or findings["no_gpu"] or "none",
            "threads": f"{findings['threads']} by default, of {findings['cpus']} CPUs",
            "platform": findings["platform"],
            "python": findings["python"],
            **versions,
        },
    )
