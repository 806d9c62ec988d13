"""Where results go, checked before the work that makes them."""

from __future__ import annotations

import os
from pathlib import Path

from pyqrt.errors import ModelError


def check_file(path: Path) -> None:
    """Raises ModelError unless a file can be written at `path`, also in place of one that is there."""
    if path.is_dir():
        raise ModelError(f"{path} is a directory; name a file")
    check_parent(path)
    if not any(os.access(place, os.W_OK) for place in (path, path.parent)):
        raise ModelError(f"{path}: neither it nor the directory {path.parent} may be written to")


def check_replaceable(path: Path) -> None:
    """As `check_file`, of a file that is written beside and renamed: what is there must be one, too."""
    check_file(path)
    if path.exists() and not path.is_file():
        raise ModelError(f"{path} is a device or a pipe; name a file")


def check_parent(path: Path) -> None:
    """Raises ModelError unless the directory that `path` stands in is there."""
    if not path.parent.is_dir():
        raise ModelError(f"{path}: there is no directory {path.parent}; make it first")


def check_folder(path: Path) -> None:
    """Raises ModelError unless `path` is a directory or can become one, with the missing ones above it."""
    nearest = next(place for place in (path, *path.parents) if place.exists())
    if not nearest.is_dir():
        raise ModelError(f"{path}: {nearest} is a file, no directory; name another")
    if not os.access(nearest, os.W_OK):
        raise ModelError(f"{path}: the directory {nearest} may not be written to")
