#!/usr/bin/env python3
"""What model files compute on this machine: SHA-256 of the outputs, for every variant it runs.

    python tools/output_hashes.py [--isa NAME] MODEL.qrt [MODEL.qrt ...]

The same lines on two machines mean the same bytes. A file that holds a program of tests/golden
(`tools/update_golden.py --models FOLDER` writes them) is compared with the committed hash as well.
Needs numpy and pyqrt, no PyTorch. Exit status: 0 all variants agree, 1 some differ.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "golden"))
from output_hash import build_hashes, output_hash, read_hashes

from pyqrt import _runtime
from pyqrt.runtime import format as model_format


def golden_output(built: dict[str, str]) -> str | None:
    """The committed output hash of a program and its constants, if it is one of tests/golden."""
    for entry in read_hashes().values():
        if built == {key: entry[key] for key in built}:
            return str(entry["outputs"])
    return None


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--isa", help="only this variant; default: all that run here")
    options = parser.parse_args(arguments)
    supported = [isa["name"] for isa in _runtime.isas() if isa["supported"]]
    if options.isa and options.isa not in supported:
        parser.error(f"{options.isa} does not run here; choose one of: {', '.join(supported)}")
    status = 0
    for path in options.models:
        file = model_format.read(path)
        built = (file.program, file.tensors)
        expected = golden_output(build_hashes(built))
        print(path.name, "(golden)" if expected else "")
        for isa in [options.isa] if options.isa else supported:
            found = output_hash(built, isa)
            expected = expected or found
            status |= found != expected
            print(f"  {found} {isa}{'' if found == expected else '  DIFFERS'}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
