"""The thread pool where it has fewer threads than it was made with: in a forked child, without memory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from pyqrt import _runtime
from tiny_encoders import packed, random_sequences, tiny_encoder, tiny_program

SOURCES = Path(__file__).parents[2] / "csrc"


def test_a_child_forked_at_any_moment_runs_the_parents_session() -> None:
    """Workers that are just then going to sleep, or waking, stay behind with what they hold."""
    program, tensors = tiny_program(0)
    session = _runtime.Session(_runtime.Model(program.to_dict(), tensors), 6)
    batch = packed(random_sequences(tiny_encoder(), [24] * 4))
    expected = session.run(*batch)[0].tobytes()
    for _ in range(100):
        assert session.run(*batch)[0].tobytes() == expected
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)  # ends a child that hangs
            same = all(session.run(*batch)[0].tobytes() == expected for _ in range(4))
            os._exit(0 if same else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """csrc/tests/pool, compiled."""
    if not SOURCES.is_dir():
        pytest.skip("needs the C++ sources beside the tests")
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    program = tmp_path_factory.mktemp("pool") / "thread_pool_test"
    files = [str(SOURCES / "tests/pool/thread_pool_test.cc"), str(SOURCES / "base/parallel.cc")]
    options = ["-std=c++17", "-O1", "-pthread", f"-I{SOURCES}", "-o", str(program)]
    subprocess.run([compiler, *options, *files], check=True, timeout=300)
    return program


@pytest.mark.parametrize("what", ["no_memory", "default_threads"])
def test_limits(program: Path, what: str) -> None:
    result = subprocess.run([program, what], capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "passed\n", "")
