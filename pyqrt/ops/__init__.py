"""Single integer kernels over DLPack: what the runtime executes, one op at a time.

For tests, and for quantization-aware training, whose forward pass calls these very kernels. Every
function reads numpy arrays or torch CPU tensors in place (exact dtype, dense rows, any row stride;
vectors that are not dense or not aligned are copied, masked arrays refused) and returns the kind of
array its first argument is. linear, attention, layernorm, embedding, pool,
normalize and lookup take CUDA tensors too, and run where these are (`pyqrt.ops.gpu`). The arithmetic is
written down in the headers named below; csrc/fixed/README.md derives it. Every variant returns the same
bytes.

`variant` names an instruction set, such as "reference" or "avx2" (`variants`). None takes the best that
this CPU runs, or at most the one that the environment variable PYQRT_FORCE_ISA names.

All functions raise ModelError for a shape, value or variant outside the contract and TypeError
for a wrong dtype; the message names the argument and the limit.
"""

from __future__ import annotations

from pyqrt import _ops, _runtime
from pyqrt._arguments import choice
from pyqrt.arithmetic import exp2_neg, gelu_q10, isqrt, requantize
from pyqrt.ops.products import attention, linear
from pyqrt.ops.rows import gelu, layernorm, lookup, multiply, normalize, rotary, softmax
from pyqrt.ops.sequences import embedding, match, neighbours, pool
from pyqrt.weight_layout import pack_weight, unpack_weight

__all__ = [
    "attention",
    "embedding",
    "exp2_neg",
    "gelu",
    "gelu_q10",
    "isqrt",
    "layernorm",
    "linear",
    "lookup",
    "match",
    "multiply",
    "neighbours",
    "normalize",
    "pack_weight",
    "pool",
    "requantize",
    "rotary",
    "softmax",
    "unpack_weight",
    "variants",
]


def variants(op: str) -> list[str]:
    """Names of the variants of `op` that this CPU runs, best first; "reference" is always last.

    `op` is one of linear, attention, softmax, gelu, layernorm, embedding, pool, normalize,
        lookup, rotary, multiply, neighbours, match.
    """
    kernels = _ops.kernels()
    supported = {isa["name"] for isa in _runtime.isas() if isa["supported"]}
    return [name for name in kernels[choice("op", op, list(kernels))] if name in supported]
