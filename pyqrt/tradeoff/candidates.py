"""Which models are measured in which systems, and the model files and folders that takes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyqrt
from pyqrt.errors import ModelError
from pyqrt.progress import Progress
from pyqrt.runtime import format as model_format
from pyqrt.tradeoff.systems import PYQRT, SYSTEMS, missing_packages, versions
from pyqrt.tradeoff.systems.base import Job


@dataclass(frozen=True)
class Candidate:
    """A model in a system.

    checkpoint: the name of the model it is of. variant: pyqrt's recipe, or the numbers a peer computes with.
    job: how it is run, for one thread. digest: of what it is made from.
    """

    checkpoint: str
    system: str
    variant: str
    job: Job
    digest: str

    @property
    def id(self) -> str:
        """What records name it by."""
        return f"{self.checkpoint}/{self.system}/{self.variant}"

    def to_dict(self) -> dict[str, str]:
        """As records describe it."""
        return {
            "id": self.id,
            "checkpoint": self.checkpoint,
            "system": self.system,
            "variant": self.variant,
            "digest": self.digest,
        }


@dataclass(frozen=True)
class Missing:
    """A candidate that cannot be measured, why, and what would mend it."""

    candidate: dict[str, str]
    reason: str
    remedy: str | None


def model_files(
    paths: Sequence[Path],
    recipes: Sequence[str],
    folder: Path,
    calibration: Path | None,
    device: str,
    progress: Progress,
) -> tuple[list[Candidate], dict[str, Path]]:
    """pyqrt's candidates, quantized where there is no file of that checkpoint and recipe yet.

    paths: model files and checkpoint directories. Returns the checkpoint directories by name too, those that
    peers can be made of. Raises ModelError for two candidates of one name.
    """
    found: list[Candidate] = []
    checkpoints: dict[str, Path] = {}
    of_recipes = [(path, recipe) for path in paths for recipe in (recipes if path.is_dir() else [""])]
    for done, (path, recipe) in enumerate(of_recipes):
        progress("quantizing", done, len(of_recipes))
        if recipe:
            path = path.resolve()  # a name, also for "."
            checkpoints[path.name] = path
            name = f"{path.name}-{Path(recipe).stem}.qrt"
            path = _quantized(path, recipe, folder / name, calibration)
        found.append(_model_candidate(path, device))
    progress("quantizing", len(of_recipes), len(of_recipes))
    for candidate in found:
        same = [other.job.model for other in found if other.id == candidate.id]
        if len(same) > 1:
            raise ModelError(
                f"{' and '.join(same)} are both recipe {candidate.variant!r} of {candidate.checkpoint}; "
                "compare one of them, or give the checkpoints' folders different names"
            )
    return found, checkpoints


def _model_candidate(path: Path, device: str) -> Candidate:
    file = model_format.read(path)
    recipe = file.provenance.get("recipe")
    variant = recipe.get("name") if isinstance(recipe, dict) else None
    return Candidate(
        checkpoint=str(file.provenance.get("checkpoint") or path.stem),
        system=PYQRT,
        variant=str(variant or path.stem),
        job=Job(PYQRT, str(variant or path.stem), str(path), device),
        digest=file.header_digest,
    )


def _quantized(checkpoint: Path, recipe: str, target: Path, calibration: Path | None) -> Path:
    """The model file, made unless it is there and of the same weights, recipe, text and version."""
    from pyqrt.quantize.api import quantize_checkpoint
    from pyqrt.quantize.recipe import read_recipe

    settings = {"name": Path(recipe).stem, **read_recipe(recipe).to_dict()}
    stamp = target.with_suffix(".json")
    made_of = {
        "pyqrt_version": pyqrt.__version__,
        "format": model_format.VERSION,
        "checkpoint": _weights_digest(checkpoint),
        "recipe": json.loads(json.dumps(settings)),
        "calibration": None if calibration is None else _sha256(calibration),
    }
    if target.exists() and stamp.exists() and json.loads(stamp.read_text()) == made_of:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    # Forced: what the gate would refuse is measured, and its score shows.
    quantize_checkpoint(
        checkpoint, target, calibration=calibration, recipe=recipe, force=True, progress=False
    )
    stamp.write_text(json.dumps(made_of))
    return target


def peers(
    names: Sequence[str],
    models: Sequence[Candidate],
    checkpoints: dict[str, Path],
    folder: Path,
    calibration: Path | None,
    device: str,
) -> tuple[list[Candidate], list[Missing]]:
    """The peers' candidates of every checkpoint, and those that this Python or device does not have."""
    found, missing = [], []
    for model in {model.checkpoint: model for model in reversed(models)}.values():
        directory = checkpoints.get(model.checkpoint)
        for name in names:
            for variant in SYSTEMS[name].variants.get(device.partition(":")[0], ("int8",)):
                candidate = _peer(model, name, variant, directory, folder, calibration, device)
                lacking = missing_packages(name)
                if device.partition(":")[0] not in SYSTEMS[name].variants:
                    reason, remedy = f"not driven on {device} here", None
                elif directory is None:
                    reason = f"{model.job.model} is a model file; peers need the checkpoint"
                    remedy = "give the checkpoint's directory"
                elif lacking:
                    reason = f"not installed: {', '.join(lacking)}"
                    remedy = f"pip install {' '.join(lacking)}"
                else:
                    found.append(candidate)
                    continue
                missing.append(Missing(candidate.to_dict(), reason, remedy))
    return found, missing


def _peer(
    model: Candidate,
    name: str,
    variant: str,
    directory: Path | None,
    folder: Path,
    calibration: Path | None,
    device: str,
) -> Candidate:
    file = model_format.read(model.job.model)
    made_of = {
        "weights": file.provenance.get("checkpoint_sha256"),
        "task": file.task.kind,
        "calibration": None if calibration is None else _sha256(calibration),
        "packages": {package: versions().get(package) for package in SYSTEMS[name].packages},
        "pyqrt": pyqrt.__version__,
    }
    digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
    job = Job(
        name,
        variant,
        model.job.model,
        device,
        checkpoint=None if directory is None else str(directory),
        folder=str(folder / f"{model.checkpoint}-{name}-{digest[:8]}"),
        calibration=None if calibration is None else str(calibration),
    )
    return Candidate(model.checkpoint, name, variant, job, digest)


def _weights_digest(checkpoint: Path) -> str:
    """Of every file of the directory: names and bytes."""
    digest = hashlib.sha256()
    for path in sorted(path for path in checkpoint.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(checkpoint)} {_sha256(path)}\n".encode())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error}") from None
    return digest.hexdigest()


def describe_missing(missing: Missing) -> dict[str, Any]:
    """As a record."""
    return asdict(missing)
