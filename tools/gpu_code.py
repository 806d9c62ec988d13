"""What check_integer_only.py needs to know of CUDA objects: machine code where a disassembler is at hand,
the PTX that they carry where none is.

Machine code (SASS) is read by `cuobjdump`, which comes with the CUDA toolkit and with the Python package
triton. It is the stronger proof: only there one sees that an integer division became a floating-point
reciprocal. In PTX a division is therefore forbidden as such.

Instruction lists: CUDA Binary Utilities, "Instruction Set Reference"; PTX ISA, "Instruction Set".
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

# SASS. Floating-point mnemonics begin with the letter of their type or are conversions; FLO finds a
# leading one, FENCE orders memory, DEPBAR waits, and FSEL only selects.
SASS_FLOAT = re.compile(r"U?(?:F(?!LO|ENCE|SEL)|D(?!EPBAR)|H|MUFU|I2F|F2|BF|[QO]G?MMA)", re.IGNORECASE)
# A constant, written as 0 * 0 + constant: how compilers use the idle half-precision pipe to move it.
SASS_MOVE = re.compile(r"HFMA2(?:\.MMA)? \w+, -RZ, RZ, \S+, \S+")

# A product of no operands into no register, which never adds: how ptxas closes a group of the integer
# products of warpgroups (wgmma.commit_group).
SASS_CLOSE = re.compile(r"HGMMA\.\S+ RZ, gdesc\[URZ\], RZ, !UPT, gsb\d")

# PTX. Loads, stores and moves of registers do not compute, whatever type they name.
PTX_FLOAT_TYPE = re.compile(r"\.(?:b?f16(?:x2)?|tf32|f32|f64|e4m3|e5m2)")
PTX_MOVES = re.compile(r"(?:mov|ld|st|cp|shfl|prmt)\b")
PTX_DIVISION = re.compile(r"(?:div|rem)\.")

_FATBIN = b".nv_fatbin"
_PTX = re.compile(rb"\.version \d+\.\d+\s.*?\x00", re.DOTALL)


def sass_is_float(instruction: str) -> bool:
    """Whether a SASS instruction, without its predicate, computes or converts floating-point numbers."""
    computes_nothing = SASS_MOVE.match(instruction) or SASS_CLOSE.match(instruction)
    return bool(SASS_FLOAT.match(instruction)) and not computes_nothing


def ptx_is_float(instruction: str) -> bool:
    """Whether a PTX instruction, without its predicate, does so or is compiled to what does."""
    if PTX_DIVISION.match(instruction):
        return True
    opcode = instruction.split()[0]
    return bool(PTX_FLOAT_TYPE.search(opcode)) and not PTX_MOVES.match(opcode)


def is_gpu_object(path: Path) -> bool:
    """Whether an object file carries code for GPUs."""
    return path.is_file() and _FATBIN in path.read_bytes()


def find_cuobjdump() -> str | None:
    """`cuobjdump` on PATH, beside nvcc, or in the package triton."""
    candidates = [shutil.which("cuobjdump")]
    if nvcc := shutil.which("nvcc"):
        candidates.append(str(Path(nvcc).resolve().parent / "cuobjdump"))
    triton = find_spec("triton")
    if triton is not None and triton.origin is not None:
        candidates.append(str(Path(triton.origin).parent / "backends/nvidia/bin/cuobjdump"))
    return next((c for c in candidates if c is not None and Path(c).exists()), None)


def sass(path: Path, cuobjdump: str) -> Iterator[tuple[str, str]]:
    """(architecture and function, instruction) of all machine code in `path`.

    Raises RuntimeError when cuobjdump cannot read it or finds none.
    """
    run = subprocess.run([cuobjdump, "--dump-sass", str(path)], capture_output=True, text=True, check=False)
    if run.returncode != 0 or "Function :" not in run.stdout:
        raise RuntimeError(
            f"{path}: {cuobjdump} finds no machine code: {run.stderr.strip() or run.stdout[:200]}"
        )
    architecture = function = "?"
    for line in run.stdout.splitlines():
        if header := re.match(r"\s*arch = (\S+)", line):
            architecture = header[1]
        elif header := re.match(r"\s*Function : (\S+)", line):
            function = header[1]
        elif code := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:\{\s*)?(?:@!?U?P\w+\s+)?([^;]+?)\s*;", line):
            yield f"{architecture} {function}", code[1]


def ptx(path: Path) -> Iterator[tuple[str, str]]:
    """(target and function, instruction) of the PTX in `path`.

    Raises RuntimeError when it holds none that can be read: it is compressed unless nvcc is told not to.
    """
    texts = _PTX.findall(path.read_bytes())
    if not texts:
        raise RuntimeError(
            f"{path}: no cuobjdump here, and no readable PTX in it; install the CUDA toolkit's cuobjdump"
        )
    for text in texts:
        target = function = "?"
        for line in text.decode("ascii", "replace").splitlines():
            if header := re.match(r"\s*\.target (\w+)", line):
                target = header[1]
            elif header := re.search(r"\.(?:entry|func)\s+(?:\([^)]*\)\s*)?(\w+)", line):
                function = header[1]
            elif code := re.match(r"\s*\{?\s*(?:@!?%\w+\s+)?([a-z][\w.:]*(?:\s[^;]*)?);", line):
                yield f"{target} {function}", code[1].strip()
