"""Reading the files of a checkpoint directory."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from pyqrt.errors import ModelError


class Directory:
    """A checkpoint directory that remembers which of its files were read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = path
        self._read: set[Path] = set()

    def child(self, name: str) -> Directory:
        """The folder `name` inside this one ("" is this one); what is read there is remembered here.

        Raises ModelError if it is not inside this directory or does not exist.
        """
        parts = PurePosixPath(name).parts
        if PurePosixPath(name).is_absolute() or ".." in parts or not self.path.joinpath(*parts).is_dir():
            raise ModelError(f"{self.path}: there is no folder {name!r} inside it")
        child = Directory(self.path.joinpath(*parts))
        child._root, child._read = self._root, self._read
        return child

    def has(self, name: str) -> bool:
        """Whether the directory has a file `name`."""
        return (self.path / name).is_file()

    def open(self, name: str) -> Path:
        """The path of the existing file `name`, noted as read. Raises ModelError if absent."""
        path = self.path / name
        if PurePosixPath(name).name != name or not path.is_file():
            raise ModelError(f"{self.path}: there is no file {name!r}")
        self._read.add(path)
        return path

    def text(self, name: str) -> str:
        """The UTF-8 text of the file `name`. Raises ModelError if absent or not UTF-8."""
        path = self.open(name)
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ModelError(f"{path}: not UTF-8 text ({error})") from None

    def json(self, name: str) -> Any:
        """The parsed JSON of the file `name`. Raises ModelError if absent or malformed."""
        text = self.text(name)
        try:
            return json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ModelError(f"{self.path / name}: not valid JSON ({error})") from None

    def object(self, name: str) -> dict[str, Any]:
        """The JSON object of the file `name`. Raises ModelError if absent or not an object."""
        value = self.json(name)
        if not isinstance(value, dict):
            raise ModelError(f"{self.path / name}: expected a JSON object, found {type(value).__name__}")
        return value

    def optional_object(self, name: str) -> dict[str, Any]:
        """As `object`; an empty dictionary if there is no such file."""
        return self.object(name) if self.has(name) else {}

    def files_read(self) -> tuple[str, ...]:
        """Names of the files read so far, relative to the checkpoint's directory, sorted."""
        return tuple(sorted(path.relative_to(self._root).as_posix() for path in self._read))
