"""The adapter for benchmarks of other runtimes: padding stripped, and no benchmark is no failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_model

import peer_adapter
from pyqrt.runtime import load

TOOL = Path(peer_adapter.__file__)

# A benchmark with the interface of the one the tool is for: its adapters are classes by name.
ADAPTERS = "import sys\nADAPTERS = {'pyqrt': None, 'other': None}\n"
BENCHMARK = """
import os, pathlib, sys
import peer_adapters
adapter = peer_adapters.ADAPTERS["pyqrt"]
texts = pathlib.Path(__file__).parent / "s.txt"
print(adapter.name, sys.argv[1:], os.environ["PEERS_CACHE"], texts.read_text())
sys.exit(7)
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_results_are_those_of_the_sequences_without_padding(tmp_path: Path) -> None:
    (target,) = peer_adapter.PyQrt.artefact(tmp_path)
    target.parent.mkdir()
    small_model.save(target, small_model.SEQUENCE)
    adapter = peer_adapter.PyQrt()
    adapter.load(str(tmp_path), 1)
    ids = np.array([[4, 5, 6, 7], [8, 9, 0, 0], [5, 0, 0, 0]], np.int64)
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], np.int64)
    values, scale = load(target).run([[4, 5, 6, 7], [8, 9], [5]])
    np.testing.assert_array_equal(adapter.run(ids, mask), np.asarray(values) * scale)


def test_says_that_there_is_no_benchmark(tmp_path: Path) -> None:
    done = run(tmp_path, "--bench", str(tmp_path / "none"))
    assert done.returncode == 0
    assert "peer_adapters.py is not there; nothing was run" in done.stdout


def test_runs_the_benchmark_with_the_adapter(tmp_path: Path) -> None:
    bench = tmp_path / "bench"
    bench.mkdir()
    (bench / "peer_adapters.py").write_text(ADAPTERS)
    (bench / "bench_peers.py").write_text(BENCHMARK)
    (bench / "s.txt").write_text("texts")
    done = run(tmp_path, "--bench", str(bench), "--out", "here.json", "--models", "tiny")
    assert done.returncode == 7, done.stderr
    out = str(tmp_path / "here.json")
    expected = f"pyqrt {['--out', out, '--models', 'tiny']} {tmp_path / 'peers-cache'} texts\n"
    assert done.stdout == expected
    assert (bench / "peer_adapters.py").read_text() == ADAPTERS


@pytest.mark.skipif(
    not (peer_adapter.DEFAULT_BENCH / "peer_adapters.py").is_file(),
    reason="no benchmark of other runtimes beside the repository",
)
def test_adapter_has_the_interface_of_the_others() -> None:
    template = (peer_adapter.DEFAULT_BENCH / "peer_adapters.py").read_text()
    for member in ("prepare", "artefact", "load", "run"):
        assert f"def {member}(" in template
        assert callable(getattr(peer_adapter.PyQrt, member))
