"""JSON from a hostile file: bounded before it is parsed, and nothing ambiguous accepted.

Python's parser takes duplicate keys (the last one wins), NaN, integers of any length, lone
surrogates, and nests as deep as the C stack allows. A file with two readings has no reading, so
each of these is an error here.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

from pyqrt.errors import ModelError

MAX_DEPTH = 32
MAX_STRINGS = 1 << 20
MAX_STRUCTURE_BYTES = 4 << 20  # everything outside strings: brackets, commas, numbers
MAX_INTEGER = (1 << 63) - 1


def loads(text: str | bytes, what: str) -> Any:
    """Parse `text`. Raises ModelError, beginning with `what`, on anything but one strict document.

    Objects become dicts with unique keys, integers fit int64, floats are finite, strings are
    valid Unicode, nesting is at most `MAX_DEPTH`.
    """
    raw, text = _both(text, what)
    _check_structure(raw, what)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
    except RecursionError:
        raise ModelError(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise ModelError(f"{what} is not valid JSON: {error}") from None
    if re.search(r"\\u[dD][89a-fA-F]", text):
        _check_unicode(value, what)
    return value


def dumps(value: Any, what: str) -> str:
    """The one text of `value`: sorted keys, no spaces, UTF-8. Raises ModelError if there is none."""
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelError(f"{what} cannot be written as JSON: {error}") from None
    return text


def _both(text: str | bytes, what: str) -> tuple[bytes, str]:
    try:
        return (text.encode(), text) if isinstance(text, str) else (text, text.decode())
    except UnicodeError as error:
        raise ModelError(f"{what} is not valid UTF-8: {error}") from None


def _check_structure(raw: bytes, what: str) -> None:
    """Bound the work of parsing by looking at what lies outside the strings."""
    quoted = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    if quoted.count(b'"') > 2 * MAX_STRINGS:
        raise ModelError(f"{what} has more than {MAX_STRINGS} strings")
    structure = b"".join(quoted.split(b'"')[::2])
    if len(structure) > MAX_STRUCTURE_BYTES:
        raise ModelError(f"{what} has more than {MAX_STRUCTURE_BYTES} bytes outside strings")
    depth = 0
    for bracket in re.findall(rb"[][{}]", structure):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise ModelError(f"{what} is nested more than {MAX_DEPTH} deep")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice!r} occurs twice in one object")
    return result


def _integer(digits: str) -> int:
    if len(digits) > 18 and (len(digits) > 20 or abs(int(digits)) > MAX_INTEGER):
        raise ValueError(f"the integer {digits[:20]}... does not fit 64 bits")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:20]} does not fit a double")
    return value


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _check_unicode(value: Any, what: str) -> None:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending += item.keys()
            pending += item.values()
        elif isinstance(item, list):
            pending += item
        elif isinstance(item, str):
            try:
                item.encode()
            except UnicodeError:
                raise ModelError(f"{what} has a string with half a surrogate pair") from None
