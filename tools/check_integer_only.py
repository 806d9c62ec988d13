#!/usr/bin/env python3
"""Prove that the kernels hold no floating-point instruction, by disassembling them.

    python tools/check_integer_only.py                    kernel objects under build/
    python tools/check_integer_only.py BUILD_FOLDER       kernel objects under that folder
    python tools/check_integer_only.py FILE.o [FILE ...]  every function of these files

The kernel objects of a build are those of csrc/fixed, csrc/ops and csrc/plan, and those of CUDA where
it was built: of these the code for GPUs is read, as gpu_code.py tells. Arithmetic,
comparison and conversion of floating-point numbers, x87 included, are forbidden; moves, bitwise
logic and shuffles of registers are not, whatever type their mnemonic is named after. Exit status:
0 none found, 1 some found (each is listed), 2 nothing could be checked.

Instruction lists: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2; Arm
Architecture Reference Manual for A-profile, chapters C7 and C8.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gpu_code

KERNEL_FOLDERS = ("csrc/fixed/", "csrc/ops/", "csrc/plan/")

# x86. A floating-point mnemonic ends in its element type. The same endings occur in integer
# mnemonics, all of which begin with p or vp (pmaxsd, vpdpwssd, push); the 16-bit types exist only
# in VEX and EVEX mnemonics, which begin with v.
X86_FLOAT_TYPE = re.compile(r"(?!v?p)(?:.*(?:ps|pd|ss|sd)|v.*(?:ph|sh|bf16))")
X86_CONVERSION = re.compile(r"v?cvt")
X86_X87 = re.compile(r"f")
X86_3DNOW = re.compile(r"pf|pi2f|pswapd")
X86_MOVES = re.compile(
    r"v?(?:mov|and|or|xor|shuf|unpck|blend|broadcast|insert|extract|perm|maskmov|gather|scatter"
    r"|compress|expand|test)"
)
X86_FULL_NAMES_NOT_FLOAT = frozenset({"clflush", "lss", "femms", "fxsave", "fxrstor"})
X86_PREFIXES = frozenset({"addr32", "bnd", "data16", "lock", "notrack", "rep", "repne", "repnz", "repz"})
X86_SEGMENTS = frozenset({"cs", "ds", "es", "fs", "gs", "ss"})

# AArch64. Everything that begins with f, but for register moves; conversions from integers; the
# bfloat16 family, whose prefix it shares with the integer bit-field instructions.
ARM_FLOAT = re.compile(r"f(?!mov$)|[su]cvtf|bf(?!i$|m$|c$|xil$)")

UNDECODED = ("(bad)", ".inst")  # what cannot be read cannot be proven


def x86_is_float(mnemonic: str) -> bool:
    """Whether an x86 instruction computes, compares or converts floating-point numbers."""
    if mnemonic in X86_FULL_NAMES_NOT_FLOAT:
        return False
    if X86_CONVERSION.match(mnemonic) or X86_X87.match(mnemonic) or X86_3DNOW.match(mnemonic):
        return True
    return bool(X86_FLOAT_TYPE.fullmatch(mnemonic)) and not X86_MOVES.match(mnemonic)


def arm_is_float(mnemonic: str) -> bool:
    """Whether an AArch64 instruction computes, compares, selects by or converts floating-point numbers."""
    return bool(ARM_FLOAT.match(mnemonic))


CLASSIFIERS = {"x86-64": x86_is_float, "aarch64": arm_is_float}


@dataclass(frozen=True)
class Finding:
    """A forbidden instruction: where it is and how objdump writes it."""

    file: Path
    symbol: str
    instruction: str


@dataclass(frozen=True)
class Disassembly:
    """What objdump says of one file: (symbol, instruction) pairs in the order of addresses."""

    architecture: str
    instructions: tuple[tuple[str, str], ...]


def mnemonic_of(instruction: str) -> str:
    """The mnemonic of a line of disassembly, without prefixes such as `lock` or `{vex}`."""
    for word in instruction.split():
        if word not in X86_PREFIXES | X86_SEGMENTS and not word.startswith(("{", "rex")):
            return word.lower()
    return ""


def disassemble(path: Path, objdump: str) -> Disassembly:
    """Every instruction of `path`. Raises RuntimeError when objdump cannot read it."""
    run = subprocess.run(
        [objdump, "-d", "-C", "--no-show-raw-insn", str(path)], capture_output=True, text=True, check=False
    )
    architecture = re.search(r"file format elf64-(?:little)?(\S+)", run.stdout)
    if run.returncode != 0 or architecture is None:
        raise RuntimeError(f"{path}: {objdump} cannot read it: {run.stderr.strip() or 'unknown format'}")
    return Disassembly(architecture[1], tuple(parse(run.stdout.splitlines())))


def parse(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(symbol, instruction) for every line of objdump's output that is an instruction."""
    symbol = "?"
    for line in lines:
        if header := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            symbol = header[1]
        elif code := re.match(r"\s*[0-9a-f]+:\s+(\S.*)$", line):
            yield symbol, " ".join(code[1].split())


def findings(path: Path, objdump: str) -> tuple[list[Finding], int]:
    """The forbidden instructions of `path`, and how many instructions it has.

    Raises RuntimeError when it cannot be read or is for an architecture without a list.
    """
    if gpu_code.is_gpu_object(path):
        return gpu_findings(path)
    code = disassemble(path, objdump)
    is_float = CLASSIFIERS.get(code.architecture)
    if is_float is None:
        raise RuntimeError(
            f"{path} is for {code.architecture}; there are lists for {', '.join(CLASSIFIERS)} only"
        )
    found = [
        Finding(path, symbol, instruction)
        for symbol, instruction in code.instructions
        if instruction.startswith(UNDECODED) or is_float(mnemonic_of(instruction))
    ]
    return found, len(code.instructions)


def gpu_findings(path: Path) -> tuple[list[Finding], int]:
    """The same of the code for GPUs that `path` carries."""
    cuobjdump = gpu_code.find_cuobjdump()
    is_float = gpu_code.sass_is_float if cuobjdump else gpu_code.ptx_is_float
    code = list(gpu_code.sass(path, cuobjdump) if cuobjdump else gpu_code.ptx(path))
    if not code:
        raise RuntimeError(f"{path}: no instructions for GPUs found")
    found = [Finding(path, symbol, instruction) for symbol, instruction in code if is_float(instruction)]
    return found, len(code)


def kernel_objects(build: Path) -> list[Path]:
    """The objects under `build` that were compiled from the kernels and what runs them."""
    return sorted(
        path
        for path in build.rglob("*.o")
        if any(f"/{folder}" in path.as_posix() for folder in KERNEL_FOLDERS) or is_cuda_object(path)
    )


def is_cuda_object(path: Path) -> bool:
    """Whether nvcc made the object: CMake puts what comes from outside of a folder under `__`."""
    return "pyqrt_cuda.dir/" in path.as_posix() and path.name.endswith(".cu.o")


def uncompiled_sources(root: Path, objects: Iterable[Path]) -> list[str]:
    """Reference kernels, and in a CUDA build its kernels, that have no object: too little must fail."""
    present = {path.name.removesuffix(".o") for path in objects}
    expected = [p.name for p in root.glob("csrc/ops/*/*_ref.cc")]
    if any(is_cuda_object(path) for path in objects):
        present -= {name for name in present if name.endswith(".cu")}
        present |= {path.name.removesuffix(".o") for path in objects if is_cuda_object(path)}
        expected += [p.name for p in root.glob("csrc/ops/*/*.cu")]
    return sorted(name for name in expected if name not in present)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "paths", nargs="*", type=Path, default=[root / "build"], help="build folders or object files"
    )
    parser.add_argument("--objdump", default="objdump", help="objdump that knows the architecture")
    options = parser.parse_args(arguments)
    if shutil.which(options.objdump) is None:
        print(
            f"{options.objdump} not found; install binutils or name another with --objdump", file=sys.stderr
        )
        return 2

    files: list[Path] = []
    for path in options.paths:
        objects = kernel_objects(path) if path.is_dir() else [path]
        if path.is_dir() and (missing := uncompiled_sources(root, objects)):
            print(f"{path} lacks the objects of {', '.join(missing)}; build first", file=sys.stderr)
            return 2
        files += objects

    total = 0
    found: list[Finding] = []
    try:
        for path in files:
            more, count = findings(path, options.objdump)
            found += more
            total += count
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2
    if total == 0:
        print("no instructions found; give a build folder or object files", file=sys.stderr)
        return 2
    for finding in found:
        print(f"{finding.file}: {finding.symbol}: {finding.instruction}")
    print(f"{len(files)} files, {total} instructions, {len(found)} of them floating-point")
    if gpu_files := sum(gpu_code.is_gpu_object(path) for path in files):
        read = "machine code" if gpu_code.find_cuobjdump() else "PTX only: no cuobjdump here"
        print(f"of these {gpu_files} for GPUs ({read})")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
