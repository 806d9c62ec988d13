"""The integer program: a list of nodes over numbered buffers, as it stands in a model file.

`pyqrt.lower` writes it, `csrc/plan` checks and runs it, `tests/oracle` runs it in big integers.
It is plain data: no family names, no real numbers except the outputs' scales, which no kernel sees.
Named tuples, because every process that runs a model makes these classes, and dataclasses take longer.

A buffer holds one row per token ("tokens") or per sequence ("sequences") of the packed batch.
A node reads buffers, writes buffers, and names its constant tensors. Kinds of nodes, with the
op's contract in `csrc/ops/<op>/<op>.h`:

========== ================== ==================== ==================================================
op         inputs             outputs              attributes; tensors
========== ================== ==================== ==================================================
embedding  (none)             s16 tokens           shift, position_offset; at least one table of
                                                   [word, word_multiplier], [position, position_multiplier],
                                                   [type, type_multiplier]
linear     s8 or s16          by epilogue          epilogue, in_features, out_features, pre_shift,
           [, residual s16]                        zero_point, [gelu_shift], [polynomial],
                                                   [residual_multiplier, residual_shift];
                                                   weight, weight_sum, bias, multiplier, shift,
                                                   [gelu_multiplier]
attention  s8 tokens          s8 tokens            num_heads, head_dim, zero_point, [window],
           (Q, K, V columns;                       [block, block_beyond], [relative_rows,
           or Q, K and apart                       relative_reach], [global_until or global_after];
           from them V; or of                      score_multiplier, output_multiplier,
           global tokens also K, V,                output_exponent, [block_bias], [relative_index,
           and in a third Q: with                  relative_bias, relative_key, relative_query],
           global_until or _after of               [global_score_multiplier,
           tokens, else of sequences)              global_output_multiplier, global_output_exponent]
rotary     s16 tokens         s8 tokens            num_heads, head_dim, pairs, shift; cosine, sine
multiply   s16, s16           s8 or s16            zero_point; multiplier, shift
layernorm  s16                s8 and/or s16        epsilon, [normalize], [exact_mean], [shift8], [shift16];
                                                   [gain8, bias8], [gain16, bias16]
lookup     s16                s16                  table (513 entries)
neighbours s16 tokens         s16 tokens           reach
pool       s16 tokens         s16 sequences        kind ("first", "last", "mean", "max", "token"),
                                                   [token]
match      pairs of s16       s32 tokens, a        shift
           tokens and s16     column a pair
           sequences
normalize  s16                s32                  (unit 2^-30)
========== ================== ==================== ==================================================

Epilogues: "requantize_s8", "requantize_s16", "requantize_s32", "gelu_s8", "gelu_s16",
"residual_s16".

"polynomial", of GELU or of attention's exponential: "minimax" (if absent) or "ibert".

Constant tensors: weights int8 ``[ceil(n/16), ceil(k/4), 16, 4]``; tables int8 ``[rows, width]``;
per-channel arrays one-dimensional. Every tensor is zero-padded so that its size is a multiple of
64 bytes (per-channel arrays of `linear`: a whole number of blocks; tables: whole extra rows).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

DType = Literal["s8", "s16", "s32"]
Rows = Literal["tokens", "sequences"]

PROGRAM_VERSION = 1


class Buffer(NamedTuple):
    """A numbered intermediate: `width` elements of `dtype` for every row."""

    dtype: DType
    rows: Rows
    width: int


class Node(NamedTuple):
    """One operation. `tensors` maps the op's tensor roles to names in the file."""

    op: str
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    attributes: dict[str, int | str]
    tensors: dict[str, str]


class Output(NamedTuple):
    """A result: real value = integer in `buffer` * `scale`."""

    name: str
    buffer: int
    scale: float


class Limits(NamedTuple):
    """What token ids, lengths and token types a program accepts."""

    vocab_size: int
    max_length: int
    type_vocab_size: int


class Program(NamedTuple):
    """Nodes in the order they run; every buffer is written once, before it is read."""

    limits: Limits
    buffers: tuple[Buffer, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...]
    version: int = PROGRAM_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts, strings and numbers, ready for JSON and for the C++ plan."""
        return {
            "version": self.version,
            "limits": self.limits._asdict(),
            "buffers": [buffer._asdict() for buffer in self.buffers],
            "nodes": [
                {
                    "op": node.op,
                    "name": node.name,
                    "inputs": list(node.inputs),
                    "outputs": list(node.outputs),
                    "attributes": dict(node.attributes),
                    "tensors": dict(node.tensors),
                }
                for node in self.nodes
            ],
            "outputs": [output._asdict() for output in self.outputs],
        }

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Program:
        """The inverse of `to_dict`. Raises KeyError or TypeError on a malformed dictionary."""
        return Program(
            limits=Limits(**data["limits"]),
            buffers=tuple(Buffer(**b) for b in data["buffers"]),
            nodes=tuple(
                Node(
                    op=n["op"],
                    name=n["name"],
                    inputs=tuple(n["inputs"]),
                    outputs=tuple(n["outputs"]),
                    attributes=dict(n["attributes"]),
                    tensors=dict(n["tensors"]),
                )
                for n in data["nodes"]
            ),
            outputs=tuple(Output(**o) for o in data["outputs"]),
            version=data["version"],
        )
