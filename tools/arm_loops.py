#!/usr/bin/env python3
"""How near the inner loops of the NEON dot products come to the arithmetic limit, by llvm-mca.

    python tools/arm_loops.py [--build FOLDER] [--mca llvm-mca-19]

Takes the loop of the tallest tile out of the linear kernels of a cross build (tools/aarch64.sh tests)
and simulates it for several cores: cycles, multiply-accumulates per cycle, and the share of the
limit, which is what the same model gives for a loop of nothing but the product instructions. All
loads hit the first cache. Exit status: 0 measured, 2 no loop found or no llvm-mca.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

OBJDUMP = "aarch64-linux-gnu-objdump"
CORES = ("cortex-a72", "cortex-a76", "neoverse-n1", "neoverse-v1")


@dataclass(frozen=True)
class Variant:
    """A product: its instructions, what one does, and the features llvm-mca must be given."""

    suffix: str
    product: str
    macs: int
    limit: str  # a loop of independent products; {} is the number of the sum
    features: str
    cores: tuple[str, ...]


VARIANTS = (
    # Two products of eight bytes to one addition: SMULL, SMLAL, SADALP.
    Variant(
        "neon",
        r"sm(?:ul|la)l2?",
        8,
        "smull v{0}.8h, v30.8b, v31.8b\nsmlal v{0}.8h, v30.8b, v31.8b\nsadalp v{1}.4s, v{0}.8h",
        "+neon",
        CORES,
    ),
    Variant("neondot", "sdot", 16, "sdot v{0}.4s, v30.16b, v31.4b[0]", "+dotprod", CORES[1:]),
    Variant("neoni8mm", "smmla", 32, "smmla v{0}.4s, v30.16b, v31.16b", "+dotprod,+i8mm", CORES[3:]),
)


def loops(text: str) -> list[list[str]]:
    """Every innermost loop of a disassembly: instructions from a branch's target to the branch."""
    found = []
    lines = [m for line in text.splitlines() if (m := re.match(r"\s+([0-9a-f]+):\t(.*)", line))]
    addresses = [int(line[1], 16) for line in lines]
    last = -1
    for i, line in enumerate(lines):
        branch = re.match(r"(?:b\.\w+|cbn?z|tbn?z)\s+(?:.*, )?([0-9a-f]+) <", line[2])
        target = int(branch[1], 16) if branch else -1
        if branch and target in addresses[: i + 1] and addresses.index(target) > last:
            begin = addresses.index(target)
            found.append([re.sub(r"\s*(//|<).*", "", other[2]) for other in lines[begin:i]])
            last = begin
    return found


def inner_loop(build: Path, variant: Variant) -> list[str]:
    """The loop with the most products: that of the tallest tile."""
    objects = sorted(build.rglob(f"linear_{variant.suffix}.cc.o"))
    if not objects:
        raise SystemExit(f"{build} has no linear_{variant.suffix}.cc.o; run tools/aarch64.sh tests first")
    run = subprocess.run(
        [OBJDUMP, "-d", "-C", "--no-show-raw-insn", objects[0]], capture_output=True, text=True, check=True
    )
    return max(loops(run.stdout), key=lambda loop: count(loop, variant))


def count(loop: list[str], variant: Variant) -> int:
    """How many product instructions a loop has."""
    return sum(re.fullmatch(variant.product, line.split()[0]) is not None for line in loop)


def cycles(mca: str, core: str, variant: Variant, loop: list[str]) -> float:
    """Cycles per iteration in the steady state."""
    rounds = 200
    command = [mca, "-mtriple=aarch64", f"-mcpu={core}", f"-mattr={variant.features}"]
    command += [f"-iterations={rounds}", "-instruction-info=0", "-resource-pressure=0"]
    run = subprocess.run(command, input="\n".join(loop), capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise SystemExit(f"{mca} for {core}: {run.stderr[:500]}")
    total = re.search(r"Total Cycles:\s+(\d+)", run.stdout)
    assert total is not None
    return int(total[1]) / rounds


def limit_cycles(mca: str, core: str, variant: Variant) -> float:
    """Cycles per product when there is nothing else."""
    products = 2 if variant.suffix == "neon" else 1
    loop = [line for i in range(12) for line in variant.limit.format(i, 12 + i).splitlines()]
    return cycles(mca, core, variant, loop) / (12 * products)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--build", type=Path, default=root / "build" / "aarch64-tests")
    parser.add_argument("--mca", default="llvm-mca-19")
    options = parser.parse_args(arguments)
    for tool in (options.mca, OBJDUMP):
        if shutil.which(tool) is None:
            print(f"{tool} not found; install llvm and binutils-aarch64-linux-gnu", file=sys.stderr)
            return 2
    print("| variant | core | instructions | cycles | MAC/cycle | of limit |\n|---|---|---:|---:|---:|---:|")
    for variant in VARIANTS:
        loop = inner_loop(options.build, variant)
        macs = count(loop, variant) * variant.macs
        for core in variant.cores:
            taken = cycles(options.mca, core, variant, loop)
            share = count(loop, variant) * limit_cycles(options.mca, core, variant) / taken
            print(
                f"| {variant.suffix} | {core} | {len(loop) + 1} | {taken:.1f} | {macs / taken:.1f} "
                f"| {share:.0%} |"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
