"""Writing and reading of sound model files."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import small_model
from hypothesis import given
from hypothesis import strategies as st

from pyqrt import _runtime
from pyqrt.errors import ModelError
from pyqrt.runtime import format as model_format
from pyqrt.runtime.tasks import Task


def write(path: Path, **changes: Any) -> None:
    program, tensors = small_model.build(small_model.EMBEDDING)
    arguments: dict[str, Any] = {
        "program": program,
        "tensors": tensors,
        "task": small_model.EMBEDDING,
        "tokenizer": small_model.tokenizer_json(),
        "provenance": {"name": "ä"},
        "report": {"cosine": 0.999},
    } | changes
    model_format.write(path, **arguments)


def test_what_is_written_is_read(sound: Path) -> None:
    program, tensors = small_model.build(small_model.EMBEDDING)
    file = model_format.read(sound)
    assert file.program == program
    assert file.task == small_model.EMBEDDING
    assert file.tokenizer == small_model.tokenizer_json()
    assert (file.provenance, file.report) == ({"source": "random"}, {"note": 0.5})
    assert list(file.tensors) == list(tensors)
    for name, tensor in tensors.items():
        file.check_digest(name)
        assert file.tensors[name].dtype == tensor.dtype
        np.testing.assert_array_equal(file.tensors[name], tensor)
        assert not file.tensors[name].flags.writeable
        assert file.tensors[name].ctypes.data % 64 == 0
    weights = {name for name, tensor in tensors.items() if tensor.dtype == np.int8}
    assert set(file.unchecked) == weights | {"tokenizer"}
    sizes = [len(file.tokenizer) if n == "tokenizer" else tensors[n].nbytes for n in file.unchecked]
    assert sizes == sorted(sizes, reverse=True)
    assert file.file_bytes == sound.stat().st_size


def test_tensors_are_the_mapped_file_not_copies(sound: Path) -> None:
    views = model_format.read(sound).tensors.values()
    addresses = [view.ctypes.data for view in views]
    sizes = [view.nbytes for view in views]
    assert addresses == [addresses[0] + sum(sizes[:i]) for i in range(len(sizes))]
    start = 8 + int.from_bytes(sound.read_bytes()[:8], "little")
    assert addresses[0] % os.sysconf("SC_PAGESIZE") == start % 4096


def test_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a", report={"x": 1, "y": [0.1, None, True]})
    write(tmp_path / "b", report={"y": [0.1, None, True], "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_safetensors_opens_it(sound: Path) -> None:
    _, tensors = small_model.build(small_model.EMBEDDING)
    loaded = safetensors.numpy.load_file(sound)
    assert loaded.pop("tokenizer").tobytes().decode().strip() == small_model.tokenizer_json()
    assert set(loaded) == set(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(loaded[name], tensor)
    with safetensors.safe_open(sound, "numpy") as file:
        assert file.metadata()["format"] == "qrt"


def test_digests_are_what_the_specification_says(sound: Path) -> None:
    raw = sound.read_bytes()
    header, data = small_model.parts(sound)
    metadata = header.pop("__metadata__")
    begin, end = header["embedding_0.word"]["data_offsets"]
    digests = json.loads(metadata["digests"])
    assert digests["embedding_0.word"] == small_model.digest(data[begin:end])
    text = raw[8 : len(raw) - len(data)]
    assert (8 + len(text)) % 64 == 0
    zeroed = text.replace(metadata["header_digest"].encode(), b"0" * 64)
    assert metadata["header_digest"] == small_model.digest(zeroed)
    assert model_format.read(sound).header_digest == metadata["header_digest"]


words_of_extremes = st.sampled_from([0, 1, 2**31, 2**32 - 1]) | st.integers(0, 2**32 - 1)


@given(words=st.lists(words_of_extremes, max_size=70))
def test_the_checksum_of_any_words(words: list[int]) -> None:
    data = np.array(words, "<u4")
    assert _runtime.digest(data) == small_model.digest(data.tobytes())


def test_the_checksum_wraps() -> None:
    """A hundred thousand of the largest words: three of the sums exceed 64 bits more than once."""
    data = np.full(400_000, 255, np.uint8)
    expected = [(2**32 - 1) * math.comb(100_000 + k, k + 1) % 2**64 for k in range(4)]
    assert _runtime.digest(data) == "".join(f"{value:016x}" for value in expected)


def test_the_checksum_tells_pages_apart() -> None:
    """Blocks of zeros, blocks exchanged, blocks repeated: what disks and copies do to files."""
    data = np.random.default_rng(3).integers(-127, 128, 1 << 16).astype(np.int8).view(np.uint8)
    pages = data.reshape(-1, 4096)
    seen = {_runtime.digest(data)}
    for i in range(len(pages)):
        for other in (np.zeros_like(pages[0]), pages[(i + 1) % len(pages)]):
            changed = pages.copy()
            changed[i] = other
            seen.add(_runtime.digest(changed))
        for j in range(i):
            changed = pages.copy()
            changed[[i, j]] = pages[[j, i]]
            seen.add(_runtime.digest(changed))
    assert len(seen) == 1 + 2 * 16 + 16 * 15 // 2


def test_what_has_no_checksum() -> None:
    assert _runtime.digest(np.zeros((0, 3), np.int16)) == "0" * 64
    with pytest.raises(ModelError, match="multiple of 4"):
        _runtime.digest(np.zeros(6, np.uint8))
    with pytest.raises(ModelError, match="contiguous"):
        _runtime.digest(np.zeros((8, 8), np.int8)[:, ::2])


def test_no_tokenizer(tmp_path: Path) -> None:
    write(tmp_path / "m", tokenizer=None)
    assert model_format.read(tmp_path / "m").tokenizer is None


def test_a_tokenizer_may_hold_anything(tmp_path: Path) -> None:
    text = 'a "header_digest":"' + "0" * 64 + '" \\" \\\\ \u0000 \U0001f600 {[' * 99
    write(tmp_path / "m", tokenizer=text)
    assert model_format.read(tmp_path / "m").tokenizer == text


def test_replacing_is_atomic_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "m.qrt"
    write(path)
    before = path.read_bytes()
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write(path, report={"other": 1})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_mapped_model_survives_replacement(tmp_path: Path) -> None:
    path = tmp_path / "m.qrt"
    small_model.save(path, seed=1)
    old = model_format.read(path)
    copy = {name: tensor.copy() for name, tensor in old.tensors.items()}
    small_model.save(path, seed=2)
    for name, tensor in copy.items():
        np.testing.assert_array_equal(old.tensors[name], tensor)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tensors": {}, "tokenizer": None}, "0 tensors"),
        ({"tensors": {"x": np.zeros(64, np.float32)}}, "float32"),
        ({"tensors": {"x": np.zeros(64, ">i4")}}, "int32"),
        ({"tensors": {"x": np.zeros(63, np.int8)}}, "multiple of 64"),
        ({"tensors": {"x": np.zeros((0, 64), np.int8)}}, "positive integers"),
        ({"tensors": {"x": np.zeros((), np.int8)}}, "positive integers"),
        ({"tensors": {"a/b": np.zeros(64, np.int8)}}, "letters, digits"),
        ({"tensors": {"x": np.zeros(64, np.int8)}}, "no node uses|the file lacks"),
        ({"report": {"x": float("nan")}}, "the report cannot be written"),
        ({"report": {"x": object()}}, "the report cannot be written"),
        ({"report": []}, "not a JSON object"),
        ({"provenance": {"x": "\ud800"}}, "the provenance cannot be written"),
        ({"tokenizer": b"{}"}, "cannot be written"),
        ({"tokenizer": "\ud800"}, "cannot be written"),
        ({"tensors": {"tokenizer": np.zeros(64, np.int8)}}, "that name is the tokenizer's"),
        ({"task": {"kind": "translation", "output": "x"}}, "task.kind"),
        ({"task": Task("embedding", "other")}, "not one of the program's"),
        ({"task": Task("embedding", "embedding", ("a",))}, "needs no labels"),
        ({"task": Task("sequence_classification", "embedding", ("a", "b"))}, "32 different labels"),
        ({"task": Task("question_answering", "embedding")}, "one row per sequence"),
        ({"task": Task("question_answering", "stream")}, "2 columns"),
        ({"program": {}}, "version"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path: Path, changes: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        write(tmp_path / "m", **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    plain = tmp_path / "plain.qrt"
    write(plain)
    (tmp_path / "there.qrt").touch()
    for name in ("there.qrt", "not-yet.qrt"):
        link = tmp_path / f"link-to-{name}"
        link.symlink_to(name)
        write(link)
        assert link.is_symlink()
        assert (tmp_path / name).read_bytes() == plain.read_bytes()


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, kind in ((pipe, "device or a pipe"), (tmp_path, "directory"), (Path(), "directory")):
        with pytest.raises(ModelError, match=f"is a {kind}; name a file"):
            write(path)
    assert pipe.is_fifo()


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no directory .*nowhere; make it first"):
        write(tmp_path / "nowhere" / "m.qrt")


def test_headers_that_others_write(sound: Path, tmp_path: Path) -> None:
    """Blanks between the tokens of JSON, escapes, any order of keys: the same model."""
    header, data = small_model.parts(sound)
    expected = model_format.read(sound)
    header["__metadata__"] = dict(reversed(header["__metadata__"].items()))
    for ascii_only in (True, False):
        for separators in ((",", ":"), (" , ", " : ")):
            raw = json.dumps(header, ensure_ascii=ascii_only, separators=separators).replace(
                '"header_digest" : "', '"header_digest":"'
            )
            file = model_format.read(small_model.join(tmp_path / "m.qrt", raw.encode(), data))
            assert (file.program, file.task) == (expected.program, expected.task)
            assert file.tokenizer == expected.tokenizer
