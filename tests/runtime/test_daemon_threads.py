"""Daemon threads inside a call when the interpreter ends: the process exits as any other does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MODEL = """
import pyqrt
model = pyqrt.load(sys.argv[1], threads=1)
call = lambda: model.run([[1] * 24] * 2000)
"""
OPS = """
import numpy
from pyqrt import _ops
rows, output = numpy.ones((4000, 512), numpy.int16), numpy.empty((4000, 512), numpy.int32)
call = lambda: _ops.normalize(rows, output)
"""
DIGEST = """
import numpy
from pyqrt import _runtime
data = numpy.zeros(1 << 24, numpy.uint8)
call = lambda: _runtime.digest(data)
"""
# The first thread goes on while the other is inside a call, as nothing else lets go of the interpreter's
# lock for it. What is deleted last sleeps: time for the call to end and to ask for a lock that nobody
# gets any more.
EXIT = """
import threading, time

class Late:
    def __del__(self, sleep=time.sleep):
        sleep(0.5)

def calls(started):
    while True:
        call()
        started.set()

sys.setswitchinterval(1000)
sys.late = Late()
started = threading.Event()
threading.Thread(target=calls, args=(started,), daemon=True).start()
assert started.wait(60)
print("ends")
"""


@pytest.mark.parametrize("work", [MODEL, OPS, DIGEST], ids=["model", "ops", "digest"])
def test_the_process_ends_in_order(work: str, sound: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", "import sys\n" + work + EXIT, str(sound)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "ends\n", "")
