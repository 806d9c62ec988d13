"""A small but complete model with random integer constants: every kind of node, every task."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyqrt.program import Buffer, Limits, Node, Output, Program
from pyqrt.runtime import format as model_format
from pyqrt.runtime.tasks import Task

WIDTH, HIDDEN, HEADS, LENGTH = 32, 64, 2, 24
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "ab", "##c", "Paris", "in", "lives", "anna", "."]
SCALE = 2.0**-5


@dataclass(frozen=True)
class Size:
    width: int = WIDTH
    hidden: int = HIDDEN
    heads: int = HEADS
    length: int = LENGTH
    layers: int = 1
    words: tuple[str, ...] = tuple(WORDS)


SMALL = Size()
# MiniLM-L6's: 22.7 million parameters, a vocabulary of 30522.
MINILM = Size(384, 1536, 12, 512, 6, (*WORDS, *(f"word{i}" for i in range(30522 - len(WORDS)))))


def tokenizer_json(words: Sequence[str] = WORDS) -> str:
    """A BERT tokenizer over `words`, with settings that pad and truncate, which must not count."""
    piece = {"lowercase": False, "strip_accents": None, "clean_text": True, "handle_chinese_chars": True}
    special = [
        {"id": i, "content": WORDS[i], "single_word": False, "lstrip": False, "rstrip": False}
        | {"normalized": False, "special": True}
        for i in range(4)
    ]

    def part(name: str, type_id: int) -> dict[str, Any]:
        kind = "Sequence" if len(name) == 1 else "SpecialToken"
        return {kind: {"id": name, "type_id": type_id}}

    single = [part("[CLS]", 0), part("A", 0), part("[SEP]", 0)]
    return json.dumps(
        {
            "version": "1.0",
            "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
            "padding": {
                "strategy": {"Fixed": 16},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "[PAD]",
            },
            "added_tokens": special,
            "normalizer": {"type": "BertNormalizer", **piece},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": single,
                "pair": [*single, part("B", 1), part("[SEP]", 1)],
                "special_tokens": {
                    word: {"id": word, "ids": [WORDS.index(word)], "tokens": [word]}
                    for word in ("[CLS]", "[SEP]")
                },
            },
            "decoder": None,
            "model": {
                "type": "WordPiece",
                "unk_token": "[UNK]",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": {word: i for i, word in enumerate(words)},
            },
        }
    )


class Builder:
    """Collects buffers, nodes and random tensors of a program."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.buffers: list[Buffer] = []
        self.nodes: list[Node] = []
        self.tensors: dict[str, np.ndarray] = {}

    def buffer(self, dtype: Any, width: int, rows: Any = "tokens") -> int:
        self.buffers.append(Buffer(dtype, rows, width))
        return len(self.buffers) - 1

    def node(self, op: str, inputs: list[int], outputs: list[int], attributes: Any, tensors: Any) -> None:
        name = f"{op}_{len(self.nodes)}"
        for role, tensor in tensors.items():
            pad = -tensor.nbytes % 64 // (tensor[0].nbytes)
            padding = np.zeros((pad, *tensor.shape[1:]), tensor.dtype)
            self.tensors[f"{name}.{role}"] = np.concatenate([tensor, padding])
        roles = {role: f"{name}.{role}" for role in tensors}
        self.nodes.append(Node(op, name, tuple(inputs), tuple(outputs), attributes, roles))

    def embedding(self, tables: dict[str, int], width: int) -> int:
        tensors = {}
        for role, rows in tables.items():
            tensors[role] = self.random.integers(-127, 128, (rows, width)).astype(np.int8)
            tensors[f"{role}_multiplier"] = self.random.integers(8000, 20000, rows).astype(np.int16)
        output = self.buffer("s16", width)
        self.node("embedding", [], [output], {"shift": 10, "position_offset": 0}, tensors)
        return output

    def linear(self, source: int, width: int, epilogue: str, residual: int | None = None) -> int:
        k, wide = self.buffers[source].width, self.buffers[source].dtype == "s16"
        blocks, groups = -(-width // 16), -(-k // 4)
        weight = self.random.integers(-127, 128, (blocks, groups, 16, 4)).astype(np.int8)
        weight[-1, :, width - 16 * (blocks - 1) :] = 0
        weight[:, -1, :, k - 4 * (groups - 1) :] = 0
        n = 16 * blocks
        shift = 33 if epilogue != "requantize_s8" else 39
        tensors = {
            "weight": weight,
            "weight_sum": weight.sum(axis=(1, 3), dtype=np.int32).reshape(n),
            "bias": self.random.integers(-999, 1000, n).astype(np.int32),
            "multiplier": self.random.integers(1 << 30, (1 << 31) - 1, n).astype(np.int32),
            "shift": np.full(n, shift, np.int32),
        }
        attributes: dict[str, int | str] = {
            "epilogue": epilogue,
            "in_features": k,
            "out_features": width,
            "pre_shift": 10 if wide else 0,
            "zero_point": 0,
        }
        if epilogue == "gelu_s8":
            tensors["gelu_multiplier"] = np.full(-(-n // 32) * 32, 3000, np.int16)
            attributes["gelu_shift"] = 16
        inputs = [source]
        if residual is not None:
            inputs.append(residual)
            attributes |= {"residual_multiplier": 16384, "residual_shift": 14}
        dtype = epilogue.rsplit("_", 1)[1]
        output = self.buffer(dtype, width, self.buffers[source].rows)
        self.node("linear", inputs, [output], attributes, tensors)
        return output

    def layernorm(self, source: int) -> tuple[int, int]:
        width = self.buffers[source].width
        narrow, wide = self.buffer("s8", width), self.buffer("s16", width)
        tensors = {}
        for bits, gain in (("8", 2000), ("16", 8000)):
            tensors[f"gain{bits}"] = self.random.integers(gain, 2 * gain, width).astype(np.int16)
            tensors[f"bias{bits}"] = self.random.integers(-9999, 9999, width).astype(np.int32)
        self.node("layernorm", [source], [narrow, wide], {"epsilon": 5, "shift8": 16, "shift16": 12}, tensors)
        return narrow, wide

    def attention(self, source: int, width: int, count: int) -> int:
        output = self.buffer("s8", width)
        heads = np.ones(count, np.int32)
        tensors = {
            "score_multiplier": heads * 40000,
            "output_multiplier": heads * 9000,
            "output_exponent": heads * 14,
        }
        attributes = {"num_heads": count, "head_dim": width // count, "zero_point": 0}
        self.node("attention", [source], [output], attributes, tensors)
        return output


def build(
    task: Task, types: int = 2, seed: int = 1, size: Size = SMALL
) -> tuple[Program, dict[str, np.ndarray]]:
    """The program and tensors of an encoder with the head of `task`."""
    b = Builder(seed)
    width = size.width
    tables = {"word": len(size.words), "position": size.length} | ({"type": types} if types else {})
    stream = b.embedding(tables, width)
    narrow, wide = b.layernorm(stream)
    for _ in range(size.layers):
        qkv = b.linear(narrow, 3 * width, "requantize_s8")
        context = b.attention(qkv, width, size.heads)
        narrow, wide = b.layernorm(b.linear(context, width, "residual_s16", wide))
        inner = b.linear(
            narrow, size.hidden, "gelu_s16" if task.kind == "token_classification" else "gelu_s8"
        )
        narrow, wide = b.layernorm(b.linear(inner, width, "residual_s16", wide))
    last = wide
    if task.kind in ("embedding", "sequence_classification"):
        pooled = b.buffer("s16", width, "sequences")
        b.node("pool", [last], [pooled], {"kind": "mean"}, {})
        last = pooled
    if task.kind == "embedding":
        result = b.buffer("s32", width, "sequences")
        b.node("normalize", [last], [result], {}, {})
    else:
        activated = b.buffer("s16", width, b.buffers[last].rows)
        table = np.clip(np.arange(-32768, 32769, 128), -32767, 32767).astype(np.int16)
        b.node("lookup", [last], [activated], {}, {"table": table})
        outputs = 2 if task.kind == "question_answering" else len(task.labels)
        result = b.linear(activated, outputs, "requantize_s32")
    scale = 2.0**-30 if task.kind == "embedding" else SCALE
    program = Program(
        limits=Limits(len(size.words), size.length, max(types, 1)),
        buffers=tuple(b.buffers),
        nodes=tuple(b.nodes),
        outputs=(Output(task.output, result, scale), Output("stream", stream, 1.0)),
    )
    return program, b.tensors


EMBEDDING = Task("embedding", "embedding")
SEQUENCE = Task("sequence_classification", "logits", ("no", "maybe", "yes"))
TOKENS = Task("token_classification", "logits", ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))
ANSWERS = Task("question_answering", "logits")


def save(
    path: Path,
    task: Task = EMBEDDING,
    *,
    tokenizer: bool = True,
    types: int = 2,
    seed: int = 1,
    size: Size = SMALL,
) -> Path:
    """Write the model file of `build`."""
    program, tensors = build(task, types, seed, size)
    text = tokenizer_json(size.words) if tokenizer else None
    model_format.write(path, program, tensors, task, text, {"source": "random"}, {"note": 0.5})
    return path


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header, parsed, and the data of a model file."""
    raw = path.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    return json.loads(raw[8:end]), raw[end:]


def join(path: Path, header: dict[str, Any] | bytes, data: bytes, *, sign: bool = True) -> Path:
    """Write a file from a header, honestly signed unless told otherwise: only its content is false."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    path.write_bytes(len(text).to_bytes(8, "little") + (signed(text) if sign else text) + data)
    return path


def signed(header: bytes) -> bytes:
    """`header` with its digest made right, if it has one; written here apart from the writer."""
    import re

    pattern = rb'("header_digest":")[^"]*(")'
    zeroed = re.sub(pattern, rb"\g<1>" + b"0" * 64 + rb"\g<2>", header)
    return re.sub(pattern, rb"\g<1>" + digest(zeroed).encode() + rb"\g<2>", zeroed)


def digest(data: bytes) -> str:
    """The digest of FORMAT.md, by what every word counts for; written here apart from the reader."""
    words = np.frombuffer(data[: len(data) // 4 * 4], "<u4").tolist()  # what is too long is refused for that
    sums = [sum(word * math.comb(k + left, k) for left, word in enumerate(reversed(words))) for k in range(4)]
    return "".join(f"{value % (1 << 64):016x}" for value in sums)


def as_dict(program: Program) -> dict[str, Any]:
    """The program as JSON has it."""
    plain: dict[str, Any] = json.loads(json.dumps(program.to_dict()))
    return plain
