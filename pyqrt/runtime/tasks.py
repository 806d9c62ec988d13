"""What a model is for, and whether its program can serve that. Imported by every `load`, so it is small."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pyqrt.errors import ModelError
from pyqrt.program import Program

Problem = Literal["single_label_classification", "multi_label_classification", "regression"]

DEFAULT_STRIDE = 128  # tokens that neighbouring windows of a long context share


class Task(NamedTuple):
    """What a model's output means.

    `output` names the program output; `labels` its columns (classification only); `problem`
    how label scores are made of them.
    """

    kind: Literal[
        "embedding",
        "sequence_classification",
        "token_classification",
        "question_answering",
        "masked_lm",
        "multiple_choice",
    ]
    output: str
    labels: tuple[str, ...] = ()
    problem: Literal["single_label_classification", "multi_label_classification", "regression"] = (
        "single_label_classification"
    )

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and strings, as in the file."""
        return self._asdict()


_ROWS = {
    "sequence_classification": "sequences",
    "multiple_choice": "sequences",
    "token_classification": "tokens",
    "question_answering": "tokens",
    "masked_lm": "tokens",
}
_WIDTHS = {"question_answering": (2, "2 columns, start and end"), "multiple_choice": (1, "1 column")}


def check_task(task: Task, program: Program) -> None:
    """Raise ModelError unless `task` fits the program's output in rows, width and labels."""
    names = [output.name for output in program.outputs]
    if names.count(task.output) != 1:
        raise ModelError(f"the task's output {task.output!r} is not one of the program's: {names}")
    index = program.outputs[names.index(task.output)].buffer
    if not 0 <= index < len(program.buffers):
        raise ModelError(f"output {task.output!r} is buffer {index} of {len(program.buffers)}")
    buffer = program.buffers[index]
    if buffer.rows != _ROWS.get(task.kind, buffer.rows):
        raise ModelError(f"{task.kind} cannot use an output with one row per {buffer.rows[:-1]}")
    vocabulary = program.limits.vocab_size
    widths = _WIDTHS | {"masked_lm": (vocabulary, f"{vocabulary} columns, the vocabulary")}
    width, meaning = widths.get(task.kind, (buffer.width, ""))
    if buffer.width != width:
        raise ModelError(f"{task.kind} needs an output of {meaning}, not {buffer.width}")
    labelled = task.kind in ("sequence_classification", "token_classification")
    if len(task.labels) != (buffer.width if labelled else 0) or len(set(task.labels)) != len(task.labels):
        wanted = f"{buffer.width} different labels" if labelled else "no labels"
        raise ModelError(f"{task.kind} needs {wanted}; the task has {list(task.labels)}")
