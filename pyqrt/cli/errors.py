"""What can go wrong is told in one line on stderr, whatever bytes are in it; then exit code 1."""

from __future__ import annotations

import functools
import io
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from pyqrt.errors import ModelError

_EXTRAS = {"matplotlib": "plot", "scipy": "eval", "seqeval": "eval", "sklearn": "eval"}  # else "quantize"


def printable(text: str) -> str:
    """`text` without characters that could steer a terminal or break the line: they are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def clear_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command: errors its user can mend end it with one line; others keep their traceback."""

    @functools.wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> None:
        if sys.stdout is None:  # closed, as by `>&-`: the next file to be opened would get what is printed
            fail("standard output is closed; send it to a file, or to /dev/null")
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a locale may lack a name's letters
        try:
            command(*arguments, **options)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader has gone (`| head`). What is still buffered must not fail at exit too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except ModuleNotFoundError as error:
            package = (error.name or "pyqrt").partition(".")[0]
            if package == "pyqrt":
                raise
            extra = _EXTRAS.get(package, "quantize")
            fail(f"this command needs the package {package}: pip install 'pyqrt[{extra}]'")
        except (ModelError, OSError) as error:
            fail(str(error))
        except MemoryError:
            fail("out of memory; use fewer texts at once, shorter texts or fewer threads")

    return wrapped


def fail(message: str) -> None:
    """Print `message` as one line on stderr and exit with code 1."""
    typer.echo(f"pyqrt: {printable(message)}", err=True)
    raise typer.Exit(1)
