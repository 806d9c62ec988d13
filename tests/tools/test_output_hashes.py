"""What a model file computes is compared between variants and with the committed hashes."""

from __future__ import annotations

from pathlib import Path

import pytest

import output_hashes
from pyqrt import _runtime
from pyqrt.runtime import format as model_format
from pyqrt.runtime.tasks import Task
from tiny_encoders import tiny_program


@pytest.fixture
def model(tmp_path: Path) -> Path:
    program, tensors = tiny_program(0)
    path = tmp_path / "tiny.qrt"
    model_format.write(path, program, tensors, Task("embedding", program.outputs[0].name), None, {}, {})
    return path


def test_a_golden_program_has_the_committed_hash(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert output_hashes.main([str(model)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny.qrt (golden)"
    assert len(lines) - 1 == sum(isa["supported"] for isa in _runtime.isas())
    assert output_hashes.main(["--isa", "reference", str(model)]) == 0


def test_another_output_fails(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = output_hashes.build_hashes(tiny_program(0)) | {"outputs": "0" * 64}
    monkeypatch.setattr(output_hashes, "read_hashes", lambda: {"tiny": golden})
    assert output_hashes.main([str(model)]) == 1
    assert "DIFFERS" in capsys.readouterr().out


def test_a_variant_that_does_not_run_here_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        output_hashes.main(["--isa", "altivec", str(model)])
    assert "altivec does not run here" in capsys.readouterr().err
