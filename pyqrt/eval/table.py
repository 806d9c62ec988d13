"""Labelled data from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyqrt.errors import ModelError


def read_text(path: Path) -> str:
    """The UTF-8 text of a file, without the byte order mark that it may begin with. Raises ModelError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read the data {path}: {error}") from None


def read_table(path: Path, alternatives: Sequence[tuple[str, ...]]) -> list[tuple[str, tuple[str, ...]]]:
    """The named columns of a tab-separated file with a header row, without quoting; empty lines are skipped.

    alternatives: sets of column names, the first that the header has is read. With the cells of each line
    comes where it stands, for errors about them: "FILE, line 2".
    Raises ModelError for other columns, a line too short, and a file without examples.
    """
    lines = [line.removesuffix("\r") for line in read_text(path).split("\n")]
    header = lines[0].split("\t")
    columns = next((names for names in alternatives if set(names) <= set(header)), None)
    if columns is None:
        wanted = " or ".join(", ".join(names) for names in alternatives)
        raise ModelError(f"{path}: the columns are {', '.join(header) or 'none'}; needed are {wanted}")
    places = [header.index(name) for name in columns]
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        where, cells = f"{path}, line {number}", line.split("\t")
        if len(cells) != len(header):
            raise ModelError(f"{where}: {len(cells)} columns, the header has {len(header)}")
        rows.append((where, tuple(cells[place] for place in places)))
    if not rows:
        raise ModelError(f"{path} has no examples below its header")
    return rows
