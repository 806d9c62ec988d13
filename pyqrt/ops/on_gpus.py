"""Ops that run where their arrays are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from pyqrt.ops import gpu

_Op = TypeVar("_Op", bound=Callable[..., Any])


def also_on_gpus(function: _Op) -> _Op:
    """Calls the function of that name in `pyqrt.ops.gpu` where the first array is a CUDA tensor."""

    @functools.wraps(function)
    def chosen(*arguments: Any, **named: Any) -> Any:
        first = next(iter((*arguments, *named.values())), None)
        array = first[0][0] if isinstance(first, Sequence) and first else first
        where = getattr(gpu, function.__name__) if gpu.on_gpu(array) else function
        return where(*arguments, **named)

    return cast(_Op, chosen)
