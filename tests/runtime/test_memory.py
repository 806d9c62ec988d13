"""Limits of address space: a small model runs in little, and too little is told with what is needed."""

from __future__ import annotations

import json
import mmap
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_model

from pyqrt import ops
from pyqrt.runtime import format as model_format
from pyqrt.runtime import load
from pyqrt.runtime.model import Model

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS counts on Linux alone")

MEGABYTE = 1 << 20
BUDGET = 96 * MEGABYTE  # for MiniLM-L6 and all that runs it, beyond an interpreter with numpy
COMMAND_LINE = "from pyqrt.cli import app; app()"


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = small_model.save(tmp_path_factory.mktemp("minilm") / "minilm.qrt", size=small_model.MINILM)
    assert 22 * MEGABYTE < path.stat().st_size < 26 * MEGABYTE
    return path


def python(code: str, *arguments: str, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    def set_limit() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=set_limit,
    )


@pytest.fixture(scope="module")
def interpreter_bytes() -> int:
    """The most address space that an interpreter takes which imports numpy and does no more."""
    result = python("import numpy; print(open('/proc/self/status').read())")
    peak = re.search(r"VmPeak:\s*(\d+) kB", result.stdout)
    if peak is None:
        pytest.skip("/proc/self/status has no VmPeak: it is another system's, or under an emulator")
    return int(peak[1]) * 1024


def test_minilm_runs_within_its_budget(minilm: Path, interpreter_bytes: int) -> None:
    arguments = ["run", "--threads", "1", "--json", str(minilm), "word1 word2 word30000 Paris in ab"]
    limited = python(COMMAND_LINE, *arguments, limit=interpreter_bytes + BUDGET)
    assert limited.returncode == 0, limited.stderr
    assert limited.stdout == python(COMMAND_LINE, *arguments).stdout
    assert len(json.loads(limited.stdout)["embedding"]) == small_model.MINILM.width


# The file alone takes 24 MB of it; where the tokenizer begins to fit differs from system to system.
@pytest.mark.parametrize(
    ("megabytes", "may_run"), [(25, False), (35, False), (45, True), (55, True), (65, True)]
)
def test_too_little_is_told_in_one_line(
    minilm: Path, interpreter_bytes: int, megabytes: int, may_run: bool
) -> None:
    arguments = ["run", "--threads", "1", str(minilm), "word1 word2"]
    limited = python(COMMAND_LINE, *arguments, limit=interpreter_bytes + megabytes * MEGABYTE)
    if may_run and limited.returncode == 0:
        return
    needed = r"takes \d+ MB of address space, the limit of this process leaves \d+; raise it .* by \d+ MB"
    assert limited.returncode == 1
    assert re.fullmatch(rf"pyqrt: .*{needed}\n", limited.stderr)


# Starts with 4 MB and gives what the errors ask for, until the model runs.
OBEY = """
import os, re, resource, sys
import pyqrt, pyqrt.runtime
from pyqrt import ModelError

os.environ["TOKENIZERS_PARALLELISM"] = "false"
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
more, given, errors = 4, 0, []
model = None
while True:
    given += more
    resource.setrlimit(resource.RLIMIT_AS, (limit + given * 10**6, hard))
    try:
        model = model or pyqrt.load(sys.argv[1], threads=1)
        print(model("word1 word2").shape)
        break
    except ModelError as error:
        errors.append(str(error))
        more = int(re.search(r"by (\\d+) MB", errors[-1])[1])
print(len(errors), given)
"""


def test_giving_what_the_errors_ask_for_is_enough(minilm: Path) -> None:
    result = python(OBEY, str(minilm))
    assert result.returncode == 0, result.stderr
    shape, numbers = result.stdout.splitlines()
    assert shape == f"(1, {small_model.MINILM.width})"
    errors, given = map(int, numbers.split())
    assert 1 <= errors <= 3
    assert given * 10**6 <= BUDGET


RESIDENT = """
import re, sys
import pyqrt

model = pyqrt.load(sys.argv[1], threads=1, isa=sys.argv[2])
tokens = [[1] * 99] * int(sys.argv[3])
model.run(tokens)  # beside the first run the file is still being checked
model.run([[1, 2, 3]])
mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", open("/proc/self/smaps").read(), flags=re.MULTILINE)
mine = (mapping for mapping in mappings if sys.argv[1] in mapping)
print(sum(int(re.search(r"^Rss:\\s+(\\d+)", mapping, re.MULTILINE)[1]) * 1024 for mapping in mine))
"""


def save_small_weights(path: Path) -> Path:
    """MiniLM's sizes with weights as small as most of a trained model's are: all can be rearranged."""
    program, tensors = small_model.build(small_model.EMBEDDING, 2, 1, small_model.MINILM)
    for node in program.nodes:
        if node.op == "linear":
            weight = tensors[node.tensors["weight"]] // 4
            tensors[node.tensors["weight"]] = weight
            tensors[node.tensors["weight_sum"]] = weight.sum(axis=(1, 3), dtype=np.int32).reshape(-1)
    model_format.write(path, program, tensors, small_model.EMBEDDING, None, {}, {})
    return path


needs_avx2 = pytest.mark.skipif(
    "avx2" not in ops.variants("linear"), reason="no other instruction set rearranges weights"
)


@needs_avx2
def test_rearranged_weights_are_in_memory_once(tmp_path: Path) -> None:
    """What AVX2 has made of a weight needs the file's pages no more."""
    path = save_small_weights(tmp_path / "small.qrt")
    matrices = sum(tensor.nbytes for tensor in model_format.read(path).tensors.values() if tensor.ndim == 4)
    resident = {
        (isa, texts): int(python(RESIDENT, str(path), isa, str(texts)).stdout)
        for isa in ("reference", "avx2")
        for texts in (1, 6)
    }
    rearranged = resident.pop(("avx2", 6))  # fewer tokens are too little to do for it
    whole = min(resident.values())
    assert whole > path.stat().st_size * 9 // 10
    assert whole - rearranged > matrices * 9 // 10


PEAK = """
import sys
import pyqrt

def peak():
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024

model = pyqrt.load(sys.argv[1], threads=1, isa="avx2")
model.run([[1] * 99] * 5)
before = peak()
model.run([[1] * 99])
print(peak() - before)
"""


@needs_avx2
def test_rearranged_weights_are_never_all_in_memory_twice(tmp_path: Path) -> None:
    """Not even at the peak: what the file had of a weight goes when the next is being rearranged."""
    path = save_small_weights(tmp_path / "small.qrt")
    matrices = sum(tensor.nbytes for tensor in model_format.read(path).tensors.values() if tensor.ndim == 4)
    assert int(python(PEAK, str(path)).stdout) < matrices // 2


@needs_avx2
@pytest.mark.parametrize("threads", [1, 2])
def test_rearranging_weights_changes_no_result(tmp_path: Path, threads: int) -> None:
    """It happens between two runs, or before a large one."""
    path = save_small_weights(tmp_path / "small.qrt")
    text = [[number * 7 % 100 for number in range(length)] for length in (60, 1, 7, 30)]
    expected = load(path, isa="reference", threads=2).run(text).values
    model = load(path, isa="avx2", threads=threads)
    for _ in range(7):
        np.testing.assert_array_equal(model.run(text).values, expected)
    at_once = load(path, isa="avx2", threads=threads).run(text * 7).values
    np.testing.assert_array_equal(at_once, np.tile(expected, (7, 1)))


@needs_avx2
def test_changes_of_a_private_mapping_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are given back only where the file has the same: not where somebody could have written."""

    def map_privately(path: str) -> mmap.mmap:
        with Path(path).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)

    monkeypatch.setattr(model_format, "_map", map_privately)
    file = model_format.read(save_small_weights(tmp_path / "small.qrt"))
    matrices = [tensor for tensor in file.tensors.values() if tensor.ndim == 4]
    for tensor in matrices:
        tensor[:] = 5
        tensor.flags.writeable = False
    model = Model(file, threads=1, isa="avx2", verify=False)
    for _ in range(2):
        model.run([[1] * 99] * 6)
    assert all(np.all(tensor == 5) for tensor in matrices)


THREADS = """
import resource, sys
import pyqrt
pyqrt.load(sys.argv[1], threads=1, verify=False).run([[1, 2]])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
pyqrt.load(sys.argv[1], threads=500)
"""


def test_threads_that_cannot_start(sound: Path) -> None:
    result = python(THREADS, str(sound))
    assert result.returncode == 1
    assert re.search(
        r"ModelError: cannot start thread \d+ of 500 \(.*\); ask for fewer threads", result.stderr
    )


OUTPUTS = """
import resource, sys
import numpy, pyqrt
from pyqrt import _runtime
session = _runtime.Session(pyqrt.load(sys.argv[1], verify=False)._native, 1)
ids, offsets = numpy.ones(1 << 22, numpy.int32), numpy.arange((1 << 22) + 1, dtype=numpy.int32)
session.run(ids[:1024], offsets[:1025])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
session.run(ids, offsets)
"""


def test_outputs_that_find_no_memory(sound: Path) -> None:
    result = python(OUTPUTS, str(sound))
    assert result.returncode == 1
    assert re.search(
        r"ModelError: output 'embedding' of this batch needs 4194304 x 32 elements .*; run fewer texts",
        result.stderr,
    )
