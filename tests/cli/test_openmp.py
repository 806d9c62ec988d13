"""Commands that train or quantize have OpenMP's threads sleep at barriers."""

import os
import re
import subprocess
import sys

import pytest

from pyqrt.cli.openmp import sleeping_threads


@pytest.mark.parametrize(("stated", "seen"), [(None, "passive"), ("active", "active")])
def test_policy_while_a_command_runs(monkeypatch, stated, seen):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if stated:
        monkeypatch.setenv("OMP_WAIT_POLICY", stated)

    @sleeping_threads
    def command(path, *, options):
        assert (path, options) == ("path", 3)
        assert os.environ["OMP_WAIT_POLICY"] == seen
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        command("path", options=3)
    assert os.environ.get("OMP_WAIT_POLICY") == stated


def test_torch_comes_after_it(tmp_path):
    """The library of OpenMP tells what it read: OMP_DISPLAY_ENV."""
    folder = tmp_path / "model"
    folder.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    ran = subprocess.run(
        [sys.executable, "-c", "from pyqrt.cli import app; app()", "quantize", folder, "-o", "model.qrt"],
        cwd=tmp_path,
        env=environment | {"OMP_DISPLAY_ENV": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "config.json" in ran.stderr  # the error of an empty folder, for which torch was imported
    assert re.search("OMP_WAIT_POLICY *= *'PASSIVE'", ran.stderr)
