"""Tables on the terminal. What they show may come from a hostile file, so it is never markup."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pyqrt.cli.errors import printable


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of plain text under a heading."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=SIMPLE, show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    # Not on a terminal nobody can widen it: leave room for every column.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def print_pairs(title: str, pairs: Mapping[str, str]) -> None:
    """Print names and values."""
    print_table(title, ("", ""), list(pairs.items()))


def print_report(title: str, report: Mapping[str, Any]) -> None:
    """Print nested names and values, a line for each outer name."""
    print_pairs(title, {key.replace("_", " "): _plain(value) for key, value in report.items()})


def _plain(value: Any) -> str:
    """A report's value as a person reads it."""
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
