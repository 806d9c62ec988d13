"""`pyqrt run`: texts from the command line or stdin, results on stdout, one line each."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from pyqrt.cli.errors import printable
from pyqrt.cli.options import MAX_COUNT
from pyqrt.errors import ModelError

if TYPE_CHECKING:
    from pyqrt.runtime import Model, Parallel

Input = tuple[str, str | None]


def run(
    model: Annotated[Path, typer.Argument(help="Model file (.qrt).")],
    text: Annotated[
        str | None, typer.Argument(help="A text; without it, stdin is read, one text per line.")
    ] = None,
    pair: Annotated[
        str | None,
        typer.Argument(
            help="Its pair: the context of a question, a second sentence; choices, separated by |."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Cut texts longer than the model takes.")
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_COUNT, help="Threads; default: the CPUs this process may use."),
    ] = None,
    parallel: Annotated[
        str, typer.Option(help="What the threads share out: rows of each text, or whole texts.")
    ] = "rows",
    batch: Annotated[
        int,
        typer.Option(min=1, max=MAX_COUNT, help="Lines of stdin run together; 1 answers each line at once."),
    ] = 32,
) -> None:
    """Run texts through a model. On stdin a tab separates a text from its pair.

    With --json each line has the text, the pair if there is one, and the result: label, score and scores of
    a classification; else embedding, words and entities, answer, masks, or choice.
    """
    from pyqrt.runtime import load

    if text is None and (sys.stdin is None or sys.stdin.isatty()):
        raise typer.BadParameter("give a text, or pipe texts to stdin, one per line")
    if threads == 1:  # one thread is meant for the tokenizer's library too, which starts one for every CPU
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    loaded = load(model, threads=threads, parallel=cast("Parallel", parallel))
    if text is not None:
        _run_batch(loaded, [(text, pair)], as_json, truncate)
        return
    lines = _read_lines()
    first = 1
    while inputs := list(islice(lines, batch)):
        try:
            _run_batch(loaded, inputs, as_json, truncate)
        except ModelError as error:
            raise ModelError(f"stdin, in the batch from line {first}: {error}") from None
        first += len(inputs)


def _read_lines() -> Iterator[Input]:
    """The lines of stdin, each a text or a text and its pair, all alike."""
    paired: bool | None = None
    for number, line in enumerate(sys.stdin.buffer, 1):
        encoding = "utf-8-sig" if number == 1 else "utf-8"  # a mark of the byte order is no text
        try:
            text = line.removesuffix(b"\n").removesuffix(b"\r").decode(encoding)
        except UnicodeError as error:
            raise ModelError(f"stdin, line {number}: not valid UTF-8: {error}") from None
        columns = text.split("\t")
        if len(columns) > 2:
            raise ModelError(f"stdin, line {number}: {len(columns) - 1} tabs; one may separate a pair")
        if paired is None:
            paired = len(columns) == 2
        if paired != (len(columns) == 2):
            problem = "has no pair, unlike" if paired else "has a pair, unlike"
            raise ModelError(f"stdin, line {number}: {problem} the lines before it")
        yield columns[0], columns[1] if paired else None


def _run_batch(model: Model, inputs: list[Input], as_json: bool, truncate: bool) -> None:
    texts = [text for text, _ in inputs]
    pairs: Any = [pair for _, pair in inputs if pair is not None] or None
    if pairs is not None and model.task.kind == "multiple_choice":
        pairs = [pair.split("|") for pair in pairs]
    results = model(texts, pairs, truncate=truncate)
    show = _as_json if as_json else _as_text
    for (text, pair), result in zip(inputs, results, strict=True):
        line = show(model.task.kind, text, pair, result)
        sys.stdout.buffer.write(line.encode() + b"\n")
    sys.stdout.buffer.flush()


def _as_json(kind: str, text: str, pair: str | None, result: Any) -> str:
    record: dict[str, Any] = {"text": text}
    if pair is not None:
        record["pair"] = pair
    if kind == "embedding":
        record["embedding"] = _numbers(result)
    elif kind == "token_classification":
        from pyqrt.runtime import entities

        record["words"] = [dataclasses.asdict(word) for word in result]
        record["entities"] = [dataclasses.asdict(entity) for entity in entities(text, result)]
    elif kind == "question_answering":
        record["answer"] = dataclasses.asdict(result)
    elif kind == "masked_lm":
        record["masks"] = [dataclasses.asdict(mask) for mask in result]
    elif kind == "multiple_choice":
        record["choice"] = dataclasses.asdict(result)
    else:
        record |= dataclasses.asdict(result)
    return json.dumps(record, ensure_ascii=False)


def _as_text(kind: str, text: str, pair: str | None, result: Any) -> str:
    if kind == "embedding":
        return json.dumps(_numbers(result))
    if kind == "token_classification":
        return " ".join(printable(f"{word.text}/{word.label}") for word in result)
    if kind == "masked_lm":
        best = [mask.candidates[0] for mask in result]
        return "\t".join(f"{printable(candidate.token)}\t{candidate.score:.6f}" for candidate in best)
    label = result.text if kind in ("question_answering", "multiple_choice") else result.label
    return f"{printable(label)}\t{result.score:.6f}"


def _numbers(embedding: Any) -> Any:
    """float32 as the shortest decimals that read back as the same float32; one list for each row."""
    if embedding.ndim > 1:
        return [_numbers(row) for row in embedding]
    return [float(str(number)) for number in embedding]
