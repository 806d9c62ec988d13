"""Writes tests/golden/hashes.json anew, and with --scales the demo model's scales too.

usage: python tools/update_golden.py [--scales] CHECKPOINT
       python tools/update_golden.py --models FOLDER CHECKPOINT
CHECKPOINT is the directory of all-MiniLM-L6-v2. Run it only when the bits are meant to change; with
--models it changes nothing, and writes the golden programs as model files for tools/output_hashes.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "tests"), str(Path(__file__).parents[1] / "tests/golden")]

from golden_hashes import DEMO_SCALES, HASHES, Built, build_hashes, demo_program, output_hash  # noqa: E402

from pyqrt.data import calibration_texts  # noqa: E402
from pyqrt.quantize.checkpoint import load_checkpoint  # noqa: E402
from pyqrt.quantize.choose import choose_scales  # noqa: E402
from pyqrt.quantize.recipe import read_recipe  # noqa: E402
from pyqrt.quantize.statistics import channel_statistics  # noqa: E402
from pyqrt.quantize.texts import Encoded, pack  # noqa: E402
from pyqrt.runtime import format as model_format  # noqa: E402
from pyqrt.runtime.tasks import Task  # noqa: E402
from pyqrt.runtime.tokenization import Tokenizer  # noqa: E402
from tiny_encoders import tiny_configurations, tiny_program  # noqa: E402


def calibrate(checkpoint: Path) -> None:
    """Chooses the demo model's scales on the bundled text and writes them."""
    encoder, files = load_checkpoint(checkpoint)
    assert files.tokenizer_json is not None
    tokenizer = Tokenizer(files.tokenizer_json, encoder.config.max_length)
    encoded = tokenizer.encode(calibration_texts(), truncate=True)
    sequences = [Encoded(e.ids.tolist(), e.types.tolist()) for e in encoded]
    statistics = channel_statistics(encoder, pack(sequences))
    scales = choose_scales(encoder, statistics, lambda: pack(sequences), read_recipe("plain"))
    scales.save(DEMO_SCALES)


def hashes(built: Built) -> dict[str, str]:
    """Everything that is committed of one model; the reference decides the outputs."""
    return {**build_hashes(built), "outputs": output_hash(built, "reference")}


def write_model(built: Built, path: Path) -> None:
    """A model file of a program alone: no tokenizer, the output as it is."""
    program, tensors = built
    model_format.write(path, program, tensors, Task("embedding", program.outputs[0].name), None, {}, {})
    print(f"wrote {path}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--scales", action="store_true")
    parser.add_argument("--models", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    if arguments.models:
        for number in (number for name, number in tiny_configurations() if name == "bert"):
            write_model(tiny_program(number), arguments.models / f"tiny-bert-{number}.qrt")
        write_model(demo_program(arguments.checkpoint), arguments.models / "all-MiniLM-L6-v2.qrt")
        return
    if arguments.scales:
        calibrate(arguments.checkpoint)
    golden = {
        f"tiny-{name}-{number}": hashes(tiny_program(number))
        for name, number in tiny_configurations()
        if name == "bert"
    }
    golden["all-MiniLM-L6-v2"] = hashes(demo_program(arguments.checkpoint))
    HASHES.write_text(json.dumps(golden, indent=2, sort_keys=True) + "\n")
    print(f"wrote {HASHES}")


if __name__ == "__main__":
    main()
