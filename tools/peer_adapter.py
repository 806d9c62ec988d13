#!/usr/bin/env python3
"""Put pyqrt into a benchmark of other runtimes, as one more of its adapters, and run it.

    python tools/peer_adapter.py [--bench FOLDER] [ARGUMENTS OF bench_peers.py ...]
    python tools/peer_adapter.py --models minilm-l6 --threads 1 --peers pyqrt,ort-int8dyn,ov-int8

FOLDER holds bench_peers.py, peer_adapters.py (a dictionary ADAPTERS from names to classes) and what
they need; without the option it is ../shared/bench beside the repository. The benchmark is copied to
a temporary folder with the class `PyQrt` of this file added to ADAPTERS, and run there by this
interpreter, which needs pyqrt, torch and the packages of the peers. PEERS_CACHE names the folder of
its models (default: peers-cache in the working folder), PEERS_CONVERT_PYTHON an interpreter with
litert-torch, which makes the models of litert-int8, `--out` its results (default:
peer_results.json). Exit status: the benchmark's; 0 as well when there is no benchmark, which is said.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
DEFAULT_BENCH = REPOSITORY.parent / "shared" / "bench"
ADAPTERS_FILE = "peer_adapters.py"
MODEL_TASKS = {"minilm-l6": "embedding"}  # what the benchmark asks of a model, if not its checkpoint's task


class PyQrt:
    """pyqrt as an adapter: `prepare` converts, `load` and `run` are timed."""

    name = "pyqrt"
    package = ("pyqrt",)

    @staticmethod
    def prepare(model: str) -> None:
        """Quantize the checkpoint of a model, once. Random weights are let through the accuracy gate."""
        import peer_models  # type: ignore[import-not-found]

        from pyqrt.quantize.api import quantize_checkpoint

        folder = Path(peer_models.mdir(model))
        (target,) = PyQrt.artefact(folder)
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        task: Any = MODEL_TASKS.get(model)
        quantize_checkpoint(folder / "hf", target, task=task, force=True, progress=False)

    @staticmethod
    def artefact(folder: Path) -> list[Path]:
        """The file that `load` reads."""
        return [folder / "pyqrt" / "model.qrt"]

    def load(self, model_dir: str | Path, threads: int) -> None:
        """Everything a cold process does before its first result."""
        import pyqrt

        (path,) = self.artefact(Path(model_dir))
        self._model = pyqrt.load(path, threads=threads)

    def run(self, input_ids: Any, attention_mask: Any) -> Any:
        """int64 [batch, tokens] twice; float [batch, n]: logits or embeddings. Padding is left out."""
        rows = zip(input_ids, attention_mask.astype(bool), strict=True)
        values, scale = self._model.run([ids[real] for ids, real in rows])
        return np.asarray(values) * scale


def main() -> int:
    """Copy the benchmark, add the adapter, run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--bench", type=Path, default=DEFAULT_BENCH, help="folder of bench_peers.py")
    parser.add_argument(
        "--out", type=Path, default=Path("peer_results.json"), help="results of the benchmark"
    )
    options, arguments = parser.parse_known_args()
    if not (options.bench / ADAPTERS_FILE).is_file():
        print(
            f"no benchmark of other runtimes: {options.bench / ADAPTERS_FILE} is not there; nothing was run"
        )
        return 0
    environment = dict(os.environ)
    environment.setdefault("PEERS_CACHE", str(Path("peers-cache").resolve()))
    Path(environment["PEERS_CACHE"]).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for source in options.bench.iterdir():
            if source.is_file() and source.suffix in (".py", ".cpp", ".txt"):
                shutil.copyfile(source, Path(folder, source.name))
        with Path(folder, ADAPTERS_FILE).open("a") as adapters:
            adapters.write(
                f"\n\nsys.path.insert(0, {str(Path(__file__).parent.resolve())!r})\n"
                "import peer_adapter\n"
                'ADAPTERS["pyqrt"] = peer_adapter.PyQrt\n'
            )
        command = [sys.executable, str(Path(folder, "bench_peers.py")), "--out", str(options.out.resolve())]
        return subprocess.run([*command, *arguments], env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
