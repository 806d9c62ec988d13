"""The model file: one safetensors file that is a program, its constants and everything about it.

FORMAT.md beside this file is the specification. Reading trusts nothing: whatever the bytes are,
the result is a checked `ModelFile` or a ModelError. Weights, embedding tables and the tokenizer, nearly
all of the file, are left to `ModelFile.check_digest`, so that reading is quick. What the program does
with its tensors (ranges, bit budgets) is checked by `_runtime.Model`, which sees only what passed here.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import stat
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pyqrt import _runtime
from pyqrt.errors import ModelError
from pyqrt.program import PROGRAM_VERSION, Program
from pyqrt.runtime import strict_json
from pyqrt.runtime.memory import require_address_space
from pyqrt.runtime.schema import decode
from pyqrt.runtime.tasks import Task, check_task

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Tensor = npt.NDArray[np.integer[Any]]

FORMAT = "qrt"
VERSION = "2"
ALIGNMENT = 64
MAX_HEADER_BYTES = 100_000_000
MAX_TENSORS = 1 << 16
MAX_RANK = 8
_READING_BYTES = 8 << 20  # what reading takes beside the mapped file: a header and a program, decoded
_TEXT_BYTES = 1 << 20
_BYTES_PER_TEXT_BYTE = 8  # the string with and without spaces at its end, of up to 4 bytes a character

_DTYPES: dict[str, np.dtype[Any]] = {"I8": np.dtype("<i1"), "I16": np.dtype("<i2"), "I32": np.dtype("<i4")}
_TOKENIZER = "tokenizer"  # the name of the one tensor that is text
_TEXT_DTYPES: dict[str, np.dtype[Any]] = {"U8": np.dtype(np.uint8)}
_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,256}")
_HEADER_DIGEST_KEY = b'"header_digest":"'
_DIGEST = re.compile(rb"[0-9a-f]{64}")
_NO_DIGEST = b"0" * 64
_REQUIRED = ("format", "version", "program", "task", "provenance", "report", "digests", "header_digest")


class ModelFile(NamedTuple):
    """A checked model file. `tensors` and `text`, the tokenizer's, are read-only views of the mapped file.

    All is checked but the digests of what `unchecked` names.
    """

    path: str
    program: Program
    tensors: dict[str, Tensor]
    digests: dict[str, str]
    task: Task
    text: npt.NDArray[np.uint8] | None
    provenance: dict[str, Any]
    report: dict[str, Any]
    header_digest: str
    file_bytes: int

    @property
    def unchecked(self) -> list[str]:
        """What `read` leaves to `check_digest`, the longest first: weights, tables, the tokenizer."""
        sizes = {name: tensor.nbytes for name, tensor in self.tensors.items() if tensor.dtype == np.int8}
        if self.text is not None:
            sizes[_TOKENIZER] = self.text.nbytes
        return sorted(sizes, key=lambda name: -sizes[name])

    @property
    def tokenizer(self) -> str | None:
        """The text of tokenizer.json; None if there is none. Raises ModelError if it is damaged."""
        if self.text is None:
            return None
        self.check_digest(_TOKENIZER)
        require_address_space(_BYTES_PER_TEXT_BYTE * self.text.nbytes + _TEXT_BYTES, "the tokenizer's text")
        try:
            return str(self.text.data, "utf-8").rstrip(" ")
        except UnicodeError as error:
            raise ModelError(f"the tokenizer is not valid UTF-8: {error}") from None

    def check_digest(self, name: str) -> None:
        """Raise ModelError unless the bytes of tensor `name` have the digest that the header says."""
        tensor = self.text if name == _TOKENIZER else self.tensors[name]
        if tensor is not None and _runtime.digest(tensor) != self.digests[name]:
            raise ModelError(f"the bytes of tensor {name!r} do not match their digest: the file is damaged")


def in_memory(
    program: Program, tensors: dict[str, Tensor], task: Task, tokenizer: str | None = None
) -> ModelFile:
    """What a file of these would be read as, without provenance and report."""
    text = None if tokenizer is None else _text(tokenizer)
    return ModelFile(
        path="the quantized model",
        program=program,
        tensors=tensors,
        digests=_digests(_with_text(tensors, text)),
        task=task,
        text=text,
        provenance={},
        report={},
        header_digest="",
        file_bytes=0,
    )


def write(
    path: str | os.PathLike[str],
    program: Program | dict[str, Any],
    tensors: Mapping[str, npt.NDArray[Any]],
    task: Task | dict[str, Any],
    tokenizer: str | None,
    provenance: dict[str, Any],
    report: dict[str, Any],
) -> None:
    """Write a model file: the same arguments give the same bytes, all of them or none.

    `tensors` holds int8, int16 and int32 arrays, each a multiple of 64 bytes, exactly those that
    the program names; they are stored in the given order, and behind them the tokenizer, of which
    spaces at the end are not kept. The file appears under `path` when complete (temporary file in
    the same folder, fsync, rename). A link stays one, to the new file. Raises ModelError when an
    argument is not what `read` would accept or no file can stand under `path`, OSError when writing fails.
    """
    from pathlib import Path  # only writing needs it

    program = program.to_dict() if isinstance(program, Program) else program
    task = task.to_dict() if isinstance(task, Task) else task
    entries: dict[str, Any] = {}
    end = 0
    if _TOKENIZER in tensors:
        raise ModelError(f"no tensor can be called {_TOKENIZER!r}: that name is the tokenizer's")
    stored = _with_text(tensors, None if tokenizer is None else _text(tokenizer))
    for name, tensor in stored.items():
        code = next((code for code, dtype in _dtypes(name).items() if dtype == tensor.dtype), None)
        if code is None:
            raise ModelError(f"tensor {name!r} is {tensor.dtype}; a model file holds int8, int16 and int32")
        begin, end = end, end + tensor.nbytes
        entries[name] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    _check_tensors(entries, end)
    data = [np.ascontiguousarray(tensor).data.cast("B") for tensor in stored.values()]
    digests = _digests(stored)
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "program": strict_json.dumps(program, "the program"),
        "task": strict_json.dumps(task, "the task"),
        "provenance": strict_json.dumps(provenance, "the provenance"),
        "report": strict_json.dumps(report, "the report"),
        "digests": strict_json.dumps(digests, "the digests"),
        "header_digest": _NO_DIGEST.decode(),
    }
    # Tensors stand in data order, so the header is joined here rather than sorted as a whole.
    members = {"__metadata__": metadata, **entries}.items()
    parts = [f'"{name}":{strict_json.dumps(member, "the metadata")}' for name, member in members]
    header = ("{" + ",".join(parts) + "}").encode()
    header += b" " * (-(8 + len(header)) % ALIGNMENT)
    strict_json.loads(header, "the header")
    _check_metadata(metadata, entries)
    digest = _runtime.digest(np.frombuffer(header, np.uint8))
    header = header.replace(_HEADER_DIGEST_KEY + _NO_DIGEST, _HEADER_DIGEST_KEY + digest.encode())
    if len(header) > MAX_HEADER_BYTES:
        raise ModelError(f"the header would be {len(header)} bytes; the limit is {MAX_HEADER_BYTES}")
    _write_atomically(Path(path), [len(header).to_bytes(8, "little"), header, *data])


def read(path: str | os.PathLike[str]) -> ModelFile:
    """Map and check a model file. Raises ModelError, beginning with the path, on any defect.

    The bytes of weight matrices, embedding tables and the tokenizer are not read, so their digests are
    not checked: `ModelFile.check_digest` does that.
    """
    shown = os.fspath(path)
    try:
        return _read(shown)
    except ModelError as error:
        raise ModelError(f"{shown}: {error}") from None


def _read(path: str) -> ModelFile:
    if sys.byteorder != "little":
        raise ModelError("model files are read in place, which needs a little-endian machine")
    mapped = _map(path)
    header, raw, data_start = _read_header(mapped)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ModelError(
            "a safetensors file but no pyqrt model; `pyqrt quantize` makes one from a checkpoint"
        )
    version = metadata.get("version")
    if version == "1":
        raise ModelError("format version '1', from before the first release: quantize the checkpoint again")
    if data_start % ALIGNMENT:
        raise ModelError(f"the data begins at byte {data_start}, not at a multiple of {ALIGNMENT}")
    digest = _check_header_digest(raw)
    if version != VERSION:
        raise ModelError(f"format version {version!r}; this pyqrt reads {VERSION!r}: install a newer one")
    _check_tensors(header, len(mapped) - data_start)
    program, task, provenance, report, digests = _check_metadata(metadata, header)
    tensors: dict[str, Any] = {}
    for name, entry in header.items():
        shape, begin = entry["shape"], data_start + entry["data_offsets"][0]
        flat = np.frombuffer(mapped, _dtypes(name)[entry["dtype"]], math.prod(shape), begin)
        tensors[name] = flat.reshape(shape)
    text = tensors.pop(_TOKENIZER, None)
    file = ModelFile(
        path=path,
        program=program,
        tensors=tensors,
        digests=digests,
        task=task,
        text=text,
        provenance=provenance,
        report=report,
        header_digest=digest,
        file_bytes=len(mapped),
    )
    unchecked = set(file.unchecked)
    for name in tensors:
        if name not in unchecked:
            file.check_digest(name)
    return file


def _dtypes(name: str) -> dict[str, np.dtype[Any]]:
    """What the tensor of that name may be."""
    return _TEXT_DTYPES if name == _TOKENIZER else _DTYPES


def _map(path: str) -> mmap.mmap:
    try:
        # O_NONBLOCK: opening a named pipe must fail below, not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelError(f"cannot be opened: {reason}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise ModelError(f"is {kind}; a model is one file")
        if status.st_size == 0:
            raise ModelError("is empty")
        require_address_space(status.st_size + _READING_BYTES, "reading it")
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ModelError(f"cannot be mapped: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _read_header(mapped: mmap.mmap) -> tuple[dict[str, Any], bytes, int]:
    size = len(mapped)
    length = int.from_bytes(mapped[:8], "little")
    if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
        raise ModelError(
            f"no pyqrt model, or cut short: it has {size} bytes and claims a header of {length} "
            f"(limit {MAX_HEADER_BYTES})"
        )
    raw = mapped[8 : 8 + length]
    if raw[:1] != b"{":
        raise ModelError("no pyqrt model: the header does not begin with '{'")
    return strict_json.loads(raw, "the header"), raw, 8 + length


def _check_header_digest(raw: bytes) -> str:
    begin = raw.find(_HEADER_DIGEST_KEY) + len(_HEADER_DIGEST_KEY)
    end = begin + len(_NO_DIGEST)
    digest = raw[begin:end]
    count = raw.count(_HEADER_DIGEST_KEY)
    if count != 1 or not _DIGEST.fullmatch(digest) or raw[end : end + 1] != b'"':
        raise ModelError(f"the header has {count} entries 'header_digest', not one of 64 hex digits")
    unsigned = raw[:begin] + _NO_DIGEST + raw[end:]
    if _runtime.digest(np.frombuffer(unsigned, np.uint8)) != digest.decode():
        raise ModelError("the header does not match its digest: the file is damaged or was edited")
    return digest.decode()


def _check_tensors(entries: dict[str, Any], data_bytes: int) -> None:
    """Names, types, shapes; the byte ranges in order, without holes, exactly to the end."""
    if not 0 < len(entries) <= MAX_TENSORS:
        raise ModelError(f"{len(entries)} tensors; a model has 1 to {MAX_TENSORS}")
    position = 0
    for name, entry in entries.items():
        where = f"tensor {name[:256]!r}"
        if not _NAME.fullmatch(name):
            raise ModelError(f"{where}: a name is 1 to 256 letters, digits, '.', '_' or '-'")
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ModelError(f"{where} must have exactly dtype, shape and data_offsets")
        code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        dtype = _dtypes(name).get(code) if isinstance(code, str) else None
        if dtype is None:
            allowed = ", ".join(_dtypes(name))
            raise ModelError(f"{where} has dtype {str(code)[:40]!r}; allowed: {allowed}")
        rank = 1 if name == _TOKENIZER else MAX_RANK
        if not _is_int_list(shape) or not 1 <= len(shape) <= rank or min(shape) < 1:
            raise ModelError(f"{where}: the shape must be 1 to {rank} positive integers")
        if not _is_int_list(offsets) or len(offsets) != 2 or offsets[0] != position:
            raise ModelError(f"{where}: data_offsets must begin at {position}, where its predecessor ends")
        size = math.prod(shape) * dtype.itemsize
        position = offsets[1]
        if position - offsets[0] != size:
            raise ModelError(
                f"{where}: its shape takes {size} bytes, its data_offsets {position - offsets[0]}"
            )
        if size % ALIGNMENT:
            raise ModelError(f"{where} has {size} bytes, not a multiple of {ALIGNMENT}")
    if position != data_bytes:
        problem = "cut short" if position > data_bytes else "followed by other bytes"
        raise ModelError(f"{problem}: the tensors take {position} bytes, the file has {data_bytes} for them")


def _is_int_list(value: Any) -> bool:
    return type(value) is list and set(map(type, value)) <= {int}


def _check_metadata(
    metadata: dict[str, Any], entries: dict[str, Any]
) -> tuple[Program, Task, dict[str, Any], dict[str, Any], dict[str, str]]:
    for key, value in metadata.items():
        if key not in _REQUIRED:
            raise ModelError(f"the metadata has the unknown key {key[:60]!r}")
        if type(value) is not str:
            raise ModelError(f"the metadata {key!r} is not a string")
    for key in _REQUIRED:
        if key not in metadata:
            raise ModelError(f"the metadata lacks {key!r}")
    raw_program = strict_json.loads(metadata["program"], "the program")
    if isinstance(raw_program, dict) and raw_program.get("version") != PROGRAM_VERSION:
        raise ModelError(
            f"program version {raw_program.get('version')!r}; this pyqrt runs {PROGRAM_VERSION}: "
            "install a newer one"
        )
    program = decode(Program, raw_program, "program")
    named = {name for node in program.nodes for name in node.tensors.values()}
    for name in sorted(named ^ (set(entries) - {_TOKENIZER})):
        problem = "no node uses" if name in entries else "a node names but the file lacks"
        raise ModelError(f"there is a tensor that {problem}: {name!r}")
    for output in program.outputs:
        if not (math.isfinite(output.scale) and output.scale > 0):
            raise ModelError(f"output {output.name!r} has scale {output.scale}; it must be positive")
    task = decode(Task, strict_json.loads(metadata["task"], "the task"), "task")
    check_task(task, program)
    provenance, report, digests = (
        _object(metadata[key], f"the {key}") for key in ("provenance", "report", "digests")
    )
    if set(digests) != set(entries) or not all(type(digest) is str for digest in digests.values()):
        raise ModelError("the digests must name exactly the tensors of the file")
    return program, task, provenance, report, digests


def _object(text: str, what: str) -> dict[str, Any]:
    value = strict_json.loads(text, what)
    if type(value) is not dict:
        raise ModelError(f"{what} is not a JSON object")
    return value


def _text(tokenizer: str) -> npt.NDArray[np.uint8]:
    """The bytes of the tokenizer as they stand in the file: filled up with spaces."""
    try:
        raw = tokenizer.encode()
    except (AttributeError, UnicodeError) as error:
        raise ModelError(f"the tokenizer cannot be written: {error}") from None
    blocks = max(1, -(-len(raw) // ALIGNMENT))
    return np.frombuffer(raw.ljust(blocks * ALIGNMENT), np.uint8)


def _with_text(tensors: Mapping[str, Tensor], text: npt.NDArray[np.uint8] | None) -> dict[str, Any]:
    return dict(tensors) if text is None else {**tensors, _TOKENIZER: text}


def _digests(tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, str]:
    return {name: _runtime.digest(np.ascontiguousarray(t)) for name, t in tensors.items()}


def _write_atomically(path: Path, parts: list[bytes | memoryview]) -> None:
    from pyqrt.outputs import check_replaceable  # only writing needs it

    path = path.resolve()  # a link stays one
    check_replaceable(path)
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        with temporary.open("xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
