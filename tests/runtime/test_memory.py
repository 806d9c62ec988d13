"""Limits of address space: a small model runs in little, and too little is told with what is needed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import small_model

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
