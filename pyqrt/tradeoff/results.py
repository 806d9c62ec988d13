"""The results file: JSON Lines, appended to while measuring, so that a killed run loses one line at most.

README.md of this folder says what every field means.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyqrt.errors import ModelError

SCHEMA = 1
Record = dict[str, Any]

# The fields of every kind of record and the type of each; all must be there.
_NUMBER, _MAYBE = (int, float), type(None)
FIELDS: dict[str, dict[str, Any]] = {
    "run": {
        "schema": int,
        "time": str,
        "pyqrt": str,
        "commit": (str, _MAYBE),
        "command": str,
        "versions": dict,
        "machine": dict,
        "settings": dict,
        "candidates": list,
        "workloads": dict,
    },
    "not_measured": {"candidate": dict, "reason": str, "remedy": (str, _MAYBE)},
    "score": {
        "candidate": str,
        "scores": list,
        "reference": (str, _MAYBE),
        "examples": int,
        "truncated": int,
    },
    "load": {
        "candidate": str,
        "threads": int,
        "load_seconds": _NUMBER,
        "start_seconds": _NUMBER,
        "file_bytes": int,
        "isa": (str, _MAYBE),
    },
    "turn": {
        "candidate": str,
        "threads": int,
        "workload": str,
        "batching": str,
        "round": int,
        "seconds": list,
        "joules": (int, float, _MAYBE),
        "peak_bytes": (int, _MAYBE),
        "load_average": _NUMBER,
    },
}
_COMMON = {"kind": str, "run": str}


@dataclass
class Run:
    """All records of one run: its own, and those of each other kind in the order they were written."""

    record: Record
    records: dict[str, list[Record]] = field(
        default_factory=lambda: {kind: [] for kind in FIELDS if kind != "run"}
    )

    @property
    def id(self) -> str:
        """What the other records name it by."""
        return str(self.record["run"])


class ResultsFile:
    """A results file that is being written. A last line that a kill left unfinished is taken away."""

    def __init__(self, path: Path) -> None:
        """Raises ModelError for a file that is no results file."""
        self._path = path
        if path.exists():
            text = path.read_bytes()
            whole = text[: text.rfind(b"\n") + 1]
            if whole != text:
                path.write_bytes(whole)
        self.runs = {run.id: run for run in read_results([path])} if path.exists() else {}

    def append(self, kind: str, run: str, **fields: Any) -> None:
        """Writes one record, and waits until the system has it."""
        record = {"kind": kind, "run": run, **fields}
        _check(record, "a record")
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
        _add(self.runs, record)


def read_results(paths: Iterable[Path]) -> list[Run]:
    """The runs of results files, in order; a run whose lines lie in several files is one.

    Raises ModelError, naming file and line, for what is no sound record of this version.
    """
    runs: dict[str, Run] = {}
    before: set[str] = set()  # lines of the files before: a file given twice counts once
    for path in paths:
        lines: set[str] = set()
        for where, record in _records(path):
            line = json.dumps(record, sort_keys=True)
            lines.add(line)
            if line in before:
                continue
            if record["kind"] != "run" and record["run"] not in runs:
                raise ModelError(
                    f"{where}: belongs to run {record['run']!r}, which no line before it describes"
                )
            _add(runs, record)
        before |= lines
    return list(runs.values())


def _add(runs: dict[str, Run], record: Record) -> None:
    if record["kind"] == "run":
        runs.setdefault(record["run"], Run(record))
    else:
        runs[record["run"]].records[record["kind"]].append(record)


def _records(path: Path) -> Iterator[tuple[str, Record]]:
    try:
        with path.open(encoding="utf-8") as file:
            lines = file.readlines()  # str.splitlines also cuts at what JSON has inside strings, as U+2028
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read the results {path}: {error}") from None
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{where} is not JSON: {error}") from None
        if not isinstance(record, dict):
            raise ModelError(f"{where} is not a JSON object")
        _check(record, where)
        yield where, record


def _check(record: Record, where: str) -> None:
    kind = record.get("kind")
    if kind not in FIELDS:
        raise ModelError(f"{where}: kind is {kind!r}; known: {', '.join(FIELDS)}")
    for name, types in (_COMMON | FIELDS[kind]).items():
        if name not in record:
            raise ModelError(f"{where}: a record of kind {kind!r} needs the field {name!r}")
        if not isinstance(record[name], types):
            raise ModelError(f"{where}: {name} is {record[name]!r}, which is of the wrong type")
    if kind == "run" and record["schema"] != SCHEMA:
        raise ModelError(
            f"{where}: schema is {record['schema']}; this version of pyqrt reads {SCHEMA}: "
            "measure again, or use the version that wrote it"
        )
