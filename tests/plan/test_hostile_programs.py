"""A program is not believed: every broken part is an error that names it, before anything runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pyqrt import _runtime
from pyqrt.errors import ModelError
from tiny_encoders import tiny_program

Change = Callable[[dict[str, Any], dict[str, np.ndarray]], None]


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy that starts on 64 bytes, as in a file."""
    memory = np.zeros(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    view = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def refused(change: Change, message: str) -> None:
    program, tensors = tiny_program(0)
    data, own = json.loads(json.dumps(program.to_dict())), dict(tensors)
    change(data, own)
    with pytest.raises(ModelError, match=message):
        _runtime.Model(data, own)


def node(data: dict[str, Any], op: str) -> dict[str, Any]:
    return next(n for n in data["nodes"] if n["op"] == op)


def linear_with(data: dict[str, Any], epilogue: str) -> dict[str, Any]:
    return next(n for n in data["nodes"] if n["attributes"].get("epilogue") == epilogue)


def set_attribute(op: str, key: str, value: Any) -> Change:
    return lambda data, _: node(data, op)["attributes"].__setitem__(key, value)


def see_blocks(attributes: dict[str, int], bias: int = 0, heads: int = 16) -> Change:
    def change(data: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        attention = node(data, "attention")
        attention["attributes"] |= {"block": 4, "block_beyond": 0} | attributes
        attention["tensors"]["block_bias"] = "block_bias"
        tensors["block_bias"] = aligned(np.full(heads, bias, np.int32))

    return change


def set_limit(key: str, value: Any) -> Change:
    return lambda data, _: data["limits"].__setitem__(key, value)


def become_neighbours(reach: int) -> Change:
    return lambda data, _: node(data, "pool").update(op="neighbours", attributes={"reach": reach})


def become_match(shift: int, inputs: int = 2) -> Change:
    def change(data: dict[str, Any], _: dict[str, np.ndarray]) -> None:
        """The norm's last rows, pooled, held against them."""
        pool = node(data, "pool")
        place = data["nodes"].index(pool) + 1
        data["buffers"].append({"dtype": "s32", "rows": "tokens", "width": 1})
        named = ([*pool["inputs"], *pool["outputs"]] * inputs)[:inputs]
        match = {"op": "match", "name": "match", "inputs": named, "outputs": [len(data["buffers"]) - 1]}
        data["nodes"].insert(place, match | {"attributes": {"shift": shift}, "tensors": {}})

    return change


def read_thrice(op: str) -> Change:
    return lambda data, _: node(data, op).update(inputs=3 * node(data, op)["inputs"])


def set_element(op: str, role: str, index: int, value: int) -> Change:
    def change(data: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        name = node(data, op)["tensors"][role]
        tensors[name] = aligned(tensors[name])
        tensors[name].reshape(-1)[index] = value

    return change


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("vocab_size", 0, "vocab_size is 0"),
        ("vocab_size", 10**6, "tensor 'word' must be at least"),
        ("max_length", -1, "max_length is -1"),
        ("max_length", 65537, "max_length is 65537"),
        ("max_length", 10_000, "tensor 'position' must be at least"),
        ("type_vocab_size", 4000, "tensor 'type' must be at least"),
        ("type_vocab_size", "2", "wrong type for 'type_vocab_size'"),
    ],
)
def test_limits(key: str, value: Any, message: str) -> None:
    refused(set_limit(key, value), message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_attribute("linear", "zero_point", 128), "'zero_point' is 128"),
        (set_attribute("linear", "pre_shift", 1), "'pre_shift' is 1"),
        (set_attribute("linear", "epilogue", "relu"), "unknown epilogue 'relu'"),
        (set_attribute("attention", "polynomial", "cubic"), "unknown polynomial 'cubic'; known: minimax"),
        (set_attribute("attention", "polynomial", 3), "text attribute 'polynomial' is missing"),
        (set_attribute("layernorm", "polynomial", "ibert"), "unknown attribute 'polynomial'"),
        (set_attribute("linear", "in_features", 2**40), "'in_features' is"),
        (set_attribute("linear", "in_features", 36), "the input must be s8 tokens x 36"),
        (set_attribute("linear", "out_features", 80), "the output must be s8 tokens x 80"),
        (set_attribute("attention", "num_heads", 0), "'num_heads' is 0"),
        (set_attribute("attention", "num_heads", 3), "the input must be s8 tokens x"),
        (set_attribute("attention", "head_dim", 2000), "'head_dim' is 2000"),
        (set_attribute("layernorm", "epsilon", -1), "'epsilon' is -1"),
        (set_attribute("layernorm", "shift8", 31), "'shift8' is 31"),
        (set_attribute("embedding", "shift", 0), "'shift' is 0"),
        (set_attribute("embedding", "position_offset", 40), "tensor 'position' must be at least"),
        (set_attribute("pool", "kind", "median"), "unknown kind 'median'"),
        (set_attribute("layernorm", "normalize", 2), "'normalize' is 2"),
        (lambda data, _: node(data, "embedding")["tensors"].clear(), "there is no table"),
        (become_neighbours(0), "'reach' is 0"),
        (become_neighbours(17), "'reach' is 17"),
        (become_neighbours(1), "the output must be"),
        (set_attribute("pool", "kind", "token"), "'token' is missing"),
        (set_attribute("pool", "token", 3), "unknown attribute 'token'"),
        (become_match(0), "'shift' is 0"),
        (become_match(17), "'shift' is 17"),
        (become_match(4), "'shift' is 4, too little for a width of 32"),
        (become_match(5, inputs=1), "it takes pairs of inputs"),
        (become_match(5, inputs=3), "it takes pairs of inputs"),
        (become_match(5, inputs=4), "the output must be s32 tokens x 2"),
        (become_match(5, inputs=18), "it takes pairs of inputs"),
        (read_thrice("attention"), "the global tokens' keys and values must be s8 tokens x 64"),
        (set_attribute("attention", "global_until", 3), "unknown attribute 'global_until'"),
        (see_blocks({"block": -1}), "'block' is -1"),
        (see_blocks({"block": 65537}), "'block' is 65537"),
        (see_blocks({"block": 0}), "unknown attribute 'block_beyond'"),
        (see_blocks({"block_beyond": -1}), "'block_beyond' is -1"),
        (see_blocks({}, bias=2**28), "'block_bias' holds 268435456"),
        (see_blocks({}, heads=1), "'block_bias' needs 4 elements"),
        (see_blocks({"window": 3}), "unknown attribute 'block'"),
        (set_attribute("attention", "block", 4), "'block_beyond' is missing"),
        (set_element("linear", "multiplier", 3, 5), "'multiplier' holds 5 at 3"),
        (set_element("linear", "shift", 0, 63), "'shift' holds 63 at 0"),
        (set_element("linear", "bias", 1, -(2**31)), "'bias' holds -2147483648"),
        (set_element("linear", "bias", 1, 2**31 - 1), "accumulator of channel 1 needs 33 bits"),
        (set_element("attention", "score_multiplier", 0, 0), "'score_multiplier' holds 0"),
        (set_element("attention", "output_multiplier", 0, 2**14), "'output_multiplier' holds 16384"),
        (set_element("attention", "output_exponent", 0, 17), "'output_exponent' holds 17"),
        (set_element("layernorm", "gain8", 2, -32768), "'gain8' holds -32768"),
        (set_element("layernorm", "bias16", 2, 2**30), "'bias16' holds 1073741824"),
        (set_element("embedding", "word_multiplier", 2, -1), "'word_multiplier' holds -1"),
    ],
)
def test_attributes_and_constants(change: Change, message: str) -> None:
    refused(change, message)


@pytest.mark.parametrize("token", [-1, 61, 2**40])
def test_token_of_a_pool(token: int) -> None:
    def change(data: dict[str, Any], _: dict[str, np.ndarray]) -> None:
        node(data, "pool")["attributes"] = {"kind": "token", "token": token}

    refused(change, f"'token' is {token}")


def test_shift_too_small_for_the_accumulator() -> None:
    def change(data: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        names = node(data, "linear")["tensors"]
        for role, value in (("shift", 26), ("bias", 2**24)):
            tensors[names[role]] = aligned(tensors[names[role]])
            tensors[names[role]][0] = value

    refused(change, "accumulator of channel 0 needs")


@pytest.mark.parametrize("number", [-1, 10**6, 2**62])
def test_buffer_numbers(number: int) -> None:
    refused(lambda data, _: node(data, "linear").__setitem__("inputs", [number]), f"names buffer {number}")
    refused(lambda data, _: node(data, "linear").__setitem__("outputs", [number]), f"names buffer {number}")
    refused(lambda data, _: data["outputs"][0].__setitem__("buffer", number), f"names buffer {number}")


def test_order_of_the_program() -> None:
    refused(lambda data, _: data["nodes"].reverse(), "before it is written")
    refused(lambda data, _: data["nodes"].append(data["nodes"][0]), "a second time")
    refused(lambda data, _: data.__setitem__("nodes", []), "number of nodes is 0")
    refused(lambda data, _: data.__setitem__("outputs", []), "number of outputs is 0")


def test_buffers() -> None:
    for width in (0, -1, 2**40):
        refused(lambda data, _, w=width: data["buffers"][0].__setitem__("width", w), "width of buffer 0")
    refused(lambda data, _: data["buffers"][0].__setitem__("dtype", "f32"), "unknown element type 'f32'")
    refused(lambda data, _: data["buffers"][0].__setitem__("rows", "pages"), "unknown kind of rows 'pages'")
    refused(lambda data, _: data["buffers"][0].__setitem__("dtype", "s32"), "must be s16")


def test_inputs_and_outputs_of_a_node() -> None:
    refused(lambda data, _: node(data, "linear").__setitem__("inputs", []), "takes 1 inputs")
    refused(lambda data, _: linear_with(data, "residual_s16")["inputs"].pop(), "takes 2 inputs")
    refused(lambda data, _: node(data, "attention").__setitem__("op", "convolution"), "unknown operation")


def test_tensors() -> None:
    def drop(data: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        del tensors[node(data, "linear")["tensors"]["weight"]]

    def retype(data: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        name = node(data, "linear")["tensors"]["bias"]
        tensors[name] = aligned(tensors[name].astype(np.int16))

    def shorten(data: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        name = node(data, "linear")["tensors"]["bias"]
        tensors[name] = aligned(tensors[name][:16])

    def reshape(data: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        name = node(data, "linear")["tensors"]["weight"]
        tensors[name] = aligned(tensors[name].reshape(-1, 2, 16, 4))

    def misalign(data: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        name = node(data, "linear")["tensors"]["bias"]
        tensors[name] = aligned(np.pad(tensors[name], (1, 0)))[1:]

    refused(drop, "which the file does not hold")
    refused(retype, "must be s32 with 1 dimensions")
    refused(shorten, "needs 96 elements")
    refused(reshape, "tensor 'weight' must be")
    refused(misalign, "does not start on 64 bytes")
    refused(lambda data, _: node(data, "linear")["tensors"].pop("weight"), "tensor 'weight' is missing")
    refused(
        lambda data, t: t.update({k: v.astype(np.float32) for k, v in t.items()}), "element type other than"
    )
    refused(lambda data, t: t.update({k: v[::2] for k, v in t.items() if v.ndim == 1}), "not contiguous")


def test_verify_finds_weights_that_break_the_contract() -> None:
    for op, role, value, message in (
        ("linear", "weight", -128, "leave"),
        ("linear", "weight_sum", 12345, "weight_sum of channel 0"),
        ("embedding", "word", -128, "row 0 of table 0 holds -128"),
    ):
        program, tensors = tiny_program(0)
        own, data = dict(tensors), program.to_dict()
        set_element(op, role, 0, value)(data, own)
        model = _runtime.Model(data, own)
        with pytest.raises(ModelError, match=message):
            model.verify()
    program, tensors = tiny_program(0)
    _runtime.Model(program.to_dict(), tensors).verify()


@pytest.mark.parametrize(
    ("ids", "offsets", "types", "message"),
    [
        ([61], [0, 1], None, "token id 61 at position 0; the vocabulary has ids 0 to 60"),
        ([-1], [0, 1], None, "token id -1"),
        ([1, 1], [0, 1, 2], [0, 2], "sequence 1 holds token type 2"),
        ([1] * 25, [0, 25], None, "sequence 0 has 25 tokens; the model takes at most 24"),
        ([1, 2], [0, 0, 2], None, "sequence 0 has 0 tokens"),
        ([1, 2, 3], [0, 5, 3], None, "sequence 1 has -2 tokens"),
        ([1, 2], [1, 2], None, "offsets must run from 0"),
        ([1, 2], [0, 1], None, "offsets must run from 0"),
        ([1, 2], [0, 2], [0], "types must be one-dimensional"),
        ([1, 2], [], None, "at least one element"),
    ],
)
def test_batches(ids: list[int], offsets: list[int], types: list[int] | None, message: str) -> None:
    program, tensors = tiny_program(0)
    session = _runtime.Session(_runtime.Model(program.to_dict(), tensors), 1)
    with pytest.raises(ModelError, match=message):
        session.run(
            np.array(ids, np.int32),
            np.array(offsets, np.int32),
            None if types is None else np.array(types, np.int32),
        )
    (values,) = session.run(np.array([1, 2], np.int32), np.array([0, 2], np.int32))
    assert values.shape == (1, 32)


def test_thread_counts_and_variants() -> None:
    program, tensors = tiny_program(0)
    model = _runtime.Model(program.to_dict(), tensors)
    for threads in (-1, 100_000):
        with pytest.raises(ModelError, match="threads"):
            _runtime.Session(model, threads)
    with pytest.raises(ModelError, match="known"):
        _runtime.Model(program.to_dict(), tensors, "sse9")


def test_working_memory_beyond_all_addresses() -> None:
    """2^54 bytes for each of 1024 threads, which 64 bits cannot count."""
    width, length, streams = 1 << 22, 1 << 16, 1 << 15

    def buffers(rows: str) -> list[dict[str, Any]]:
        return [{"dtype": "s16", "rows": rows, "width": width}] * streams

    def node(op: str, read: list[int], written: int, attributes: dict[str, Any], **tensors: str) -> Any:
        names = {"op": op, "name": op, "inputs": read, "outputs": [written]}
        return names | {"attributes": attributes, "tensors": tensors}

    word = {"shift": 1, "position_offset": 0}
    nodes = [node("embedding", [], 0, word, word="word", word_multiplier="multiplier")]
    nodes += [node("lookup", [0], i, {}, table="table") for i in range(1, streams)]
    nodes += [node("pool", [i], streams + i, {"kind": "first"}) for i in range(streams)]
    program = {
        "limits": {"vocab_size": 1, "max_length": length, "type_vocab_size": 1},
        "buffers": buffers("tokens") + buffers("sequences"),
        "nodes": nodes,
        "outputs": [{"name": "embedding", "buffer": 2 * streams - 1}],
    }
    tensors = {
        "word": aligned(np.ones((1, width), np.int8)),
        "multiplier": aligned(np.ones(32, np.int16)),
        "table": aligned(np.zeros(544, np.int16)),
    }
    model = _runtime.Model(program, tensors)
    try:
        session = _runtime.Session(model, 1024, "texts")
    except ModelError as error:
        pytest.skip(f"needs 1024 threads: {error}")
    with pytest.raises(ModelError, match=r"needs \d{17} bytes of working memory for each of 1024 threads"):
        session.run(np.zeros(length, np.int32), np.array([0, length], np.int32))
