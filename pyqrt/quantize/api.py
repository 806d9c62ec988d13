"""From a checkpoint directory to a model file: the whole of `pyqrt quantize`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pyqrt
from pyqrt.data import calibration_texts, heldout_texts, similarity_pairs
from pyqrt.errors import ModelError
from pyqrt.grids import Scales
from pyqrt.lower import lower
from pyqrt.nn import Encoder
from pyqrt.nn.config import Head, Problem
from pyqrt.nn.config import Task as TaskName
from pyqrt.outputs import check_replaceable
from pyqrt.progress import Progress, progress_bars, silent
from pyqrt.quantize.checkpoint import Checkpoint, load_checkpoint
from pyqrt.quantize.choose import choose_scales
from pyqrt.quantize.gate import DEFAULT_GATES, Comparison, check, compare, float_outputs, integer_outputs
from pyqrt.quantize.recipe import Recipe, read_recipe
from pyqrt.quantize.round_weights import round_weights
from pyqrt.quantize.statistics import ChannelStatistics, PackedBatch, channel_statistics
from pyqrt.quantize.texts import (
    Encoded,
    Example,
    pack,
    random_sequences,
    read_examples,
    read_token_ids,
    sample,
)
from pyqrt.runtime.format import ModelFile, in_memory, write
from pyqrt.runtime.model import Model
from pyqrt.runtime.tasks import Problem as TaskProblem
from pyqrt.runtime.tasks import Task
from pyqrt.runtime.tokenization import Tokenizer

T = TypeVar("T")

CALIBRATION_EXAMPLES = 512
HELDOUT_EXAMPLES = 128
_PROBLEMS: dict[Problem, TaskProblem] = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}
RANDOM_SEQUENCES = 64  # of each kind, for a checkpoint without a tokenizer


def quantize_checkpoint(
    checkpoint_dir: str | Path,
    output: str | Path,
    *,
    calibration: str | Path | None = None,
    task: TaskName | None = None,
    pooling: str | None = None,
    max_length: int | None = None,
    gate: float | None = None,
    force: bool = False,
    recipe: str | Path = "default",
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Quantizes a Hugging Face checkpoint directory to a `.qrt` model file; returns its report.

    calibration: text file, one text per line, `.tsv`, or token ids as `.jsonl` (`pyqrt.quantize.texts`);
    an eighth of it is held out. None: bundled English text. task: None takes it from the checkpoint.
    pooling: of embeddings: "mean", "first" (or "cls"), "last" or "max"; None: as sentence-transformers' files
    say, without them the mean.
    max_length: tokens a sequence may have; None: as many as the checkpoint has positions.
    gate: least score against the float model on held-out text (`pyqrt.quantize.gate`); None: the
    task's default. force: write whatever the score. recipe: name of a bundled
    recipe or a `.toml` file (`pyqrt.quantize.recipe`).
    seed: which calibration texts are drawn, if there are more than 512.

    The same checkpoint, text and options give the same file on the same machine. Raises ModelError
    when the checkpoint, text or an option is unusable, or the score is below the gate: then nothing
    is written.
    """
    check_replaceable(Path(output))
    settings = read_recipe(recipe)
    if gate is not None and not 0.0 <= gate <= 1.0:
        raise ModelError(f"gate is {gate}; it must lie in [0, 1]")
    started = time.perf_counter()
    with progress_bars(progress) as report_progress:
        report_progress("reading the checkpoint", 0, 1)
        encoder, checkpoint = load_checkpoint(Path(checkpoint_dir), task, pooling)
        _limit_length(encoder, max_length)
        report_progress("reading the checkpoint", 1, 1)
        seen, unseen = seen_and_unseen(encoder, checkpoint, calibration, seed)
        file = quantize_encoder(
            encoder, seen, settings, report_progress, checkpoint.tokenizer_json, checkpoint.limits
        )
        comparison = compare_encoder(encoder, Model(file), unseen, report_progress)
    head = encoder.config.head
    if not force:
        check(head.task, comparison, DEFAULT_GATES[head.task] if gate is None else gate)
    report = {
        "heldout": comparison.to_dict(),
        "gate": DEFAULT_GATES[head.task] if gate is None else gate,
        "forced": force,
        "calibration_sequences": len(seen),
        "calibration_tokens": sum(len(s.ids) for s in seen),
    }
    provenance = {
        "pyqrt_version": pyqrt.__version__,
        "checkpoint": checkpoint.path.name,
        "checkpoint_sha256": checkpoint.sha256,
        "architecture": checkpoint.config.get("architectures"),
        "family": encoder.config.family,
        "calibration": "bundled" if calibration is None else Path(calibration).name,
        "trained_ranges": len(checkpoint.limits),
        "recipe": {"name": Path(recipe).stem, **settings.to_dict()},
        "seed": seed,
    }
    write(output, file.program, file.tensors, file.task, file.tokenizer, provenance, report)
    return {**report, "provenance": provenance, "seconds": time.perf_counter() - started}


def quantize_encoder(
    encoder: Encoder,
    sequences: Sequence[Encoded],
    recipe: Recipe | None = None,
    progress: Progress = silent,
    tokenizer: str | None = None,
    limits: Mapping[str, float] | None = None,
) -> ModelFile:
    """Calibrates and lowers a float encoder: a model file in memory, for `Model` to run.

    recipe: None is the bundled one called "default". limits: `choose_scales`.
    """
    rounded, scales, _ = calibrate(encoder, sequences, recipe or read_recipe("default"), progress, limits)
    progress("lowering to integers", 0, 1)
    file = lower_to_file(rounded, scales, tokenizer)
    progress("lowering to integers", 1, 1)
    return file


class Calibrated(NamedTuple):
    """The encoder with its weights rounded if the recipe says so, and what calibration decided and saw."""

    rounded: Encoder
    scales: Scales
    statistics: dict[str, ChannelStatistics]


def calibrate(
    encoder: Encoder,
    sequences: Sequence[Encoded],
    recipe: Recipe,
    progress: Progress = silent,
    limits: Mapping[str, float] | None = None,
) -> Calibrated:
    """All of quantization but the lowering; `encoder` stays as it is. limits: `choose_scales`."""

    def batches() -> Iterator[PackedBatch]:
        packed = list(pack(sequences))
        for done, batch in enumerate(packed):
            progress("calibrating", done, len(packed))
            yield batch
        progress("calibrating", len(packed), len(packed))

    statistics = channel_statistics(encoder, batches())
    scales = choose_scales(encoder, statistics, batches, recipe, limits)
    if recipe.rounding == "gptq":
        encoder = round_weights(
            encoder,
            scales,
            statistics,
            pack(sequences),
            recipe.damping,
            lambda done, of: progress("rounding weights", done, of),
        )
    return Calibrated(encoder, scales, statistics)


def lower_to_file(encoder: Encoder, scales: Scales, tokenizer: str | None = None) -> ModelFile:
    """A model file in memory of an encoder at the given scales, without provenance and report."""
    program, tensors = lower(encoder, scales)
    return in_memory(
        program, tensors, task_description(encoder.config.head, program.outputs[0].name), tokenizer
    )


def compare_encoder(
    encoder: Encoder,
    model: Model,
    sequences: Sequence[Encoded],
    progress: Progress = silent,
) -> Comparison:
    """Runs both models over `sequences` and compares their outputs."""
    expected = []
    for done, sequence in enumerate(sequences):
        progress("comparing with the float model", done, len(sequences))
        expected += float_outputs(encoder, [sequence])
    actual = integer_outputs(model, sequences)
    progress("comparing with the float model", len(sequences), len(sequences))
    return compare(encoder.config.head, expected, actual)


def task_description(head: Head, output: str) -> Task:
    """The `task` entry of a model file."""
    labels = () if head.task == "question_answering" else head.labels
    if head.problem is None:
        return Task(head.task, output, labels)
    return Task(head.task, output, labels, _PROBLEMS[head.problem])


def _limit_length(encoder: Encoder, max_length: int | None) -> None:
    if max_length is None:
        return
    most = encoder.config.num_positions - encoder.config.position_offset
    if not 1 <= max_length <= most:
        raise ModelError(f"max_length is {max_length}; the checkpoint has positions for 1 to {most} tokens")
    encoder.config = dataclasses.replace(encoder.config, max_length=max_length)


def seen_and_unseen(
    encoder: Encoder, checkpoint: Checkpoint, calibration: str | Path | None, seed: int
) -> tuple[list[Encoded], list[Encoded]]:
    """Sequences to calibrate on and sequences to compare on, none in both."""
    config = encoder.config
    if calibration is not None and Path(calibration).suffix == ".jsonl":
        return _held_out(read_token_ids(Path(calibration), config), calibration, seed)
    if checkpoint.tokenizer_json is None:
        if calibration is not None:
            raise ModelError(
                f"{checkpoint.path} has neither tokenizer.json nor vocab.txt, so text cannot calibrate it; "
                "add one, calibrate on token ids (.jsonl), or leave it out for random token ids"
            )
        sequences = random_sequences(config.vocab_size, config.max_length, 2 * RANDOM_SEQUENCES, seed)
        return sequences[:RANDOM_SEQUENCES], sequences[RANDOM_SEQUENCES:]
    tokenizer = Tokenizer(checkpoint.tokenizer_json, config.max_length)
    if calibration is None:
        seen = _as_read(config.head.task, calibration_texts())
        unseen = _as_read(config.head.task, heldout_texts())
    else:
        seen, unseen = _held_out(read_examples(Path(calibration)), calibration, seed)
    return encode(tokenizer, seen, config.vocab_size), encode(tokenizer, unseen, config.vocab_size)


def _as_read(task: str, texts: Sequence[str]) -> list[Example]:
    """Bundled texts as a task reads them: each behind another if it is of pairs, every other if it may be."""
    pairs = {"question_answering": 1, "multiple_choice": 1, "sequence_classification": 2}.get(task)
    if pairs is None:
        return [Example(text) for text in texts]
    before = [sentence for sentence, _, _ in similarity_pairs()]
    return [
        Example(before[number % len(before)], text) if number % pairs == 0 else Example(text)
        for number, text in enumerate(texts)
    ]


def _held_out(examples: Sequence[T], source: str | Path, seed: int) -> tuple[list[T], list[T]]:
    """A sample to calibrate on, and an eighth of it to compare on."""
    if len(examples) < 2:
        raise ModelError(f"{source} holds one text; at least 2 are needed, one to compare on")
    drawn = sample(examples, CALIBRATION_EXAMPLES + HELDOUT_EXAMPLES, seed)
    held_out = min(HELDOUT_EXAMPLES, max(1, len(drawn) // 8))
    return drawn[held_out:], drawn[:held_out]


def encode(tokenizer: Tokenizer, examples: Sequence[Example], vocab_size: int) -> list[Encoded]:
    """Tokens of every example, cut at the tokenizer's length. Raises ModelError for unknown ids."""
    alone = [example.text for example in examples if example.pair is None]
    joined = [(example.text, example.pair) for example in examples if example.pair is not None]
    first, second = [text for text, _ in joined], [pair for _, pair in joined]
    texts, pairs = (iter(tokenizer.encode(*given, truncate=True)) for given in ((alone,), (first, second)))
    encoded = []
    for example in examples:
        result = next(texts if example.pair is None else pairs)
        largest = int(result.ids.max())
        if largest >= vocab_size:
            raise ModelError(
                f"the tokenizer gives token id {largest}, the checkpoint's vocabulary has {vocab_size}; "
                "they do not belong together"
            )
        encoded.append(Encoded(result.ids.tolist(), result.types.tolist()))
    return encoded
