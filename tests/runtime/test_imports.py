"""What an import costs: the runtime never needs torch, and `import pyqrt` needs nearly nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "transformers", "tokenizers", "rich", "scipy", "typer", "safetensors", "onnx"}


def imported_by(code: str, folder: Path) -> set[str]:
    """Top-level modules that a new interpreter has loaded after `code`."""
    code += "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True, timeout=120
    )
    return {name.partition(".")[0] for name in json.loads(result.stdout.splitlines()[-1])}


def test_importing_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    loaded = imported_by("import pyqrt; pyqrt.ModelError; dir(pyqrt)", tmp_path)
    assert not loaded & (HEAVY | {"numpy"})


def test_token_ids_need_only_numpy(tmp_path: Path, sound: Path) -> None:
    loaded = imported_by(f"import pyqrt; pyqrt.load({str(sound)!r}).run([[1, 2]])", tmp_path)
    assert "numpy" in loaded
    assert not loaded & HEAVY


def test_texts_need_only_the_tokenizer(tmp_path: Path, sound: Path) -> None:
    loaded = imported_by(f"import pyqrt; pyqrt.load({str(sound)!r})(['a b'])", tmp_path)
    assert loaded & HEAVY == {"tokenizers"}


def test_commands_import_no_torch(tmp_path: Path) -> None:
    assert not imported_by("from pyqrt.cli import app", tmp_path) & (HEAVY - {"typer", "rich"})


def test_unknown_names(tmp_path: Path) -> None:
    import pyqrt

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pyqrt.nothing  # noqa: B018
    assert callable(pyqrt.load)
    assert not callable(__import__("pyqrt.quantize").quantize)  # the name is the sub-package
