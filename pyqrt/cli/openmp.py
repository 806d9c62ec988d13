"""PyTorch's threads on a machine that does something else too."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

_POLICY = "OMP_WAIT_POLICY"


def sleeping_threads(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command: threads of OpenMP sleep at a barrier, instead of spinning until all are there.

    Quantizing and training are many small products, each with a barrier. Where another process holds one of
    the CPUs, the thread that spins keeps the one it waits for from running. OpenMP reads the variable when
    its library is loaded, with PyTorch, which commands import themselves; what the user has set stays.
    """

    @functools.wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> None:
        if _POLICY in os.environ:
            return command(*arguments, **options)
        os.environ[_POLICY] = "passive"
        try:
            return command(*arguments, **options)
        finally:
            del os.environ[_POLICY]

    return wrapped
