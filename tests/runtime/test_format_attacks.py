"""Hostile and damaged files: whatever the bytes, the answer is a ModelError that names the file."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import small_model
from hypothesis import given, settings
from hypothesis import strategies as st

from pyqrt.errors import ModelError
from pyqrt.runtime import format as model_format
from pyqrt.runtime import load, strict_json

Header = dict[str, Any]


def refused(path: Path, message: str | None = None) -> None:
    """`read` alone refuses the file, so no weight is ever looked at."""
    with pytest.raises(ModelError, match=message) as caught:
        model_format.read(path)
    assert str(caught.value).startswith(f"{path}: ")


def refused_before_a_result(path: Path, message: str) -> None:
    """`load` takes the file; every way to a result then raises, each time; `verify=False` has none."""
    model = load(path, threads=1)
    for _ in range(2):
        for use in (model.verify, lambda: model.run([[1, 2]]), lambda: model.run([], output="stream")):
            with pytest.raises(ModelError, match=message) as caught:
                use()
            assert str(caught.value).startswith(f"{path}: ")
    unverified = load(path, threads=1, verify=False)
    assert unverified.run([[1, 2]]).values.shape[0] == 1
    with pytest.raises(ModelError, match=message):
        unverified.verify()


# Files that are something else.


def test_missing(tmp_path: Path) -> None:
    refused(tmp_path / "none.qrt", "cannot be opened: No such file")
    refused(Path("a\0b"), "cannot be opened")


def test_not_a_regular_file(tmp_path: Path) -> None:
    refused(tmp_path, "a directory")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "no regular file")
    refused(Path("/dev/zero"), "no regular file")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\0" * 7,
        b"\0" * 8,
        b"\0" * 4096,
        b"\xff" * 4096,
        b"GGUF" + b"\0" * 999,
        b"PK\x03\x04" + b"x" * 999,
        b"\x80\x04\x95" + b"." * 999,
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"null",
        struct.pack("<Q", 3) + b"{} ",
        struct.pack("<Q", 99_999_999) + b"{}",
        struct.pack("<Q", 100_000_001) + b"{" * 99,
        struct.pack("<Q", 1 << 63) + b"{}",
        struct.pack("<Q", (1 << 64) - 1) + b"{}",
    ],
)
def test_other_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.qrt"
    path.write_bytes(content)
    refused(path)


def test_foreign_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for metadata in (None, {"format": "pt"}):
        safetensors.numpy.save_file({"w": np.zeros((4, 4), np.float32)}, path, metadata)
        refused(path, "a safetensors file but no pyqrt model")


# Damage.


def test_cut_anywhere(sound: Path, tmp_path: Path) -> None:
    raw = sound.read_bytes()
    header, data = small_model.parts(sound)
    start = len(raw) - len(data)
    del header["__metadata__"]
    edges = {0, 1, 7, 8, 9, start - 1, start, start + 1, len(raw) - 1}
    edges |= {start + entry["data_offsets"][1] for entry in header.values()} - {len(raw)}
    edges |= {random.Random(5).randrange(len(raw)) for _ in range(50)}
    path = tmp_path / "m.qrt"
    for edge in edges:
        path.write_bytes(raw[:edge])
        refused(path)


def test_bytes_behind_the_end(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.qrt"
    path.write_bytes(sound.read_bytes() + b"\0" * 64)
    refused(path, "followed by other bytes")


def test_every_bit_flip_is_noticed(sound: Path, tmp_path: Path) -> None:
    raw = sound.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    choose = random.Random(7)
    bits = [*range(64), *(8 * choose.randrange(8, start) + choose.randrange(8) for _ in range(200))]
    bits += [8 * choose.randrange(start, len(raw)) + choose.randrange(8) for _ in range(100)]
    bits += [8 * (start - 1), 8 * start, 8 * len(raw) - 1]
    header, _ = small_model.parts(sound)
    del header["__metadata__"]
    later = [entry["data_offsets"] for entry in header.values() if entry["dtype"] in ("I8", "U8")]
    path = tmp_path / "m.qrt"
    for bit in bits:
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        if any(begin <= bit // 8 - start < end for begin, end in later):
            refused_before_a_result(path, "do not match their digest: the file is damaged")
        else:
            refused(path)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_random_edits_never_escape(data: st.DataObject, sound: Path, tmp_path_factory: Any) -> None:
    """Signed edits of the header: either the file still reads, or ModelError; nothing else."""
    raw = sound.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = bytearray(raw[8:start])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(header) - 1))
        header[place : place + data.draw(st.integers(0, 3))] = data.draw(
            st.one_of(
                st.binary(max_size=3), st.sampled_from([b'"', b"{", b"]", b"-", b"9" * 30, b"\\ud800", b","])
            )
        )
    path = tmp_path_factory.mktemp("edits") / "m.qrt"
    small_model.join(path, bytes(header).rstrip(b" "), raw[start:])
    try:
        load(path, threads=1)
    except ModelError as error:
        message = str(error)
    else:
        message = str(path)
    assert message.startswith(str(path))


# Lies, honestly signed. Each takes the header (its JSON texts parsed) and may change it. What it names as
# `objects` in the metadata stays parsed.


def attack(sound: Path, path: Path, change: Callable[[Header, Header], Any]) -> Path:
    header, data = small_model.parts(sound)
    metadata = header["__metadata__"]
    texts = ("program", "task", "provenance", "report", "digests")
    for key in texts:
        metadata[key] = json.loads(metadata[key])
    change(header, metadata)
    for key in set(texts) - set(metadata.pop("objects", ())):
        if key in metadata and type(metadata[key]) is not str:
            metadata[key] = json.dumps(metadata[key])
    return small_model.join(path, header, data)


def entry(header: Header, number: int = 0) -> Any:
    return list(header.values())[number + 1]


def swap_first_two(header: Header) -> None:
    first, second = entry(header), entry(header, 1)
    first["data_offsets"], second["data_offsets"] = second["data_offsets"], first["data_offsets"]


def shift_second(by: int) -> Callable[[Header, Header], None]:
    def change(header: Header, metadata: Header) -> None:
        entry(header, 1)["data_offsets"] = [end + by for end in entry(header, 1)["data_offsets"]]

    return change


def set_entry(**values: Any) -> Callable[[Header, Header], None]:
    return lambda header, metadata: entry(header).update(values)


def set_metadata(**values: Any) -> Callable[[Header, Header], None]:
    return lambda header, metadata: metadata.update(values)


def in_program(change: Callable[[Any], Any]) -> Callable[[Header, Header], None]:
    return lambda header, metadata: change(metadata["program"])


def node(number: int, **values: Any) -> Callable[[Header, Header], None]:
    return in_program(lambda program: program["nodes"][number].update(values))


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


FORMAT_ATTACKS: dict[str, tuple[Callable[[Header, Header], Any], str]] = {
    "future format": (set_metadata(version="3"), "format version '3'.*newer"),
    "format of before": (set_metadata(version="1"), "format version '1'.*quantize the checkpoint again"),
    "future program": (in_program(lambda p: p.update(version=2)), "program version 2.*newer"),
    "other format": (set_metadata(format="pt"), "no pyqrt model"),
    "no metadata": (lambda h, m: h.pop("__metadata__"), "no pyqrt model"),
    "metadata no object": (lambda h, m: h.update(__metadata__="x"), "no pyqrt model"),
    "lacking report": (lambda h, m: m.pop("report"), "lacks 'report'"),
    "lacking digest": (lambda h, m: m.pop("header_digest"), "0 entries 'header_digest'"),
    "unknown metadata": (set_metadata(extra="x"), "unknown key 'extra'"),
    "metadata of numbers": (set_metadata(version=2), "format version 2;"),
    "metadata of objects": (set_metadata(objects=["report"]), "'report' is not a string"),
    "tokenizer in the metadata": (set_metadata(tokenizer="{}"), "unknown key 'tokenizer'"),
    "tokenizer of words": (lambda h, m: h["tokenizer"].update(dtype="I8"), "allowed: U8"),
    "tokenizer of rows": (
        lambda h, m: h["tokenizer"].update(shape=[1, *h["tokenizer"]["shape"]]),
        "1 to 1 positive integers",
    ),
    "tokenizer as weights": (
        in_program(lambda p: p["nodes"][2]["tensors"].update(weight="tokenizer")),
        "there is a tensor",
    ),
    "no tensors": (lambda h, m: [h.pop(name) for name in list(h)[1:]], "0 tensors"),
    "swapped offsets": (lambda h, m: swap_first_two(h), "must begin at 0"),
    "overlap": (shift_second(-64), "must begin at"),
    "hole": (shift_second(64), "must begin at"),
    "negative offsets": (set_entry(data_offsets=[-64, 0]), "must begin at 0"),
    "reversed offsets": (set_entry(data_offsets=[0, -448]), "its shape takes"),
    "three offsets": (set_entry(data_offsets=[0, 64, 128]), "data_offsets"),
    "offsets no list": (set_entry(data_offsets="0"), "data_offsets"),
    "offsets of floats": (set_entry(data_offsets=[0.0, 512.0]), "data_offsets"),
    "offsets of bools": (set_entry(data_offsets=[False, 512]), "data_offsets"),
    "huge offset": (set_entry(data_offsets=[0, 1 << 62]), "its shape takes"),
    "offset beyond 64 bits": (set_entry(data_offsets=[0, 1 << 64]), "does not fit 64 bits"),
    "huge shape": (set_entry(shape=[1 << 62, 1 << 62]), "its shape takes"),
    "shape that wraps": (set_entry(shape=[1 << 32, 1 << 32, 512]), "its shape takes"),
    "negative shape": (set_entry(shape=[-16, -32]), "positive integers"),
    "zero shape": (set_entry(shape=[0, 32]), "positive integers"),
    "no shape": (set_entry(shape=[]), "positive integers"),
    "deep shape": (set_entry(shape=[1] * 9), "positive integers"),
    "shape of strings": (set_entry(shape=["16"]), "positive integers"),
    "wrong shape": (set_entry(shape=[17, 32]), "its shape takes"),
    "float tensor": (set_entry(dtype="F32"), "dtype 'F32'"),
    "unsigned tensor": (set_entry(dtype="U8"), "dtype 'U8'"),
    "dtype no string": (set_entry(dtype=["I8"]), "dtype"),
    "extra key": (set_entry(extra=1), "exactly dtype, shape"),
    "lacking key": (lambda h, m: entry(h).pop("dtype"), "exactly dtype, shape"),
    "entry no object": (lambda h, m: h.update({list(h)[1]: 3}), "exactly dtype, shape"),
    "name": (lambda h, m: h.update({"../../x\n": h.pop(list(h)[-1])}), "letters, digits"),
    "long name": (lambda h, m: h.update({"x" * 257: h.pop(list(h)[-1])}), "letters, digits"),
    "wrong digest": (
        lambda h, m: m["digests"].update({"linear_2.bias": "0" * 64}),
        "'linear_2.bias' do not match their digest",
    ),
    "lacking tensor digest": (lambda h, m: m["digests"].pop(list(h)[1]), "exactly the tensors"),
    "digest no string": (lambda h, m: m["digests"].update({list(h)[1]: 0}), "exactly the tensors"),
    "unused tensor": (in_program(lambda p: p["nodes"][2]["tensors"].pop("bias")), "no node uses"),
    "absent tensor": (
        in_program(lambda p: p["nodes"][2]["tensors"].update(bias="nope")),
        "there is a tensor",
    ),
    "program no object": (set_metadata(program=[]), "program is .*not an object"),
    "program no JSON": (set_metadata(program="{'a'}"), "the program is not valid JSON"),
    "unknown program key": (in_program(lambda p: p.update(code="x")), "unknown key 'code'"),
    "lacking program key": (in_program(lambda p: p.pop("limits")), "lacks the key 'limits'"),
    "buffer of floats": (in_program(lambda p: p["buffers"][0].update(width=32.0)), r"buffers\[0\].width"),
    "buffer of bools": (in_program(lambda p: p["buffers"][0].update(width=True)), r"buffers\[0\].width"),
    "buffer type": (in_program(lambda p: p["buffers"][0].update(dtype="f32")), r"buffers\[0\].dtype"),
    "inputs no list": (node(2, inputs={"0": 1}), r"nodes\[2\].inputs"),
    "input no number": (node(2, inputs=["1"]), r"nodes\[2\].inputs\[0\]"),
    "attribute list": (node(2, attributes={"epilogue": []}), r"nodes\[2\].attributes.epilogue"),
    "attribute null": (node(2, attributes={"pre_shift": None}), r"nodes\[2\].attributes.pre_shift"),
    "steering name": (node(2, name="\x1b[2J"), r"nodes\[2\].name"),
    "long node name": (node(2, name="x" * 9999), r"nodes\[2\].name"),
    "scale zero": (in_program(lambda p: p["outputs"][0].update(scale=0)), "scale"),
    "scale negative": (in_program(lambda p: p["outputs"][0].update(scale=-1.0)), "scale"),
    "task kind": (lambda h, m: m["task"].update(kind="poem"), "task.kind"),
    "task output": (lambda h, m: m["task"].update(output="x"), "not one of"),
    "half surrogate": (lambda h, m: m["task"].update(output="\ud800"), "surrogate"),
    "output buffer": (in_program(lambda p: p["outputs"][0].update(buffer=99)), "buffer 99"),
    "NaN": (set_metadata(report='{"x":NaN}'), "NaN is not JSON"),
    "infinity": (set_metadata(report='{"x":-Infinity}'), "-Infinity is not JSON"),
    "huge number": (set_metadata(report='{"x":1e999}'), "does not fit a double"),
    "long integer": (set_metadata(report='{"x":' + "9" * 5000 + "}"), "does not fit 64 bits"),
    "duplicate key": (set_metadata(report='{"x":1,"x":2}'), "'x' occurs twice"),
    "deep report": (set_metadata(report='{"x":' + nested(33) + "}"), "nested more than 32"),
    "very deep report": (set_metadata(report=nested(1_000_000)), "nested more than 32"),
    "unbalanced": (set_metadata(report='{"x":"'), "not valid JSON"),
    "two documents": (set_metadata(report="{}{}"), "not valid JSON"),
    "report no object": (set_metadata(report="3"), "not a JSON object"),
}


@pytest.mark.parametrize("name", FORMAT_ATTACKS)
def test_lies_in_the_format(name: str, sound: Path, tmp_path: Path) -> None:
    change, message = FORMAT_ATTACKS[name]
    path = attack(sound, tmp_path / "m.qrt", change)
    refused(path, message)


def test_the_attacks_attack(sound: Path, tmp_path: Path) -> None:
    """The same way of writing, with nothing changed, gives a file that loads."""
    load(attack(sound, tmp_path / "m.qrt", lambda header, metadata: None), threads=1)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b'{"__metadata__":{"format":"qrt"},"__metadata__":{}}', "occurs twice"),
        (b'{"__metadata__":{"format":"qrt","format":"qrt"}}', "occurs twice"),
        (b'{"__metadata__":{"format":"qrt","version":"2"}}', "0 entries 'header_digest'"),
        (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested more than"),
        (b'{"a":"\xff\xfe"}', "not valid UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "not valid UTF-8"),
        (b'\xef\xbb\xbf{"a":1}', "does not begin with"),
        (b"{" + b'"":0,' * 1_500_000 + b"}", "has more than"),
        (b'{"a":[' + b"0," * 3_000_000 + b"0]}", "bytes outside strings"),
        (b'{"a":1', "not valid JSON"),
        (b'{"__metadata__":{"report":"' + b'\\"' * 1_500_000, "not valid JSON"),
        (b'{"__metadata__":{"report":"\n"}}', "not valid JSON"),
        (b'{"__metadata__":{"report":"\\x"}}', "not valid JSON"),
        (b'{"__metadata__":{"report":"\\ud800"}}', "surrogate"),
        (b"{\\", "not valid JSON"),
    ],
)
def test_hostile_headers(tmp_path: Path, header: bytes, message: str) -> None:
    refused(small_model.join(tmp_path / "m.qrt", header, b""), message)


def test_tensors_between_cache_lines(sound: Path, tmp_path: Path) -> None:
    """Honestly signed, and of the right size; but int32 values could begin at any byte."""
    raw = sound.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    for spaces in (1, 4, 32):
        header = small_model.signed(raw[8:start] + b" " * spaces)
        path = tmp_path / "m.qrt"
        path.write_bytes(len(header).to_bytes(8, "little") + header + raw[start:])
        refused(path, f"the data begins at byte {start + spaces}, not at a multiple of 64")


def test_unsigned_edit_is_noticed(sound: Path, tmp_path: Path) -> None:
    header, data = small_model.parts(sound)
    header["__metadata__"]["provenance"] = '{"source":"trusted"}'
    path = small_model.join(tmp_path / "m.qrt", header, data, sign=False)
    refused(path, "does not match its digest")


# What only the plan can see: passes the format, must not pass `load`.

PLAN_ATTACKS: dict[str, tuple[Callable[[Header, Header], Any], str]] = {
    "unknown op": (node(2, op="exec"), "unknown operation 'exec'"),
    "undefined buffer": (node(2, inputs=[99]), "names buffer 99"),
    "negative buffer": (node(2, inputs=[-1]), "names buffer -1"),
    "cycle": (node(1, inputs=[7]), "before it is written"),
    "reads itself": (node(2, inputs=[3]), "before it is written"),
    "written twice": (node(2, outputs=[0]), "a second time"),
    "no inputs": (node(2, inputs=[]), "inputs"),
    "limits": (in_program(lambda p: p["limits"].update(vocab_size=1 << 40)), "vocab_size"),
    "negative limits": (in_program(lambda p: p["limits"].update(max_length=-1)), "max_length"),
    "longer than positions": (in_program(lambda p: p["limits"].update(max_length=500)), "position"),
    "larger vocabulary": (in_program(lambda p: p["limits"].update(vocab_size=17)), "word"),
    "wide buffer": (in_program(lambda p: p["buffers"][0].update(width=1 << 40)), "width of buffer 0"),
    "other width": (in_program(lambda p: p["nodes"][2]["attributes"].update(out_features=97)), "out"),
    "more inputs": (
        in_program(lambda p: p["nodes"][2]["attributes"].update(in_features=1 << 20)),
        "in_features",
    ),
    "zero point": (in_program(lambda p: p["nodes"][2]["attributes"].update(zero_point=128)), "zero_point"),
    "text attribute": (
        in_program(lambda p: p["nodes"][2]["attributes"].update(zero_point="1")),
        "zero_point",
    ),
    "unknown attribute": (
        in_program(lambda p: p["nodes"][2]["attributes"].update(scale=1)),
        "unknown attribute 'scale'",
    ),
    "wider epilogue": (
        in_program(lambda p: p["nodes"][6]["attributes"].update(epilogue="gelu_s16")),
        "the output must be s16 tokens x 64",
    ),
    "attribute of another epilogue": (
        in_program(lambda p: p["nodes"][2]["attributes"].update(gelu_shift=16)),
        "unknown attribute 'gelu_shift'",
    ),
    "unknown role": (
        in_program(lambda p: p["nodes"][2]["tensors"].update(offset="linear_2.bias")),
        "unknown tensor 'offset'",
    ),
    "heads": (in_program(lambda p: p["nodes"][3]["attributes"].update(num_heads=3)), "input"),
    "other tensor": (
        in_program(lambda p: p["nodes"][2]["tensors"].update(bias="linear_2.weight")),
        "bias|no node",
    ),
}


@pytest.mark.parametrize("name", PLAN_ATTACKS)
def test_lies_in_the_program(name: str, sound: Path, tmp_path: Path) -> None:
    change, message = PLAN_ATTACKS[name]
    path = attack(sound, tmp_path / "m.qrt", change)
    for verify in (True, False):
        with pytest.raises(ModelError, match=message) as caught:
            load(path, threads=1, verify=verify)
        assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("tensor", "value", "message", "of_weights"),
    [
        ("linear_2.weight", -128, "weights of channel 0", True),
        ("linear_2.weight_sum", 1, "weight_sum", True),
        ("embedding_0.word", -128, "table 0 holds -128", True),
        ("linear_2.shift", 63, "shift", False),
        ("linear_2.multiplier", 1, "multiplier", False),
        ("linear_2.bias", (1 << 31) - 1, "bits", False),
        ("attention_3.output_multiplier", 1 << 14, "output_multiplier", False),
        ("layernorm_1.gain8", -32768, "gain8", False),
    ],
)
def test_lies_in_the_tensors(tensor: str, value: int, message: str, of_weights: bool, tmp_path: Path) -> None:
    """Honest digests over constants that would overflow or wrap."""
    program, tensors = small_model.build(small_model.EMBEDDING)
    tensors[tensor] = tensors[tensor].copy()
    tensors[tensor].reshape(-1)[0] = value
    path = tmp_path / "m.qrt"
    model_format.write(path, program, tensors, small_model.EMBEDDING, None, {}, {})
    if of_weights:
        refused_before_a_result(path, message)
    else:
        for verify in (True, False):
            with pytest.raises(ModelError, match=message):
                load(path, threads=1, verify=verify)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_strict_json_takes_no_more_than_json(raw: bytes) -> None:
    try:
        value = strict_json.loads(raw, "it")
    except ModelError:
        return
    assert json.loads(raw) == value
    assert strict_json.loads(strict_json.dumps(value, "it"), "it") == value
