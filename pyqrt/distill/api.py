"""From a teacher's checkpoint to a student: the whole of `pyqrt distill` and `pyqrt qat`."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import random
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import pyqrt
from pyqrt.distill.lessons import LabelledTexts, Reader, read_texts
from pyqrt.distill.objective import METHODS, Objective, Term, Weights
from pyqrt.distill.student import shallow_student, student_from, tied
from pyqrt.distill.training import check_lessons, teach
from pyqrt.errors import ModelError
from pyqrt.grids import Scales
from pyqrt.nn import Encoder
from pyqrt.outputs import check_folder, check_parent, check_replaceable
from pyqrt.progress import Progress, progress_bars
from pyqrt.quantize.api import (
    CALIBRATION_EXAMPLES,
    HELDOUT_EXAMPLES,
    calibrate,
    lower_to_file,
)
from pyqrt.quantize.checkpoint import load_checkpoint
from pyqrt.quantize.gate import FloatRows, compare, float_outputs, integer_outputs
from pyqrt.quantize.qat import QuantizedEncoder
from pyqrt.quantize.recipe import read_recipe
from pyqrt.runtime.format import write
from pyqrt.runtime.model import Model
from pyqrt.train.device import training_device
from pyqrt.train.loop import Options, SavePoint


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long and how fast.

    epochs: in floats; integer_epochs: afterwards, in integers, for a model file. Either may be 0.
    learning_rate, integer_learning_rate: the peak of each. batch: examples of a step. seed: of the
    order of examples. max_length: tokens of an example; None: as many as the encoders take.
    """

    epochs: int = 3
    integer_epochs: int = 1
    learning_rate: float = 5e-5
    integer_learning_rate: float = 1e-5
    batch: int = 32
    seed: int = 0
    max_length: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "integer_epochs"):
            if getattr(self, name) < 0:
                raise ModelError(f"{name} is {getattr(self, name)}; it must be at least 0")
        for name, value in (("batch", self.batch), ("max_length", self.max_length)):
            if value is not None and value < 1:
                raise ModelError(f"{name} is {value}; it must be at least 1")

    def options(self, epochs: int, learning_rate: float) -> Options:
        """For the training loop."""
        return Options(epochs=epochs, learning_rate=learning_rate, seed=self.seed)


def weights_of(method: str, terms: Mapping[Term, float] | None = None, **settings: Any) -> Weights:
    """The weights of a method of `METHODS`, those in `terms` replaced. Raises ModelError."""
    if method not in METHODS:
        raise ModelError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    return Weights({**METHODS[method], **(terms or {})}, **settings)


def distill_checkpoint(
    teacher: str | Path,
    output: str | Path,
    data: str | Path,
    *,
    student: str | Path | None = None,
    layers: int | None = None,
    task: str | None = None,
    weights: Weights | None = None,
    training: Training | None = None,
    threads: int = 1,
    device: str = "cpu",
    progress: bool = True,
) -> dict[str, Any]:
    """Trains a student to compute what a teacher computes; returns a report.

    teacher: a Hugging Face directory. output: `.qrt`, a model file of integers, trained in integers at
    the end; else a directory, written as a Hugging Face checkpoint in floats. data: texts as for
    calibration (`pyqrt.quantize.texts`), or the training file of `task`, one of `pyqrt.eval`'s, where the
    loss has the term labels; an eighth, at most 128, is held out for the report. student: the checkpoint
    directory it starts from, its head being the teacher's if it has none of the same labels, its pooling and
    normalisation of embeddings always; or layers: so many of the teacher's; neither: a copy of the teacher.
    threads: of the integer program in training, on device "cpu"; device may be "cuda" or "cuda:N" too.

    The state of training stands in files beside the output, `OUTPUT.float-training` and
    `OUTPUT.integer-training`: the same call continues a training that was killed, and gives the same
    bytes on a CPU. They are removed when the output, whole at once, is there. Raises ModelError when the
    models, the data, the options and the kind of output do not fit together, and for a device that is not
    there.
    """
    started = time.perf_counter()
    output, data = Path(output), Path(data)
    weights, training = weights or weights_of("result"), training or Training()
    _check_output(output)
    place = training_device(device)
    course = _Course(Path(teacher), student, layers, task, data, weights, training, place)
    if output.suffix != ".qrt":
        course.check_directory(output)
    with progress_bars(progress) as report:
        losses = {"float": course.teach_floats(output, report)} if training.epochs else {}
        if output.suffix == ".qrt":
            if training.integer_epochs:
                losses["integer"] = course.teach_integers(output, threads, report)
            heldout = course.write_integers(output)
        else:
            heldout = course.write_floats(output)
    for kind in ("float", "integer"):
        _state_file(output, kind).unlink(missing_ok=True)
    return {
        **heldout,
        "losses": losses,
        "examples": len(course.lessons.student),
        "provenance": course.provenance,
        "seconds": time.perf_counter() - started,
    }


def _check_output(output: Path) -> None:
    if output.suffix == ".qrt":
        check_replaceable(output)
        return
    check_parent(output)
    check_folder(output.parent)  # it is written beside and renamed
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ModelError(f"{output} exists; name a new directory, or a model file ending in .qrt")


@contextmanager
def _beside(output: Path) -> Iterator[Path]:
    """Where a directory can be written that is to become `output` by renaming it; else it does not stay."""
    place = output.with_name(f".{output.name}.part")
    shutil.rmtree(place, ignore_errors=True)  # of a call that was killed
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _state_file(output: Path, kind: str) -> Path:
    return output.with_name(f"{output.name}.{kind}-training")


class _Course:
    """Teacher, student and texts, read and checked before the first step."""

    def __init__(
        self,
        teacher: Path,
        student: str | Path | None,
        layers: int | None,
        task: str | None,
        data: Path,
        weights: Weights,
        training: Training,
        place: torch.device,
    ) -> None:
        if student is not None and layers is not None:
            raise ModelError(
                "student and layers are both given; layers are those of a student from its teacher"
            )
        self.training, self.place = training, place
        texts = read_texts(data, task)
        self.teacher, source = load_checkpoint(teacher)
        self.teacher.requires_grad_(False)
        self.student, self.origin = copy.deepcopy(self.teacher), source
        if student is not None:
            self.student, self.origin = student_from(Path(student), self.teacher, seed=training.seed)
        elif layers is not None:
            self.student, configuration = shallow_student(self.teacher, source.config, layers)
            self.origin = dataclasses.replace(source, config=configuration)
        self.student.requires_grad_(True)
        self.model: nn.Module = self.student
        self.scales: Scales | None = None
        self.objective = Objective(self.teacher, self.student, weights)
        if isinstance(texts, LabelledTexts) and "labels" in self.objective.weights:
            texts.check_head(self.student.config.head)

        limits = (self.student.config.max_length, self.teacher.config.max_length, training.max_length)
        length = min(limit for limit in limits if limit is not None)
        readers = [Reader(self.student, self.origin, length), Reader(self.teacher, source, length)]
        order = random.Random(training.seed).sample(range(len(texts)), len(texts))
        held_out = min(HELDOUT_EXAMPLES, max(1, len(order) // 8))
        self.unseen = texts.lessons(order[:held_out], *readers)
        self.lessons = texts.lessons(order[held_out:], *readers)
        if "labels" in self.objective.weights and self.student.config.head.task == "masked_lm":
            known = min(self.student.config.vocab_size, self.teacher.config.vocab_size)
            self.lessons = dataclasses.replace(self.lessons, masking=readers[0].masking(known))
        check_lessons(self.objective, self.lessons)
        self.provenance = {
            "pyqrt_version": pyqrt.__version__,
            "teacher": source.path.name,
            "teacher_sha256": source.sha256,
            "checkpoint": self.origin.path.name,
            "checkpoint_sha256": self.origin.sha256,
            "family": self.student.config.family,
            "layers": self.student.config.num_hidden_layers,
            "data": data.name,
            "task": task,
            "data_sha256": hashlib.sha256(data.read_bytes()).hexdigest(),
            "loss": dataclasses.asdict(weights),
            "training": {**dataclasses.asdict(training), "device": place.type},
        }

    def teach_floats(self, output: Path, progress: Progress) -> list[float]:
        """Trains the float student."""
        options = self.training.options(self.training.epochs, self.training.learning_rate)
        with tied(self.student):
            return self._teach(options, output, "float", progress)

    def teach_integers(self, output: Path, threads: int, progress: Progress) -> list[float]:
        """Trains the integers that quantizing the student gives."""
        model = QuantizedEncoder(*self._quantized(), threads=threads)
        self.model, self.student = model, model.encoder
        options = self.training.options(self.training.integer_epochs, self.training.integer_learning_rate)
        losses = self._teach(options, output, "integer", progress)
        self.student, self.scales = model.trained()
        return losses

    def write_integers(self, output: Path) -> dict[str, Any]:
        """Writes the model file; how near it is to the teacher."""
        encoder, scales = (self.student, self.scales) if self.scales else self._quantized()
        file = lower_to_file(encoder, scales, self.origin.tokenizer_json)
        integers = integer_outputs(Model(file), self.unseen.student)
        report = self._heldout(integers)
        write(output, file.program, file.tensors, file.task, file.tokenizer, self.provenance, report)
        return report

    def check_directory(self, output: Path) -> None:
        """Raises ModelError if a Hugging Face directory, written and read, would be another model."""
        from pyqrt.train.save import save_checkpoint

        config, head = self.student.config, self.student.config.head
        with _beside(output) as trial:
            try:
                save_checkpoint(self.student, self.origin, trial)
                written, _ = load_checkpoint(trial)
                # how long a text may be is the checkpoint's affair
                same = dataclasses.replace(written.config, max_length=config.max_length) == config
            except ModelError:  # says what is wrong with the files, not with the student
                same = False
        if not same:
            pooled = f", pooling {head.pooling}, normalize {head.normalize}"
            raise ModelError(
                f"{output}: with the files of {self.origin.path} ({config.family}, architectures "
                f"{self.origin.config.get('architectures')}) no directory can be written for the student's "
                f"{head.task}{pooled if head.task == 'embedding' else ''}; name a model file ending in .qrt"
            )

    def write_floats(self, output: Path) -> dict[str, Any]:
        """Writes a Hugging Face directory; how near the student is to the teacher."""
        from pyqrt.train.save import save_checkpoint

        output = output.resolve()  # a link stays one
        with _beside(output) as written:
            save_checkpoint(self.student, self.origin, written)
            report = self._heldout(float_outputs(self.student, self.unseen.student))
            written.replace(output)
        return report

    def _heldout(self, actual: list[FloatRows]) -> dict[str, Any]:
        """The student beside its teacher on texts that neither was trained on, where results are alike."""
        expected = float_outputs(self.teacher, self.unseen.teacher)
        if any(a.shape != b.shape for a, b in zip(expected, actual, strict=True)):
            return {}
        return {"heldout": compare(self.student.config.head, expected, actual).to_dict()}

    def _teach(self, options: Options, output: Path, kind: str, progress: Progress) -> list[float]:
        identity = json.dumps({"kind": kind, **self.provenance}, sort_keys=True)
        everything = (self.model, self.student, self.teacher, self.objective)
        for module in everything:
            module.to(self.place)
        losses = teach(
            *everything,
            self.lessons,
            options,
            batch_size=self.training.batch,
            save_point=SavePoint(_state_file(output, kind), identity),
            progress=progress,
            stage=f"training in {kind}s",
        )
        for module in everything:
            module.cpu()
        return losses

    def _quantized(self) -> tuple[Encoder, Scales]:
        """The student as `pyqrt quantize` rounds it, and its scales."""
        seen = self.lessons.student[:CALIBRATION_EXAMPLES]
        rounded, scales, _ = calibrate(self.student, seen, read_recipe("default"))
        return rounded, scales
