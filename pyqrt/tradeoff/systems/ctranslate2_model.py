"""CTranslate2: int8 weights, the task's head in numpy, because CTranslate2 stops at the encoder."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyqrt.errors import ModelError
from pyqrt.tradeoff.systems.base import Job, System
from pyqrt.tradeoff.workloads import Tokens

if TYPE_CHECKING:
    from pyqrt.eval.predict import Outputs
    from pyqrt.nn import Encoder

COMPUTE = "int8_float32"
_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0.0)}


@dataclass(frozen=True)
class _Head:
    """pooling, normalize: of `pyqrt.nn.config.Head`. layers: weight, bias and activation of each."""

    pooling: str | None
    normalize: bool
    layers: list[tuple[Any, Any, str | None]]

    def __call__(self, rows: Any) -> Any:
        """float32 [tokens, hidden] of one sequence -> [width], or [tokens, width] without pooling."""
        x = rows
        if self.pooling == "mean":
            x = rows.mean(axis=0)
        elif self.pooling == "first":
            x = rows[0]
        elif self.pooling == "max":
            x = rows.max(axis=0)
        for weight, bias, activation in self.layers:
            x = x @ weight.T + bias
            x = _ACTIVATIONS[activation](x) if activation else x
        return x / np.linalg.norm(x) if self.normalize else x


class CTranslate2Model:
    """An encoder on the CPU; batches are lists of any lengths, and padding is left out inside."""

    def __init__(self, job: Job) -> None:
        self.job = job

    @property
    def _folder(self) -> Path:
        return self.job.home / "int8"

    def files(self) -> list[Path]:
        """The converted encoder and the head."""
        return [self._folder / "model.bin", self.job.home / "head.npz"]

    def prepare(self) -> None:
        """Converts the checkpoint. Raises ModelError for a head that is not written here."""
        model, head = self.files()
        if not head.exists():
            from pyqrt.tradeoff.systems.torch_model import read_encoder

            _save_head(read_encoder(self.job), head)
        if not model.exists():
            from ctranslate2.converters import TransformersConverter

            with tempfile.TemporaryDirectory(dir=self.job.home) as work:
                source = _readable(self.job, Path(work, "checkpoint"))
                converter = TransformersConverter(str(source))
                converter.convert(str(Path(work, "int8")), quantization="int8")
                shutil.rmtree(self._folder, ignore_errors=True)
                Path(work, "int8").rename(self._folder)

    def load(self) -> None:
        """Makes an encoder of the job's number of threads."""
        import ctranslate2

        self._library = ctranslate2
        self._encoder = ctranslate2.Encoder(
            str(self._folder),
            device="cpu",
            compute_type=COMPUTE,
            inter_threads=1,
            intra_threads=self.job.threads,
        )
        with np.load(self.files()[1]) as saved:
            settings = json.loads(str(saved["settings"]))
            layers = [
                (saved[f"weight{i}"], saved[f"bias{i}"], name)
                for i, name in enumerate(settings["activations"])
            ]
            self._head = _Head(settings["pooling"], settings["normalize"], layers)

    def isa(self) -> str | None:
        """None: it does not tell."""
        return None

    def arrange(self, batch: Sequence[Tokens], *, padded: bool = False) -> Any:
        """Lists of token ids. The encoder takes no token types: all are 0."""
        return [list(ids) for ids, _ in batch]

    def call(self, arranged: Any) -> Any:
        """As `System.call`."""
        output = self._encoder.forward_batch(arranged)
        hidden = np.asarray(output.last_hidden_state)
        return [self._head(rows[: len(ids)]) for rows, ids in zip(hidden, arranged, strict=True)]

    def run(self, ids: Sequence[Any], types: Sequence[Any]) -> Outputs:
        """As `System.run`. Raises ModelError for token types other than 0."""
        if any(row.any() for row in types):
            raise ModelError("CTranslate2's encoder takes no token types, and the task's pairs need them")
        values = self.call([row.tolist() for row in ids])
        return (np.stack(values) if self._head.pooling else values), 1.0


def _save_head(encoder: Encoder, path: Path) -> None:
    config, head = encoder.config.head, encoder.head
    if head.norm is not None or config.transform_activation not in (None, *_ACTIVATIONS):
        raise ModelError(
            f"the head of {config.task} has a norm or the activation {config.transform_activation!r}; "
            "CTranslate2 has no heads, and of these none is written for it here"
        )
    layers = [(head.transform, config.transform_activation), (head.classifier, None)]
    used = [(layer, name) for layer, name in layers if layer is not None]
    arrays: dict[str, Any] = {}
    for number, (layer, _) in enumerate(used):
        arrays[f"weight{number}"] = layer.weight.detach().numpy()
        arrays[f"bias{number}"] = (
            np.zeros(1, np.float32) if layer.bias is None else layer.bias.detach().numpy()
        )
    settings = {
        "pooling": config.pooling,
        "normalize": config.normalize,
        "activations": [name for _, name in used],
    }
    new = path.with_name(f"new-{path.name}")
    np.savez(new, settings=json.dumps(settings), **arrays)
    new.rename(path)


def _readable(job: Job, target: Path) -> Path:
    """The checkpoint as the converter wants it, with an attribute that newer transformers drop."""
    from pyqrt.tradeoff.systems.torch_model import transformers_folder

    assert job.checkpoint is not None
    source = transformers_folder(job.checkpoint)
    target.mkdir()
    for path in source.iterdir():
        if path.is_file() and path.name != "config.json":
            (target / path.name).symlink_to(path.resolve())
    config = json.loads((source / "config.json").read_text())
    config.setdefault("position_embedding_type", "absolute")
    (target / "config.json").write_text(json.dumps(config))
    return target


def system(job: Job) -> System:
    """The system of a job."""
    return CTranslate2Model(job)
