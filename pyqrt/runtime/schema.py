"""From parsed JSON to a named tuple, by its own annotations and nothing more."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, TypeVar, Union

from pyqrt.errors import ModelError

T = TypeVar("T")

MAX_STRING = 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

Decoder = Callable[[Any], Any]


class _MismatchError(Exception):
    """What is wrong, and its place, put together while the error passes outwards."""

    def __init__(self, problem: str) -> None:
        self.place = ""
        self.problem = problem


def decode(kind: type[T], value: Any, where: str) -> T:
    """`value` as an instance of the named tuple `kind`.

    Every field must have exactly the annotated type: a bool is no int, an unknown key is an
    error, a field without a default must be there. Strings are at most `MAX_STRING` characters
    without control characters. Raises ModelError naming the place, beginning with `where`.
    """
    try:
        return typing.cast(T, _decoder(typing.cast(Any, kind))(value))
    except _MismatchError as error:
        raise ModelError(f"{where}{error.place} {error.problem}") from None


@cache
def _decoder(kind: Any) -> Decoder:
    """The function that decodes values of one annotated type; made once, since files have thousands."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if hasattr(kind, "_fields"):
        return _fields_decoder(kind)
    if origin is Literal:
        return _plain_decoder(lambda value: type(value) is str and value in arguments, arguments)
    if origin is tuple:
        return _tuple_decoder(_decoder(arguments[0]))
    if origin is dict:
        return _dict_decoder(*map(_decoder, arguments))
    if origin in (Union, types.UnionType):
        return _union_decoder({argument: _decoder(argument) for argument in arguments})
    if kind is float:
        return _decode_number
    if kind is str:
        return _decode_string
    return _plain_decoder(lambda value: type(value) is kind, f"of type {kind.__name__}")


def _plain_decoder(accepts: Callable[[Any], bool], expected: str | tuple[str, ...]) -> Decoder:
    def decode_plain(value: Any) -> Any:
        if not accepts(value):
            raise _unexpected(value, expected if type(expected) is str else " or ".join(map(repr, expected)))
        return value

    return decode_plain


def _decode_string(value: Any) -> str:
    # Few strings are not printable, and only those can hold control characters.
    if (
        type(value) is not str
        or len(value) > MAX_STRING
        or (not value.isprintable() and _CONTROL.search(value))
    ):
        raise _unexpected(value, "a plain, short string")
    return value


def _decode_number(value: Any) -> float:
    if type(value) not in (int, float):
        raise _unexpected(value, "a number")
    return float(value)


def _tuple_decoder(item: Decoder) -> Decoder:
    def decode_tuple(value: Any) -> Any:
        if type(value) is not list:
            raise _unexpected(value, "a list")
        decoded: list[Any] = []
        try:
            for element in value:
                decoded.append(item(element))
        except _MismatchError as error:
            error.place = f"[{len(decoded)}]{error.place}"
            raise
        return tuple(decoded)

    return decode_tuple


def _dict_decoder(key: Decoder, item: Decoder) -> Decoder:
    def decode_dict(value: Any) -> Any:
        if type(value) is not dict:
            raise _unexpected(value, "an object")
        decoded = {}
        for name, element in value.items():
            try:
                key(name)
            except _MismatchError as error:
                raise _MismatchError(f"has a key that {error.problem}") from None
            try:
                decoded[name] = item(element)
            except _MismatchError as error:
                error.place = f".{name}{error.place}"
                raise
        return decoded

    return decode_dict


def _union_decoder(decoders: dict[Any, Decoder]) -> Decoder:
    def decode_union(value: Any) -> Any:
        if type(value) not in decoders:
            raise _unexpected(value, " or ".join(kind.__name__ for kind in decoders))
        return decoders[type(value)](value)

    return decode_union


def _fields_decoder(kind: Any) -> Decoder:
    hints = typing.get_type_hints(kind)
    decoders = {name: _decoder(hints[name]) for name in kind._fields}
    required = [name for name in kind._fields if name not in kind._field_defaults]

    def decode_fields(value: Any) -> Any:
        if type(value) is not dict:
            raise _unexpected(value, "an object")
        unknown = value.keys() - decoders.keys()
        if unknown:
            raise _MismatchError(f"has the unknown key {min(unknown)!r}; known: {', '.join(decoders)}")
        for name in required:
            if name not in value:
                raise _MismatchError(f"lacks the key {name!r}")
        decoded = {}
        for name, element in value.items():
            try:
                decoded[name] = decoders[name](element)
            except _MismatchError as error:
                error.place = f".{name}{error.place}"
                raise
        return kind(**decoded)

    return decode_fields


def _unexpected(value: Any, expected: str) -> _MismatchError:
    shown = repr(value)
    return _MismatchError(f"is {shown[:60]}{'...' if len(shown) > 60 else ''}, not {expected}")
