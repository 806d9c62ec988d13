"""`evaluate`: a model file's score on a task, and the float checkpoint's beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyqrt.errors import ModelError
from pyqrt.eval.bootstrap import Interval, intervals
from pyqrt.eval.metrics import Rows
from pyqrt.eval.predict import Predictor, float_run, integer_run
from pyqrt.eval.tasks import EvaluationTask, label_names
from pyqrt.eval.tasks import task as task_of
from pyqrt.progress import Progress, progress_bars, silent
from pyqrt.runtime import Model, load


@dataclass(frozen=True)
class Score:
    """One metric, as a fraction: of the integers, of the floats, and the integers' minus the floats'.

    The last two are None without a checkpoint. Intervals hold 95 %; that of the difference is paired.
    """

    metric: str
    integer: Interval
    float: Interval | None
    difference: Interval | None


@dataclass(frozen=True)
class Evaluation:
    """scores: the first is the metric that ranks models of the task.

    truncated: texts that were cut. resamples, seed: of the bootstrap.
    """

    task: str
    model: str
    checkpoint: str | None
    data: str
    examples: int
    truncated: int
    resamples: int
    seed: int
    scores: tuple[Score, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, for JSON."""
        return {**asdict(self), "scores": [asdict(score) for score in self.scores]}


def evaluate(
    model: Model | str | Path,
    task: str,
    data: str | Path,
    *,
    checkpoint: str | Path | None = None,
    labels: Sequence[str] | None = None,
    truncate: bool = False,
    limit: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
    batch: int = 32,
    threads: int | None = None,
    progress: bool = False,
) -> Evaluation:
    """Scores a model on a task's labelled data.

    model: a model file or a loaded one. task: one of `pyqrt.eval.tasks()`; README.md has their data.
    checkpoint: the directory the model was quantized from, scored in the same run; needs torch.
    labels: what the model's labels are called in the task, in the model's order, where its file does not
    say so. truncate: cut texts longer than the model takes, instead of raising. limit: use the first
    examples only. resamples, seed: of the bootstrap. batch: examples that run together; memory, not
    results, depends on it. threads: of a model file that is loaded here.

    Raises ModelError for data of other columns, without examples or with unknown labels, a head that the
    task has no use for, labels that cannot be told apart, and a checkpoint that is not the model's.
    """
    for name, value in (("limit", limit), ("resamples", resamples)):
        if value is not None and value < 1:
            raise ModelError(f"{name} is {value}; it must be at least 1")
    if seed < 0:
        raise ModelError(f"seed is {seed}; it must be at least 0")
    of_task = task_of(task)
    examples = of_task.read(Path(data))[:limit]
    loaded = model if isinstance(model, Model) else load(model, threads=threads)
    reading = of_task.check(loaded.task, label_names(labels, loaded.task), examples)
    runs = {"integers": integer_run(loaded)}
    if checkpoint is not None:
        runs["floats"] = float_run(Path(checkpoint), loaded)
    predictors = {name: Predictor(loaded, run, truncate=truncate) for name, run in runs.items()}
    with progress_bars(progress) as report:
        try:
            rows = rows_of(of_task, examples, reading, predictors, batch=batch, progress=report)
        except ModelError as error:
            raise ModelError(f"{data}, {error}") from None
        metrics = of_task.metrics(loaded.task)
        found = intervals(
            metrics,
            rows["integers"],
            rows.get("floats"),
            resamples=resamples,
            seed=seed,
            progress=report,
        )
    return Evaluation(
        task=task,
        model=loaded.describe()["path"],
        checkpoint=None if checkpoint is None else str(checkpoint),
        data=str(data),
        examples=len(examples),
        truncated=predictors["integers"].truncated,
        resamples=resamples,
        seed=seed,
        scores=tuple(
            Score(metric.name, item.first, item.second, item.difference)
            for metric, item in zip(metrics, found, strict=True)
        ),
    )


def rows_of(
    of_task: EvaluationTask,
    examples: Sequence[Any],
    reading: Any,
    predictors: Mapping[str, Predictor],
    *,
    batch: int = 32,
    progress: Progress = silent,
) -> dict[str, Rows]:
    """Every predictor's rows of the examples, for the task's metrics; they take turns, batch by batch.

    reading: of the labels, from `EvaluationTask.check`. Raises ModelError, naming the batch, for an example
    that cannot be run.
    """
    if batch < 1:
        raise ModelError(f"batch is {batch}; it must be at least 1")
    rows: dict[str, list[Rows]] = {name: [] for name in predictors}
    for begin in range(0, len(examples), batch):
        for name, predict in predictors.items():
            progress(name, begin, len(examples))
            try:
                rows[name].append(of_task.score(predict, reading, examples[begin : begin + batch]))
            except ModelError as error:
                raise ModelError(f"in the batch from example {begin + 1}: {error}") from None
    for name in predictors:
        progress(name, len(examples), len(examples))
    return {name: np.concatenate(parts) for name, parts in rows.items()}
