#!/usr/bin/env python3
"""Build, prove and time the CUDA backend on a machine with a GPU: the first thing to run there.

    python tools/gpu_check.py [--models FOLDER] [--wheels FOLDER] [--out FOLDER] [--only STEP ...]
                              [--architecture 75-virtual]

Run it with a Python that has torch for CUDA, and nvcc on PATH. Steps, each with its verdict:
  build       an editable install with kernels for this GPU only, or for --architecture: with 75-virtual or
              80-virtual the driver compiles those GPUs' kernels for this one, which runs and proves them;
              missing packages come from --wheels
  integers    the machine code of the kernels holds no floating-point arithmetic
  tests       tests/gpu on this GPU; a test that skips for want of one is a failure here
  models      every .qrt file of --models: SHA-256 of all outputs, CPU and GPU, many shapes
  sanitizer   compute-sanitizer memcheck and racecheck over kernels and small models, where it is installed
  benchmark   tools/gpu_benchmark.py
Exit status: 0 when every step that ran passed, 1 otherwise. Logs go to --out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/gpu"
# Lengths around every tile of the attention kernel, and batches that mix them.
BATCHES = [[n] for n in (1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257, 383, 384, 511, 512)]
BATCHES += [[1] * 40, [128] * 32, [512] * 40, list(range(1, 200, 7)), [3, 512, 1, 257, 64] * 9]


class StepError(Exception):
    """A step did not pass; the message says why."""


def command(arguments: list[str], log: Path, **environment: str) -> str:
    """Runs it from the repository's root; returns and logs what it prints. Raises StepError."""
    run = subprocess.run(
        arguments, cwd=ROOT, env={**os.environ, **environment}, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    log.write_text(run.stdout)
    if run.returncode != 0:
        raise StepError(
            f"{' '.join(arguments[:4])} ... ended with {run.returncode}; {log}:\n{run.stdout[-1500:]}"
        )
    return run.stdout


def build(options: argparse.Namespace) -> str:
    import torch

    major, minor = torch.cuda.get_device_capability()
    architecture = options.architecture or f"{major}{minor}{'a' if major == 9 else ''}-real"
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-build-isolation"]
    if options.wheels is not None:
        wheels = sorted(str(path) for path in options.wheels.glob("*.whl"))
        command([*pip, "--no-deps", *wheels], options.out / "wheels.log")
    defines = [f"PYQRT_CUDA_ARCHITECTURES={architecture}", "PYQRT_CUDA=ON", "PYQRT_WERROR=ON"]
    settings = [f"-Ccmake.define.{define}" for define in defines] + [f"-Cbuild-dir={BUILD}"]
    command([*pip, "--no-deps", *settings, "-e", "."], options.out / "build.log")
    return f"kernels for {architecture}, {torch.cuda.get_device_name()}"


def integers(options: argparse.Namespace) -> str:
    output = command(
        [sys.executable, "tools/check_integer_only.py", str(BUILD)], options.out / "integers.log"
    )
    return " ".join(output.split("\n")[-3:])


def tests(options: argparse.Namespace) -> str:
    arguments = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu"]
    return command(arguments, options.out / "tests.log", PYQRT_REQUIRE_GPU="1").strip().split("\n")[-1]


def models(options: argparse.Namespace) -> str:
    import numpy as np

    import pyqrt

    files = sorted(options.models.glob("*.qrt")) if options.models is not None else []
    if not files:
        raise StepError("no .qrt files; give a folder of them with --models")
    count = 0
    for file in files:
        on_cpu, on_gpu = pyqrt.load(file), pyqrt.load(file, device="cuda")
        limits, rng = on_cpu.limits, np.random.default_rng(0)
        for lengths in BATCHES:
            batch = [rng.integers(0, limits.vocab_size, min(n, limits.max_length)) for n in lengths]
            for output in on_cpu.program.outputs:
                digests = [
                    hashlib.sha256(b"".join(np.ascontiguousarray(v).tobytes() for v in values)).hexdigest()
                    for values in (m.run(batch, output=output.name).values for m in (on_cpu, on_gpu))
                ]
                count += 1
                if digests[0] != digests[1]:
                    raise StepError(f"{file.name}, output {output.name}, lengths {lengths[:9]}: bytes differ")
    return f"{count} batches of {len(files)} models equal the CPU's bytes"


def sanitizer(options: argparse.Namespace) -> str:
    if shutil.which("compute-sanitizer") is None:
        raise StepError("compute-sanitizer is not on PATH")
    chosen = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu"]
    chosen += [
        "-k",
        "not emulated and (families or recorded or tiles or warpgroups or attention or layernorm)",
    ]
    for tool in ("memcheck", "racecheck"):
        checker = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9"]
        command([*checker, *chosen], options.out / f"{tool}.log", PYQRT_REQUIRE_GPU="1")
    return "memcheck and racecheck find nothing"


def benchmark(options: argparse.Namespace) -> str:
    results = options.out / "benchmark.json"
    arguments = [sys.executable, "tools/gpu_benchmark.py", "--json", str(results)]
    return "\n" + command(arguments, options.out / "benchmark.log")


STEPS: dict[str, Callable[[argparse.Namespace], str]] = {
    step.__name__: step for step in (build, integers, tests, models, sanitizer, benchmark)
}


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=Path, help="folder of .qrt files")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install first")
    parser.add_argument("--architecture", help="of the kernels, as CMAKE_CUDA_ARCHITECTURES")
    parser.add_argument("--out", type=Path, default=Path("gpu-check"), help="folder for logs")
    parser.add_argument("--only", nargs="+", choices=list(STEPS), default=list(STEPS), help="steps to run")
    options = parser.parse_args()
    for name in ("models", "wheels", "out"):
        if getattr(options, name) is not None:
            setattr(options, name, getattr(options, name).resolve())
    options.out.mkdir(parents=True, exist_ok=True)
    verdicts = {}
    for name in options.only:
        begin = time.monotonic()
        try:
            verdicts[name] = {"passed": True, "says": STEPS[name](options)}
        except StepError as problem:
            verdicts[name] = {"passed": False, "says": str(problem)}
        seconds = time.monotonic() - begin
        print(f"{name}: {'passed' if verdicts[name]['passed'] else 'FAILED'} ({seconds:.0f} s): ", end="")
        print(verdicts[name]["says"], flush=True)
    (options.out / "verdicts.json").write_text(json.dumps(verdicts, indent=1))
    return 0 if all(verdict["passed"] for verdict in verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
