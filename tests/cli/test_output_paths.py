"""A result that cannot be written where it is to go: told before anything else is looked at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import small_model
from typer.testing import CliRunner, Result

from pyqrt.cli import app

COMMANDS = [
    "quantize none -o",
    "export-onnx none -o",
    "eval none --task sst2 --data none --json",
    "bench none --json",
]


def invoke(command: str, *arguments: Any) -> Result:
    return CliRunner().invoke(app, [*command.split(), *map(str, arguments)])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a directory `folder` and a file `plain`."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no/x.json", "no/x.json: there is no directory no; make it first"),
        ("plain/x.json", "plain/x.json: there is no directory plain"),
        ("folder", "folder is a directory; name a file"),
        (".", ". is a directory; name a file"),
        ("", ". is a directory; name a file"),
    ],
)
def test_files(here: Path, command: str, path: str, message: str) -> None:
    result = invoke(command, path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"pyqrt: {message}")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("plain", "plain: plain is a file, no directory; name another"),
        ("plain/a/b", "plain/a/b: plain is a file, no directory"),
        ("no/x.csv", "no/x.csv: there is no directory no; make it first"),
    ],
)
def test_files_of_a_folder(here: Path, path: str, message: str) -> None:
    result = invoke("sensitivity none -o", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"pyqrt: {message}")


@pytest.mark.parametrize("command", [*COMMANDS, "sensitivity none -o"])
def test_without_permission(here: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr(os, "access", lambda place, mode: mode != os.W_OK)
    result = invoke(command, "folder/x.csv")
    assert result.exit_code == 1
    assert "folder/x.csv: neither it nor the directory folder may be written to" in result.stderr
    if "sensitivity" in command:
        assert "the directory folder may not be written to" in invoke(command, "folder/x").stderr


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("eval two.qrt --task sst2 --data data.tsv --resamples 1 --json", "1 examples of data.tsv"),
        ("bench two.qrt --lengths 4 --batch 1 --mixed 0 --threads 1 --seconds 0.01 --json", "tokens/s"),
    ],
)
def test_scores_are_printed_whatever_becomes_of_their_file(
    here: Path, monkeypatch: pytest.MonkeyPatch, command: str, shown: str
) -> None:
    task = small_model.Task("sequence_classification", "logits", ("LABEL_0", "LABEL_1"))
    small_model.save(here / "two.qrt", task)
    (here / "data.tsv").write_text("sentence\tlabel\na\t1\n")

    def full(*arguments: Any, **options: Any) -> int:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    result = invoke(command, here / "report.json")
    assert result.exit_code == 1
    assert shown in result.stdout
    assert "No space left on device" in result.stderr
