"""Address space: what a limit of the process leaves of it, and an error where that is too little.

Asked before code that cannot fail halfway: a library that aborts when it gets no memory, a file
whose mapping would leave nothing to read it with.
"""

from __future__ import annotations

import sys

from pyqrt.errors import ModelError


def address_space_left() -> int | None:
    """Bytes that the process may still map, by RLIMIT_AS; None without a limit or where none is known."""
    if sys.platform != "linux":  # macOS knows the limit, but does not apply it
        return None
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        # pathlib would take longer to import than all else here
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
            pages = int(file.read().split()[0])
    except OSError:
        return None
    return max(0, limit - pages * resource.getpagesize())


def require_address_space(needed: int, what: str) -> None:
    """Raise ModelError, saying how much is needed, if fewer than `needed` bytes are left for `what`."""
    left = address_space_left()
    if left is not None and left < needed:
        raise ModelError(
            f"{what} takes {_megabytes(needed)} MB of address space, the limit of this process leaves "
            f"{left // 10**6}; raise it (RLIMIT_AS, ulimit -v) by {_megabytes(needed - left)} MB"
        )


def _megabytes(count: int) -> int:
    return -(-count // 10**6)
