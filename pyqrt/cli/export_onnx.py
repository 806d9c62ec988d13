"""`pyqrt export-onnx`: a model file as a standard ONNX model, and how far it is from the integers."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

RANDOM_SEQUENCES = 16


def export_onnx(
    model: Annotated[Path, typer.Argument(help="Model file (.qrt).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write (.onnx).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Write a model file as a QDQ ONNX model; compare the two if onnxruntime is installed."""
    from pyqrt.onnx import require
    from pyqrt.outputs import check_file

    check_file(output)
    require("onnx")
    from pyqrt.onnx.export import export_onnx as write
    from pyqrt.runtime import format as model_format

    file = model_format.read(model)
    write(file, output)
    report: dict[str, Any] = {"onnx": str(output), "bytes": output.stat().st_size}
    difference = _difference(model, output)
    if difference is not None:
        report["difference"] = difference
    if as_json:
        sys.stdout.write(json.dumps(report) + "\n")
        return
    from pyqrt.cli.tables import print_pairs

    print_pairs("exported", {"file": f"{output} ({report['bytes'] / 1e6:.1f} MB)"})
    if difference is None:
        print("onnxruntime is not installed: the two were not compared; pip install onnxruntime")
        return
    print_pairs(
        "ONNX Runtime against integers",
        {
            "rows": f"{difference['rows']} of output {difference['output']!r}",
            "cosine, mean / least": f"{difference['cosine_mean']:.5f} / {difference['cosine_least']:.5f}",
            "largest difference": f"{difference['largest']:.4g}; values go to {difference['magnitude']:.4g}",
        },
    )


def _difference(model: Path, onnx_file: Path) -> dict[str, Any] | None:
    """On the bundled held-out texts, or on random token ids for a model without a tokenizer."""
    from importlib.util import find_spec

    if find_spec("onnxruntime") is None:
        return None
    import numpy as np

    from pyqrt.data import heldout_texts
    from pyqrt.onnx.compare import compare
    from pyqrt.runtime import load

    loaded = load(model)
    limits, tokenizer = loaded.limits, loaded.tokenizer
    if tokenizer is not None:
        encoded = tokenizer.encode(heldout_texts(), truncate=True)
        ids = [text.ids.tolist() for text in encoded]
        types = [
            text.types.tolist() if limits.type_vocab_size > 1 else [0] * len(text.ids) for text in encoded
        ]
    else:
        random = np.random.default_rng(0)
        lengths = random.integers(1, min(limits.max_length, 128) + 1, RANDOM_SEQUENCES)
        ids = [random.integers(0, limits.vocab_size, n).tolist() for n in lengths]
        types = [[0] * len(sequence) for sequence in ids]
    return asdict(compare(onnx_file, loaded, ids, types))
